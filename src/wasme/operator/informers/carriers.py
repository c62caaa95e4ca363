"""The objects that carry filters, thousands of them, packed: as JSON, compressed, unpacked when they are asked for.

A decoded EnvoyFilter takes twenty times what it takes like this. It answers as ``deploy.istio.existing.Existing``
does, by the same rules; its indexes only choose what these are asked about. And it follows each change by itself.
"""

from __future__ import annotations

import sys
import threading
import zlib
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from wasme.deploy.cluster import Kind
from wasme.deploy.cluster.depth import shallow
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.cluster.ownership import owned_fields
from wasme.deploy.istio.existing import Carrier, carrier, carriers, marked, selector_of, uses_cache
from wasme.deploy.istio.owner import filter_deployment_of
from wasme.deploy.istio.target import MANAGER, filter_label
from wasme.operator.informers.store import Store
from wasme.operator.resources.wanted import Key

Object = dict[str, Any]
Selector = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """An object that may carry a filter.

    Attributes:
        namespace, name, uid: of it.
        told: which filter it says that it carries, by its id or its label; "" for one that says nothing.
        workload: the name of the workload that it was made for; "" for none.
        bare: ours by who wrote it, with all its marks taken away.
        selector: the pods that it points at a file of the node cache, by their labels; None where it does not.
        owner: name of the FilterDeployment that controls it; "" for none.
        body: all of it, compressed JSON.
    """

    namespace: str
    name: str
    uid: str
    told: str
    workload: str
    bare: bool
    selector: Selector | None
    owner: str
    body: bytes

    @property
    def object(self) -> Object:
        """All of it; a new value each time."""
        found: Object = msgspec.json.decode(zlib.decompress(self.body))
        return found


def pack(obj: Object) -> Packed:
    """Of an EnvoyFilter, WasmPlugin or TrafficExtension, whoever wrote it. What is nested too deep in it is cut: no
    proxy would read it."""
    obj = shallow(obj)
    meta = obj["metadata"]
    named = marked(obj)
    told, workload = named or ("", "")
    selector = selector_of(obj) if uses_cache(obj) else None
    return Packed(
        namespace=sys.intern(meta["namespace"]),
        name=str(meta["name"]),
        uid=str(meta.get("uid", "")),
        told=sys.intern(told),
        workload=sys.intern(workload.partition("/")[2]),
        bare=named is None and owned_fields(obj, MANAGER) is not None,
        selector=None
        if selector is None
        else tuple(sorted((sys.intern(k), sys.intern(v)) for k, v in selector.items())),
        owner=sys.intern(filter_deployment_of(obj)),
        body=zlib.compress(msgspec.json.encode(obj), 1),
    )


def entries(packed: Packed) -> Iterator[Hashable]:
    """Index entries: by filter, by filter and workload, and by owner."""
    if packed.owner:
        yield ("owner", packed.namespace, packed.owner)
    if packed.told:
        yield (packed.namespace, packed.told)
        yield (packed.namespace, packed.told, packed.workload)
    elif packed.bare:
        yield packed.namespace


