"""What is known of the objects of one kind, in memory: by name, by namespace, by what an index makes of them.

Two writers meet here. The informer tells what the API server's watch says, in its order; workers put back what their
own writes were answered (write-through), often before the watch tells of it. So each value has its resourceVersion,
and an older one never replaces a newer; nor does one come back of which the watch has told that it is gone, as it tells
of a kind in the order of versions. What a worker put itself is not told again when its event comes. A change of
somebody else's that came just before is told all the same: nobody has been called for it yet, although it is in the
answer already.

Versions only grow, unless a server's storage is put back to an earlier state. A list is of a version that is at least
as new as all before it (nothing else is asked for), so one that is older says that this has happened.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from wasme.operator.resources.wanted import Key

T = TypeVar("T")

_REMEMBERED = 60.0  # seconds in which a late event does not bring back what we deleted


class Seen(NamedTuple, Generic[T]):
    """One object at one moment."""

    key: Key
    uid: str
    version: str
    value: T


class Change(NamedTuple, Generic[T]):
    """What subscribers are told: None before for a new object, None after for one that is gone."""

    key: Key
    before: T | None
    after: T | None


@dataclass(slots=True)
class _Own(Generic[T]):
    """Writes of ours of which the watch has not told yet.

    Attributes:
        told: what subscribers knew before them, or would know by now.
        known: its version; "" for nothing.
        versions: of the writes.
    """

    told: T | None
    known: str
    versions: set[str] = field(default_factory=set)


Observer = Callable[[Key, "T | None", "T | None"], None]


class Store(Generic[T]):
    """Objects of one kind. Safe to use from many threads.

    Args:
        keys: index entries of a value, for ``by``.
    """

    def __init__(self, keys: Callable[[T], Iterable[Hashable]] | None = None) -> None:
        self._lock = threading.RLock()
        self._items: dict[str, dict[str, tuple[str, str, T]]] = {}
        self._keys = keys
        self._index: dict[Hashable, Key | set[Key]] = {}
        self._own: dict[Key, _Own[T]] = {}
        self._dropped: dict[str, float] = {}
        self._told = ""  # the version up to which all that has happened was told
        self._observers: list[Observer[T]] = []

    def get(self, key: tuple[str, str]) -> T | None:
        """The value of (namespace, name); None for nothing. A kind without namespaces has ""."""
        with self._lock:
            held = self._items.get(key[0], {}).get(key[1])
            return held[2] if held else None

    def version(self, key: tuple[str, str]) -> str:
        """The resourceVersion of (namespace, name); "" for nothing."""
        with self._lock:
            held = self._items.get(key[0], {}).get(key[1])
            return held[0] if held else ""

    def all(self, namespace: str | None = None) -> list[T]:
        """All values, of one namespace or (None) of all."""
        with self._lock:
            places = self._items.values() if namespace is None else [self._items.get(namespace, {})]
            return [value for place in places for _, _, value in place.values()]

    def keys(self, namespace: str | None = None) -> list[Key]:
        """All keys, of one namespace or (None) of all."""
        with self._lock:
            places = self._items if namespace is None else [namespace]
            return [Key(place, name) for place in places for name in self._items.get(place, ())]

    def namespaces(self) -> list[str]:
        """Where there is anything; [""] for a kind without namespaces."""
        with self._lock:
            return list(self._items)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._items.values()))

    def by(self, entry: Hashable) -> list[T]:
        """The values whose ``keys`` gave this entry."""
        with self._lock:
            found = (self.get(key) for key in self._under(entry))
            return [value for value in found if value is not None]

    def many(self, entry: Hashable) -> int:
        """How many ``by`` would give."""
        with self._lock:
            return len(self._under(entry))

    def observe(self, observer: Observer[T]) -> None:
        """Have a function called with each change of what is in here, own writes too; the store is locked meanwhile."""
        with self._lock:
            self._observers.append(observer)

    # What the watch tells

    def seen(self, seen: Seen[T], *, deleting: bool = False, listed: bool = False) -> Change[T] | None:
        """An object as a list or a watch has it; gives what subscribers are to be told, None for nothing.

        Args:
            seen: the object.
            deleting: it has a deletionTimestamp.
            listed: a list has it: no event came of each change before, so in an own write there may be another's.
        """
        key, uid, version, value = seen
        with self._lock:
            if not listed:
                self._told = version
            if uid in self._dropped:
                # A late event of what we deleted. One that is deleted and still there waits for somebody's finalizer.
                if not deleting and time.monotonic() < self._dropped[uid]:
                    return None
                del self._dropped[uid]
            held = self._held(key)
            if held is None:
                self._set(seen)
                return Change(key, None, value)
            own = self._own.get(key)
            if own is None:
                if not _newer(version, held[0]):
                    return None
                self._set(seen)
                return Change(key, held[2], value) if held[2] != value or held[1] != uid else None
            if version in own.versions:
                own.versions.discard(version)
                if listed:
                    told, own.told, own.known = own.told, held[2], version
                    if version == held[0]:
                        del self._own[key]
                    return Change(key, told, held[2]) if told != held[2] else None
                if version == held[0]:
                    del self._own[key]
                else:
                    own.told, own.known = value, version
                return None
            if not _newer(version, held[0]):
                if not _newer(version, own.known):
                    return None
                # Somebody else's, before ours: of what ours was answered, that part was told to nobody.
                told, own.told, own.known = own.told, held[2], version
                return Change(key, told, held[2]) if told != held[2] else None
            del self._own[key]
            self._set(seen)
            before = held[2] if held[2] != value else own.told
            return Change(key, before, value) if before != value else None

    def echo(self, key: tuple[str, str], version: str) -> bool:
        """Whether a watch tells of nothing but the last write of ours, as it was put: then it has told of it."""
        with self._lock:
            held, own = self._held(key), self._own.get(Key(*key))
            if held is None or own is None or held[0] != version or version not in own.versions:
                return False
            del self._own[Key(*key)]
            return True

    def gone(self, key: Key, uid: str, version: str) -> Change[T] | None:
        """An object that a watch tells to be deleted; gives what subscribers are to be told."""
        with self._lock:
            self._told = version
            self._dropped.pop(uid, None)
            held = self._held(key)
            if held is None or (held[1] != uid and not _newer(version, held[0])):
                return None  # we dropped it, or put its successor
            self._remove(key)
            return Change(key, held[2], None)

    def begin(self, version: str) -> None:
        """A whole list of this version begins, which is not older than anything that was told before; unless the
        server's storage was put back to an earlier state: then no version that is known says anything any more."""
        with self._lock:
            if not older(version, self._told):
                return
            for place in self._items.values():
                place.update({name: ("0", uid, value) for name, (_, uid, value) in place.items()})
            for own in self._own.values():
                own.versions.clear()
            self._dropped.clear()
            self._told = ""

    def only(self, keys: Collection[Key], version: str) -> list[Change[T]]:
        """A whole list has been seen: what is not in it is gone, but for what was put since.

        Args:
            keys: of the list.
            version: of the list.
        """
        with self._lock:
            self._told = version
            missing = [each for each in self.keys(None) if each not in keys]
            told = []
            for key in missing:
                held = self._held(key)
                if held is not None and not _newer(held[0], version):
                    self._remove(key)
                    told.append(Change(key, held[2], None))
            return told

    def clear(self) -> list[Change[T]]:
        """Nothing is there any more."""
        with self._lock:
            told: list[Change[T]] = [Change(key, self.get(key), None) for key in self.keys(None)]
            for key, _, _ in told:
                self._remove(key)
            self._dropped.clear()
            self._told = ""
            return told

    # What our own writes were answered

    def put(self, seen: Seen[T]) -> None:
        """An object as our own write was answered; its event calls nobody."""
        with self._lock:
            held = self._held(seen.key)
            # What is not there although all was told up to this write, somebody has deleted after it.
            if not _newer(seen.version, held[0] if held is not None else self._told):
                return
            self._dropped.pop(seen.uid, None)
            own = self._own.setdefault(seen.key, _Own(held[2], held[0]) if held else _Own(None, ""))
            own.versions.add(seen.version)
            self._set(seen)

    def drop(self, key: Key, uid: str) -> None:
        """We have deleted this very object; its event calls nobody."""
        with self._lock:
            now = time.monotonic()
            self._dropped = {each: until for each, until in self._dropped.items() if until > now}
            self._dropped[uid] = now + _REMEMBERED
            held = self._held(key)
            if held is not None and held[1] == uid:
                self._remove(key)

    def _held(self, key: tuple[str, str]) -> tuple[str, str, T] | None:
        return self._items.get(key[0], {}).get(key[1])

    def _set(self, seen: Seen[T]) -> None:
        key, uid, version, value = seen
        held = self._held(key)
        self._items.setdefault(key.namespace, {})[key.name] = (version, uid, value)
        self._changed(key, held[2] if held else None, value)

    def _remove(self, key: Key) -> None:
        place = self._items[key.namespace]
        _, _, value = place.pop(key.name)
        if not place:
            del self._items[key.namespace]
        self._own.pop(key, None)
        self._changed(key, value, None)

    def _changed(self, key: Key, before: T | None, after: T | None) -> None:
        if self._keys is not None:
            old = set(self._keys(before)) if before is not None else set()
            new = set(self._keys(after)) if after is not None else set()
            for entry in old - new:
                self._leave(entry, key)
            for entry in new - old:
                self._join(entry, key)
        for observer in self._observers:
            observer(key, before, after)

    def _under(self, entry: Hashable) -> Collection[Key]:
        found = self._index.get(entry)
        if found is None:
            return ()
        return found if isinstance(found, set) else (found,)

    def _join(self, entry: Hashable, key: Key) -> None:
        # Most entries have one member, for which a set is six times its size.
        found = self._index.get(entry)
        if found is None:
            self._index[entry] = key
        elif isinstance(found, set):
            found.add(key)
        else:
            self._index[entry] = {found, key}

    def _leave(self, entry: Hashable, key: Key) -> None:
        found = self._index.get(entry)
        if isinstance(found, set):
            found.discard(key)
            if not found:
                del self._index[entry]
        elif found == key:
            del self._index[entry]


def labelled(namespace: str, labels: Mapping[str, str]) -> Iterator[Hashable]:
    """Index entries by labels: one for each label in its namespace."""
    for pair in labels.items():
        yield (namespace, *pair)


def older(version: str, than: str) -> bool:
    """Whether one resourceVersion is certainly earlier than another."""
    return _newer(than, version) and not _newer(version, than)


def _newer(version: str, than: str) -> bool:
    """Whether one resourceVersion is later than another; where they cannot be compared, whether it is another.

    They are numbers that grow (KEP-5504), in every API server that there is.
    """
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
