"""Following a kind: one list, then its changes; a new list where the server has forgotten the place."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from wasme.deploy.cluster.answers import Answer
from wasme.deploy.cluster.depth import decode
from wasme.deploy.cluster.kinds import Kind
from wasme.deploy.cluster.lists import named
from wasme.deploy.cluster.wire import LATER, PATIENCE, Ask, Wire
from wasme.errors import ClusterError, ClusterUnreachable

if TYPE_CHECKING:
    from wasme.deploy.cluster.reader import Reader

WINDOW = 30.0  # seconds of one watch request; a connection that died unseen costs no more
Object = dict[str, Any]
Known = Callable[[str, str, str], bool]
"""Of an object's namespace, name and resourceVersion: whether it is known as it is then."""
_CHANGES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"})


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    version: str = msgspec.field(default="", name="resourceVersion")


class _Named(msgspec.Struct):
    metadata: _Metadata


class _Glance(msgspec.Struct):
    type: str
    object: _Named


_glance = msgspec.json.Decoder(_Glance).decode


class Gone(Exception):
    """The place in the history is not there any more: 410."""


def follow(
    cluster: Reader,
    kind: Kind,
    namespace: str | None,
    *,
    selectors: Mapping[str, str],
    since: str,
    until: float,
    metadata: bool,
    window: float,
) -> Iterator[tuple[str, Object]]:
    """The changes of a kind until the monotonic clock shows ``until``; see ``Cluster.watch``."""
    known: dict[tuple[str, str], Object] = {}
    version = since
    lost = 0.0
    wait = 0.1
    while True:
        asked = time.monotonic()
        try:
            if not version:
                listing = cluster.listing(kind, namespace, metadata=metadata, **selectors)
                yield from _compared(known, listing.items)
                version = listing.resource_version
            left = until - time.monotonic()
            if left <= 0:
                return
            # A long watch may be ended late by a busy server; a short one is short to see a frozen connection.
            silence = 5.0 if window >= WINDOW else 1.0
            found = cluster.changes(
                kind,
                namespace,
                since=version,
                window=min(left, window),
                metadata=metadata,
                silence=min(silence, max(0.05, left - window)),
                labels=selectors["labels"],
                fields=selectors["fields"],
            )
            for change, obj in found:
                version = str(obj["metadata"].get("resourceVersion", version))
                lost, wait = 0.0, 0.1
                if change == "BOOKMARK":
                    continue
                if change == "DELETED":
                    known.pop(_key(obj), None)
                else:
                    known[_key(obj)] = _trace(obj)
                yield change, obj
                if time.monotonic() >= until:
                    return
            lost = 0.0
        except Gone:
            version = ""
        except ClusterUnreachable:
            now = time.monotonic()
            if now >= until:
                return
            lost = lost or now
            if now - lost > PATIENCE:
                raise
        now = time.monotonic()
        if now - asked < 1.0:
            # Lost, gone or ended at once: not asked again in a tight circle.
            time.sleep(min(wait * (0.5 + random.random()), max(0.0, until - now)))  # noqa: S311
            wait = min(wait * 2, 3.0)


def changes(
    wire: Wire,
    ask: Ask,
    kind: Kind,
    silence: float,
    refusal: Callable[[Answer], ClusterError],
    known: Known | None = None,
) -> Generator[tuple[str, Object]]:
    """The changes that one request tells; see ``Cluster.changes``."""
    with wire.lines(ask, silence) as (answer, lines):
        if answer is not None:
            if answer.status == 410:
                raise Gone
            error = refusal(answer)
            # Just after its start a server may not have read its roles yet, and refuse wrongly.
            later = answer.status in LATER or (answer.status == 403 and wire.troubled)
            if later and not isinstance(error, ClusterUnreachable):
                raise ClusterUnreachable(error.message, hint=error.hint)
            raise error
        for line in lines:
            if known is not None and _is_known(line, known):
                continue
            try:
                event = decode(line, around=1)
                change, obj = event["type"], event["object"]
                if change not in _CHANGES or not isinstance(obj if change == "ERROR" else obj["metadata"], dict):
                    raise TypeError
            except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
                raise ClusterError(f"{ask.asking}: {ask.asking.server} sends changes that cannot be read") from error
            if change == "ERROR":
                if obj.get("code") == 410:
                    raise Gone
                raise ClusterUnreachable(f"{ask.asking}: {obj.get('message', 'no reason given')}")
            named(obj, kind)
            yield change, obj


def _is_known(line: bytes, known: Known) -> bool:
    """Whether somebody knows what a change tells; a glance costs a tenth of reading all of it."""
    try:
        seen = _glance(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False  # whoever reads it says why
    meta = seen.object.metadata
    return seen.type in ("ADDED", "MODIFIED") and known(meta.namespace, meta.name, meta.version)


def _compared(known: dict[tuple[str, str], Object], items: list[Object]) -> Iterator[tuple[str, Object]]:
    """What a new list tells beside what was known: the changes that were missed, as if they had come."""
    now = {_key(each): each for each in items}
    for key in [key for key in known if key not in now]:
        yield "DELETED", known.pop(key)
    for key, obj in now.items():
        before = known.get(key)
        meta = obj.get("metadata", {})
        if before is None:
            known[key] = _trace(obj)
            yield "ADDED", obj
        elif before["metadata"].get("resourceVersion") != meta.get("resourceVersion"):
            known[key] = _trace(obj)
            yield "MODIFIED", obj


def _key(obj: Object) -> tuple[str, str]:
    meta = obj.get("metadata", {})
    return str(meta.get("namespace", "")), str(meta.get("name", ""))


def _trace(obj: Object) -> Object:
    """What is remembered of an object, enough to tell that it was deleted."""
    meta = obj.get("metadata", {})
    kept = {name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion", "labels") if name in meta}
    return {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "metadata": kept}