class Carriers:
    """What carries filters, in all namespaces; a ``deploy.istio.existing.Known``.

    Args:
        stores: by kind, indexed by ``entries``.
        require: called before each answer; raises where it is not known what is there.
    """

    def __init__(self, stores: Mapping[str, Store[Packed]], require: Callable[[], None] = lambda: None) -> None:
        self._stores = stores
        self._require = require
        self._users = _Users()
        if ENVOY_FILTER.kind in stores:
            stores[ENVOY_FILTER.kind].observe(self._users.changed)

    def within(self, *namespaces: str) -> Within:
        """What carries filters in some namespaces: the same, faster where there are many."""
        return Within(self, namespaces)

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object by name; None where there is none."""
        self._require()
        store = self._stores.get(kind.kind)
        found = store.get((namespace, name)) if store else None
        return found.object if found else None

    def of_filter(self, filter_id: str, namespace: str | None = None) -> list[Carrier]:
        """Every object that carries that filter, in one namespace or (None) in all."""
        self._require()
        places = self._namespaces() if namespace is None else [namespace]
        return [each for place in places for each in self._matching(filter_id, place)]

    def of_workload(self, filter_id: str, kind: Kind, namespace: str, name: str) -> list[Carrier]:
        """Every object that carries that filter for one workload."""
        self._require()
        return [each for each in self._matching(filter_id, namespace, name) if each.is_for(kind, name)]

    def of_targets(self, filter_id: str, namespace: str) -> list[Carrier]:
        """Every object of a namespace that carries that filter for targets."""
        self._require()
        return [each for each in self._matching(filter_id, namespace, "") if not each.workload_name]

    def cache_users(self, namespace: str, pod_labels: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
        """Names of the EnvoyFilters, anybody's, that point pods with these labels at a file of the node cache.

        Args:
            namespace: of the pods.
            pod_labels: their labels.
            without: uids of objects that do not count, because they are about to go.
        """
        self._require()
        return sorted(each.name for each in self._users.of(namespace, pod_labels) if each.uid not in without)

    def owned(self, key: Key) -> set[str]:
        """The ids of the filters whose objects a FilterDeployment of this name controls."""
        entry = ("owner", key.namespace, key.name)
        objects = (each.object for store in self._stores.values() for each in store.by(entry))
        return {told for told, _ in carriers(objects)}

    def _namespaces(self) -> list[str]:
        return sorted({each for store in self._stores.values() for each in store.namespaces()})

    def _matching(self, filter_id: str, namespace: str, *workload: str) -> Iterator[Carrier]:
        """Carriers of a filter, found by what they say of themselves, or else by who wrote them."""
        for store in self._stores.values():
            for told in dict.fromkeys((filter_id, filter_label(filter_id))):
                for packed in sorted(store.by((namespace, told, *workload)), key=lambda each: each.name):
                    yield from _carriers(packed, filter_id)
            for packed in store.by(namespace):
                yield from (each for each in _carriers(packed, filter_id) if workload in ((), (each.workload_name,)))


class Within:
    """``Carriers`` of some namespaces; a ``deploy.istio.existing.Known``."""

    def __init__(self, carriers: Carriers, namespaces: Iterable[str]) -> None:
        self._carriers = carriers
        self._namespaces = tuple(dict.fromkeys(namespaces))
        self.find = carriers.find
        self.of_workload = carriers.of_workload
        self.of_targets = carriers.of_targets
        self.cache_users = carriers.cache_users

    def of_filter(self, filter_id: str) -> list[Carrier]:
        """Every object of these namespaces that carries that filter."""
        return [each for place in self._namespaces for each in self._carriers.of_filter(filter_id, place)]


class _User(NamedTuple):
    name: str
    uid: str
    selector: Selector


class _Users:
    """Objects that point pods at the node cache, each under one pair of its selector: that of the fewest others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[Key, tuple[str, ...]] = {}
        self._under: dict[tuple[str, ...], dict[Key, _User]] = {}

    def changed(self, key: Key, _before: Packed | None, after: Packed | None) -> None:
        """Follow one change."""
        with self._lock:
            place = self._places.pop(key, None)
            if place is not None:
                del self._under[place][key]
                if not self._under[place]:
                    del self._under[place]
            if after is not None and after.selector is not None:
                choice: list[tuple[str, ...]] = [(key.namespace, *pair) for pair in after.selector]
                place = min(choice, key=self._many, default=(key.namespace,))
                self._places[key] = place
                self._under.setdefault(place, {})[key] = _User(after.name, after.uid, after.selector)

    def of(self, namespace: str, labels: Mapping[str, str]) -> list[_User]:
        """Those that select pods with these labels."""
        with self._lock:
            places: list[tuple[str, ...]] = [(namespace,), *((namespace, *pair) for pair in labels.items())]
            found = [each for place in places for each in self._under.get(place, {}).values()]
        return [each for each in found if all(labels.get(key) == value for key, value in each.selector)]

    def _many(self, place: tuple[str, ...]) -> int:
        return len(self._under.get(place, ()))


def _carriers(packed: Packed, filter_id: str) -> Iterator[Carrier]:
    found = carrier(packed.object, filter_id)
    if found is not None:
        yield found
