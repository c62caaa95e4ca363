"""FilterDeployments by what they ask for: whose a filter's id is, and whom a workload concerns."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator

from wasme.deploy.istio.target import filter_label
from wasme.errors import InputError
from wasme.operator.facts import Resource, WorkloadMeta
from wasme.operator.resource import read
from wasme.operator.stores import Stores
from wasme.operator.wanted import Key, Wanted


class Roster:
    """Follows the stores; safe to use from many threads.

    Args:
        stores: of everything; nothing is in them yet.
        namespaces: that are worked on; none for all.
    """

    def __init__(self, stores: Stores, namespaces: Collection[str] = ()) -> None:
        self._stores = stores
        self._namespaces = frozenset(namespaces)
        self._lock = threading.Lock()
        self._read: dict[Key, tuple[str, int, Wanted | InputError]] = {}
        stores.resources.store.observe(self._changed)

    def ours(self, namespace: str) -> bool:
        """Whether a namespace is worked on."""
        return not self._namespaces or namespace in self._namespaces

    def keys(self) -> list[Key]:
        """All FilterDeployments that are worked on."""
        return [each for each in self._stores.resources.store.keys(None) if self.ours(each.namespace)]

    def wanted(self, resource: Resource) -> Wanted:
        """What it asks for; read once for each generation.

        Raises:
            InputError: a field cannot be used.
        """
        with self._lock:
            held = self._read.get(resource.key)
        if held is None or held[:2] != (resource.uid, resource.generation):
            found: Wanted | InputError
            try:
                found = read(resource.object)
            except InputError as error:
                found = error
            held = (resource.uid, resource.generation, found)
            with self._lock:
                self._read[resource.key] = held
        if isinstance(held[2], InputError):
            raise held[2]
        return held[2]

    def of_id(self, namespace: str, filter_id: str) -> list[Key]:
        """All that ask for this id, the oldest first: whose it is."""
        return [each.key for each in self._stores.resources_with(namespace, filter_id)]

    def holder(self, namespace: str, filter_id: str) -> Key | None:
        """Whose the id is; None where nobody has it or asks for it.

        Who controls objects of it keeps it until these are gone, also where somebody older asks for it now, or itself
        for another one: objects change hands no other way. Then who is told to have it; then the oldest that asks.
        """
        asking = self._stores.resources_with(namespace, filter_id)
        having = self._controlling(namespace, filter_id)
        if having:
            return next((each.key for each in asking if each.key in having), min(having))
        if len(asking) > 1:
            asking.sort(key=lambda each: _told(each) != filter_id)
        return asking[0].key if asking else None

    def _controlling(self, namespace: str, filter_id: str) -> set[Key]:
        """The FilterDeployments that are there and control objects which carry a filter."""
        told = dict.fromkeys((filter_id, filter_label(filter_id)))
        stores = [each.store for each in self._stores.carried.values()]
        names = {each.owner for one in stores for word in told for each in one.by((namespace, word))} - {""}
        return {key for key in (Key(namespace, each) for each in names) if self._stores.resource(key) is not None}

    def concerned(self, workloads: Iterable[WorkloadMeta]) -> set[Key]:
        """All that mean one of these workloads, which are of one namespace."""
        found: set[Key] = set()
        for each in workloads:
            found.update(wanted.key for wanted in self._meshed(each.namespace) if _means(wanted, each))
        return found

    def under(self, namespace: str, name: str) -> set[Key]:
        """All that count on the control plane of a mesh that is this Deployment."""
        istiod = (namespace, name)
        found = ((each.key, each.order) for each in self._meshed(None) if each.order is not None)
        return {key for key, order in found if (order.mesh.namespace, order.mesh.istiod) == istiod}

    def for_gateways(self, namespace: str) -> set[Key]:
        """All of a namespace that are for gateways."""
        return {each.key for each in self._read_all(namespace) if each.order is None}

    def _meshed(self, namespace: str | None) -> Iterator[Wanted]:
        return (each for each in self._read_all(namespace) if each.order is not None)

    def _read_all(self, namespace: str | None) -> Iterator[Wanted]:
        for resource in self._stores.resources.store.all(namespace):
            if self.ours(resource.key.namespace):
                try:
                    yield self.wanted(resource)
                except InputError:
                    continue

    def _changed(self, key: Key, before: Resource | None, after: Resource | None) -> None:
        del before
        if after is None:
            with self._lock:
                self._read.pop(key, None)


def _told(resource: Resource) -> str:
    """The id under which there is something of a FilterDeployment, as its status says."""
    status = resource.object.get("status")
    return str(status.get("filterID") or "") if isinstance(status, dict) else ""


def filter_id(resource: Resource) -> str:
    """The filter's id that a FilterDeployment asks for, also where the rest of it cannot be read."""
    return resource.id or f"{resource.key.name}.{resource.key.namespace}"


def _means(wanted: Wanted, workload: WorkloadMeta) -> bool:
    assert wanted.order is not None
    chosen = wanted.order.selection
    if wanted.order.target.target_refs or workload.kind != chosen.kind.kind:
        return False
    if chosen.name and chosen.name != workload.name:
        return False
    return all(workload.labels.get(name) == value for name, value in chosen.labels.items())
