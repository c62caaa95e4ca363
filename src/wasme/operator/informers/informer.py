"""Following one kind: a list, then watches in windows of seconds, and a new list where the server has forgotten.

A watch that stands still looks like one where nothing happens. So none is asked for more than five seconds; the server
ends it then, and a connection that is silent for a second longer is given up. What an informer knows is never older
than about six seconds, and ``heard`` tells how old.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, TypeVar

from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.cluster.depth import shallow
from wasme.deploy.cluster.kinds import CRD
from wasme.deploy.cluster.watch import Gone
from wasme.errors import ClusterError, ClusterForbidden, ClusterUnreachable, NotServed
from wasme.operator.informers.echoes import Echoes, written_by_us
from wasme.operator.informers.store import Change, Seen, Store, older
from wasme.operator.resources.wanted import Key

log = logging.getLogger(__name__)

T = TypeVar("T")
Object = dict[str, Any]
Subscriber = Callable[[Key, "T | None", "T | None"], None]

WINDOW = 5.0  # seconds of one watch
_WRITING = 1.0  # seconds after an own write in which more are expected, and their echoes
_GATHER = 0.02  # seconds in which changes gather meanwhile
_READ = 0.005  # seconds in which they are read, before more of them gather
UNSERVED = 10.0  # seconds until a kind that is not served is looked for again
_BUILT_IN = frozenset({"", "apps", CRD.group})
_SOON = 5.0  # seconds in which it is looked for all the time, when something says that it comes
_SLOWEST = 5.0  # seconds between tries where the server is away or says no


class Informer(Generic[T]):
    """The objects of one kind, kept up to date in a thread.

    Args:
        cluster: where.
        kind: what.
        namespace: where in it; None for all namespaces.
        keep: what of an object is remembered. An object of which it raises TypeError, ValueError, KeyError or
            AttributeError is taken for gone, with a warning.
        labels, fields: selectors, as the API server takes them.
        metadata: only metadata is asked for.
        keys: index entries of a value, for ``Store.by``.
        window: seconds of one watch.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: Kind,
        namespace: str | None = None,
        *,
        keep: Callable[[Object], T],
        labels: str = "",
        fields: str = "",
        metadata: bool = False,
        keys: Callable[[T], Iterable[Hashable]] | None = None,
        window: float = WINDOW,
    ) -> None:
        self._cluster = cluster
        self.kind = kind
        self.namespace = namespace
        self._labels, self._fields, self._metadata = labels, fields, metadata
        self._keep = keep
        self._window = window
        self._subscribers: list[Subscriber[T]] = []
        self._echoes: Echoes[T] = Echoes(self._call)
        self._again = threading.Event()
        self._heard = 0.0
        self._wrote = 0.0
        self._gathered = 0.0
        self._soon = 0.0
        self._missing = 0.0
        self._rediscoveries = 0
        self.store: Store[T] = Store(keys)
        self.synced = threading.Event()
        """A whole list has been read, or the kind is known not to be served."""
        self.served = True
        """Whether the server has such a kind, by its last answer. Where it has not, what was known is kept: it is still
        there, until the kind's definition is gone."""
        self.missing = False
        """Whether the kind's definition is not there, so that there is none of its objects."""
        self.problem = ""
        """Why nothing is heard, in one line; "" for nothing."""

    def __repr__(self) -> str:
        return f"Informer({self.kind.shown(self.namespace or '')})"

    @property
    def heard(self) -> float:
        """The monotonic time of the last proof that what is known is what is; 0 before the first."""
        return self._heard

    def subscribe(self, call: Subscriber[T]) -> None:
        """Have a function called with key, before and after of each change, on a thread of the informer's; it must be
        quick.

        Not for own writes that were ``put`` or ``drop``ped here within a third of a second, for which it waits so long.
        What is there already when it subscribes is not told.
        """
        self._subscribers.append(call)

    def unsubscribe(self, call: Subscriber[T]) -> None:
        """Call it no more, but for what is being told now."""
        self._subscribers = [each for each in self._subscribers if each != call]

    def put(self, obj: Object) -> None:
        """An object as the API server answered a write of our own: known at once, and its event calls nobody."""
        seen = self._seen(obj)
        self._wrote = time.monotonic()
        if seen is not None:
            self.store.put(seen)
            self._echoes.ours(seen.key, seen.version)

    def drop(self, obj: Object) -> None:
        """An object that we have deleted, and that had no finalizers; at least its metadata's name and uid."""
        key, uid = _key(obj), str(obj["metadata"].get("uid", ""))
        self.store.drop(key, uid)
        self._echoes.ours(key, _gone(uid))

    def look(self) -> None:
        """List anew at once; look now, and again for some seconds, whether a kind that was not served is."""
        self._soon = time.monotonic() + _SOON
        self._again.set()

    def run(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set, up to a window later; never raises."""
        try:
            self._run(stop)
        finally:
            self._echoes.close()

    def _run(self, stop: threading.Event) -> None:
        version, wait, doubted = "", 0.0, False
        while not stop.is_set():
            began = time.monotonic()
            try:
                if self._again.is_set():
                    self._again.clear()
                    version = ""
                if not version:
                    version, doubted = self._list(), False
                version = self._follow(version, stop)
                if doubted and not stop.is_set():
                    version, doubted = "" if self._is_ahead(version) else version, False
                self._discover()
                if time.monotonic() - began >= 1.0:
                    wait = 0.0
                    continue
            except Gone:
                version = ""
            except NotServed as error:
                version = ""
                self._missing = self._missing or began
                # A server that has just started may not have read its CRDs, which does not take it long.
                if (not self._cluster.troubled or began - self._missing > UNSERVED) and self._unserved(error):
                    self._pause(0.3 if time.monotonic() < self._soon else UNSERVED, stop)
                    continue
            except ClusterError as error:
                if stop.is_set():
                    return
                self._trouble(error)
                doubted = True
                if not isinstance(error, ClusterUnreachable):
                    version = ""
                elif time.monotonic() - began >= self._window:
                    # The connection stood, and nothing came: the next watch may be as silent, and a list is not.
                    version, wait = "", 0.0
            except Exception:
                if stop.is_set():
                    return
                log.exception("an informer failed, and lists anew", extra={"fields": {"kind": self.kind.kind}})
                version = ""
            # The first time at once: a watch that was given up is asked anew.
            self._pause(wait * (0.5 + random.random()), stop)  # noqa: S311
            wait = min(max(wait * 2, 0.1), _SLOWEST)

    def _list(self) -> str:
        """Read all; the version of the list."""
        keys: set[Key] = set()
        version = ""
        pages = self._cluster.pages(
            self.kind, self.namespace, labels=self._labels, fields=self._fields, metadata=self._metadata
        )
        for page in pages:
            if page.first:
                keys.clear()
                self.store.begin(page.resource_version)
            for obj in page.items:
                seen = self._seen(obj)
                if seen is not None:
                    keys.add(seen.key)
                    # Never held back for an echo: with a write of ours there may be another's before it.
                    self._tell(self.store.seen(seen, deleting=_deleting(obj), listed=True))
            version = page.resource_version
            self._alive()
        for change in self.store.only(keys, version):
            self._tell(change)
        if not self.served:
            log.info("the kind is served again", extra={"fields": {"kind": self.kind.kind}})
            self.served, self.missing = True, False
            # Lists of a new kind may come before discovery knows of it.
            self._rediscoveries = 3
            self._discover()
        self.synced.set()
        return version

    def _is_ahead(self, version: str) -> bool:
        """Whether a server has not come to a version yet: its storage was put back to an earlier state.

        A watch from there tells nothing, and is no error; so this is asked once after each loss of the server.
        """
        pages = self._cluster.pages(
            self.kind, self.namespace, labels=self._labels, fields=self._fields, metadata=self._metadata, limit=1
        )
        return older(next(pages).resource_version, version)

    def _discover(self) -> None:
        """What is served was remembered before this kind came: have it read anew, and a little later again."""
        if self._rediscoveries:
            self._rediscoveries -= 1
            self._cluster.served().forget()

    def _follow(self, version: str, stop: threading.Event) -> str:
        """One window of changes; the version up to which they are known."""

        def known(namespace: str, name: str, told: str) -> bool:
            nonlocal version
            now = time.monotonic()
            if now - self._wrote < _WRITING and now - self._gathered > _READ:
                # The answers to our own writes come meanwhile, and then the events of these need not be read.
                stop.wait(_GATHER)
                self._gathered = time.monotonic()
            if stop.is_set() or self._again.is_set() or not self.store.echo((namespace, name), told):
                return False
            version = told
            self._alive()
            return True

        changes = self._cluster.changes(
            self.kind,
            self.namespace,
            since=version,
            window=self._window,
            labels=self._labels,
            fields=self._fields,
            metadata=self._metadata,
            known=known,
        )
        with contextlib.closing(changes):
            for change, obj in changes:
                version = str(obj["metadata"].get("resourceVersion") or version)
                self._alive()
                if change != "BOOKMARK":
                    self._changed(change, obj)
                if stop.is_set() or self._again.is_set():
                    return version
        self._alive()
        return version

    def _changed(self, change: str, obj: Object) -> None:
        seen = self._seen(obj) if change != "DELETED" else None
        if seen is not None:
            self._tell(self.store.seen(seen, deleting=_deleting(obj)), seen.version, written_by_us(obj))
        else:
            uid, version = (str(obj["metadata"].get(name, "")) for name in ("uid", "resourceVersion"))
            self._tell(self.store.gone(_key(obj), uid, version), _gone(uid), change == "DELETED")

    def _seen(self, obj: Object) -> Seen[T] | None:
        meta = obj["metadata"]
        try:
            try:
                value = self._keep(obj)
            except RecursionError:
                value = self._keep(shallow(obj))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            fields = {"object": self.kind.shown(*_key(obj)), "reason": f"{type(error).__name__}: {error}"[:200]}
            log.warning("an object cannot be read", extra={"fields": fields})
            return None
        return Seen(_key(obj), str(meta.get("uid", "")), str(meta.get("resourceVersion", "")), value)

    def _tell(self, change: Change[T] | None, mark: str = "", suspect: bool = False) -> None:
        if change is not None:
            self._echoes.tell(change, mark, suspect=suspect)

    def _call(self, change: Change[T]) -> None:
        for call in self._subscribers:
            try:
                call(*change)
            except Exception:
                # One that fails must not keep the others, or what is known, from going on.
                log.exception("a subscriber failed", extra={"fields": {"object": self.kind.shown(*change.key)}})

    def _alive(self) -> None:
        self._heard, self._missing = time.monotonic(), 0.0
        if self.problem:
            log.info("following again", extra={"fields": {"kind": self.kind.kind}})
            self.problem = ""

    def _unserved(self, error: NotServed) -> bool:
        """Know that the kind is not served; False where that is not sure: a proxy answers 404, too."""
        try:
            self.missing = self.missing or self._is_undefined()
        except ClusterError as unsure:
            log.debug("no word of its definition", extra={"fields": {"reason": unsure.message}})
            self._trouble(error)
            return False
        if self.served:
            log.info("the kind is not served; it is looked for", extra={"fields": {"kind": self.kind.kind}})
            self._cluster.served().forget()
        self.served, self.problem = False, ""
        self._heard = time.monotonic()
        if self.missing:
            for change in self.store.clear():
                self._tell(change)
        self.synced.set()
        log.debug("not served", extra={"fields": {"reason": error.message}})
        return True

    def _is_undefined(self) -> bool:
        """Whether the definition of the kind is gone, and its objects with it.

        One that is there may have its version switched off, or not be read yet by a server that has just started.
        """
        if self.kind.group in _BUILT_IN:
            raise ClusterError(f"{self.kind.kind} is always served")
        return not self._cluster.list(CRD, fields=f"metadata.name={self.kind.resource}", metadata=True)

    def _trouble(self, error: ClusterError) -> None:
        loud = error.message != self.problem and (bool(self.problem) or isinstance(error, ClusterForbidden))
        log.log(
            logging.WARNING if loud else logging.DEBUG,
            "nothing is heard of a kind",
            extra={"fields": {"kind": self.kind.kind, "reason": error.message}},
        )
        self.problem = error.message

    def _pause(self, seconds: float, stop: threading.Event) -> None:
        until = time.monotonic() + seconds
        while not stop.is_set() and not self._again.is_set() and (left := until - time.monotonic()) > 0:
            stop.wait(min(left, 0.2))


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return Key(str(meta.get("namespace") or ""), str(meta.get("name") or ""))


def _gone(uid: str) -> str:
    return f"gone {uid}"


def _deleting(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))
