"""FilterDeployments by what they ask for: whose a filter's id is, and whom a workload concerns."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator
from contextlib import suppress

from wasme.deploy.istio.target import filter_label
from wasme.errors import InputError
from wasme.operator.informers.facts import Resource, WorkloadMeta
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.resource import read
from wasme.operator.resources.wanted import Key, Wanted

log = logging.getLogger(__name__)


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
        # Every pod and workload that changes asks for these, also where no filter is.
        self._index: defaultdict[Hashable, dict[Key, Wanted]] = defaultdict(dict)
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
        found = held[2] if held is not None and held[:2] == (resource.uid, resource.generation) else _read(resource)
        if isinstance(found, InputError):
            raise found
        return found

    def all_wanted(self) -> Iterator[Wanted]:
        """What all FilterDeployments ask for that are not being deleted, as far as it can be read: in namespaces that
        are not worked on, too."""
        for each in self._stores.resources.store.all():
            if not each.deleting:
                with suppress(InputError):
                    yield self.wanted(each)

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
        return {
            wanted.key
            for each in workloads
            for wanted in self._under(("kind", each.namespace, each.kind))
            if _means(wanted, each)
        }

    def under(self, namespace: str, name: str) -> set[Key]:
        """All that count on the control plane of a mesh that is this Deployment."""
        return {each.key for each in self._under(("istiod", namespace, name))}

    def for_gateways(self, namespace: str) -> set[Key]:
        """All of a namespace that are for gateways, or for targets of Istio, which may be gateways."""
        return {each.key for each in self._under(("gateways", namespace))}

    def _under(self, entry: Hashable) -> list[Wanted]:
        with self._lock:
            return list(self._index.get(entry, {}).values())

    def _changed(self, key: Key, before: Resource | None, after: Resource | None) -> None:
        """A FilterDeployment is another one; its store is locked, so that no change is overtaken by another."""
        del before
        with self._lock:
            held = self._read.get(key)
        if after is not None and held is not None and held[:2] == (after.uid, after.generation):
            return
        found = _read(after) if after is not None and self.ours(key.namespace) else None
        with self._lock:
            if held is not None and not isinstance(held[2], InputError):
                for entry in _entries(held[2]):
                    self._index[entry].pop(key, None)
                    if not self._index[entry]:
                        del self._index[entry]
            if after is None or found is None:
                self._read.pop(key, None)
                return
            self._read[key] = (after.uid, after.generation, found)
            if not isinstance(found, InputError):
                for entry in _entries(found):
                    self._index[entry][key] = found


def _read(resource: Resource) -> Wanted | InputError:
    try:
        return read(resource.object)
    except InputError as error:
        return error
    except Exception as error:  # on the informer's thread it would stop all others
        log.exception("a bug in wasme", extra={"fields": {"filterdeployment": str(resource.key)}})
        return InputError(f"spec: it cannot be read: a bug in wasme ({type(error).__name__})")


def _entries(wanted: Wanted) -> Iterator[Hashable]:
    """By what it is found when something changes."""
    namespace, order = wanted.key.namespace, wanted.order
    if order is None or order.target.target_refs:
        yield ("gateways", namespace)
    if order is not None:
        yield ("istiod", order.mesh.namespace, order.mesh.istiod)
        if not order.target.target_refs:
            yield ("kind", namespace, order.selection.kind.kind)


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
    if chosen.name and chosen.name != workload.name:
        return False
    return all(workload.labels.get(name) == value for name, value in chosen.labels.items())
