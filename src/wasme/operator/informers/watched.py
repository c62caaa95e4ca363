"""The objects of gateways whose changes call: slim, since nothing is read from here."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from wasme.deploy.cluster import Cluster
from wasme.operator.informers.facts import Definition
from wasme.operator.informers.following import Following
from wasme.operator.informers.informer import Informer
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key
from wasme.operator.targets.gateways import WATCHED

Object = dict[str, Any]
Mark = tuple[str, int, bytes]
Changed = Callable[[Key, Any, Any], None]


class Watched:
    """Informers of the kinds of gateways, for what changes alone.

    Args:
        cluster: where.
        stores: whose definitions tell when a kind comes.
        changed: called with each change.
    """

    def __init__(self, cluster: Cluster, stores: Stores, changed: Changed) -> None:
        self.all: list[Informer[Mark]] = []
        for judged, *others in WATCHED.values():
            # Its controller's verdict stands in its status.
            self.all.append(Informer(cluster, judged, keep=_judged))
            self.all += [Informer(cluster, kind, keep=_plain, metadata=True) for kind in others]
        for each in self.all:
            each.subscribe(changed)
        stores.definitions.subscribe(self._defined)
        self._threads = Following(self.all)

    def start(self, stop: threading.Event) -> None:
        """Follow them, each in a thread of its own, until ``stop`` is set."""
        self._threads.start(stop)

    def join(self, seconds: float) -> bool:
        """As ``Stores.join``."""
        return self._threads.join(seconds)

    def wrong(self) -> str:
        """As ``Stores.wrong``."""
        return self._threads.wrong()

    def _defined(self, _key: Key, _before: Definition | None, _after: Definition | None) -> None:
        for each in self.all:
            if not each.served:
                each.look()


def _plain(obj: Object) -> Mark:
    """What counts of an object: which it is, its generation, its labels."""
    meta = obj["metadata"]
    labels = msgspec.json.encode(meta.get("labels") or {}, order="deterministic")
    return str(meta.get("uid", "")), int(meta.get("generation") or 0), _hash(labels)


def _judged(obj: Object) -> Mark:
    """The same, and its status; without times, which some controllers write anew with each look of theirs."""
    uid, generation, labels = _plain(obj)
    status = msgspec.json.encode(_timeless(obj.get("status")), order="deterministic")
    return uid, generation, _hash(labels + status)


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(each) for name, each in value.items() if not name.endswith("Time")}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=12).digest()
