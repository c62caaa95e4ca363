"""Which change calls which FilterDeployments.

A look begins with the whole of what is known, so too many calls cost time and too few leave something wrong until the
next resync. Changes that mean nothing call nobody: own writes, statuses, heartbeats, which the stores hold back.

=========================================  ============================================================
a FilterDeployment                         itself; when it goes or takes another id, who asks for its id
a workload                                 who means it, before or after
a workload of a control plane              who counts on that control plane
a pod                                      who means its workload
a carrier: EnvoyFilter, WasmPlugin, …      who has its filter's id, or owns it, there or not
a Gateway or route, a policy               who is for gateways, in its namespace
a namespace's labels                       all in it
a CRD of a place that runs filters         all
the cache: its list, agents, nodes         who needs what concerns them (``holding``)
a tag, a registry's name                   who has such an image (``images``)
=========================================  ============================================================

Secrets are not followed, since reading all of a cluster's is a right that nobody should need: who fails for one is
tried again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Collection, Iterable
from typing import Any

from wasme.deploy.istio.target import filter_label
from wasme.operator.control.queue import Queue
from wasme.operator.control.roster import Roster, filter_id
from wasme.operator.informers.carriers import Packed
from wasme.operator.informers.facts import Definition, NamespaceFacts, PodFacts, Resource, WorkloadMeta
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key

log = logging.getLogger(__name__)

_BATCH = 0.2
"""Seconds in which changes of pods, which come in swarms, are gathered."""
_SETTLING = 1.0
"""Seconds for a new kind to be served everywhere."""
_GROUPS = ("istio.io", "solo.io", "gateway.envoyproxy.io", "gateway.networking.k8s.io", "wasme.io")


class Controller:
    """Calls keys into the queue of the present term; into nothing where this process does not lead.

    Args:
        stores: whose changes count; not started yet.
        roster: of FilterDeployments.
    """

    def __init__(self, stores: Stores, roster: Roster) -> None:
        self._stores = stores
        self._roster = roster
        self._queue: Queue | None = None
        self._lock = threading.Lock()
        stores.resources.subscribe(self._resource_changed)
        # Own writes tell no subscriber, and when we remove a finalizer its id is free.
        stores.resources.store.observe(self._id_changed)
        for workloads in stores.workloads.values():
            workloads.subscribe(self._workload_changed)
        stores.pods.subscribe(self._pod_changed)
        stores.namespaces.subscribe(self._namespace_changed)
        for carried in stores.carried.values():
            carried.subscribe(self._carrier_changed)
        stores.definitions.subscribe(self._defined)

    def begin(self, queue: Queue) -> None:
        """A term begins: every key is called once."""
        with self._lock:
            self._queue = queue
        self.call_all(self._roster.keys())
        orphans = {
            Key(each.namespace, each.owner)
            for carried in self._stores.carried.values()
            for each in carried.store.all()
            if each.owner and self._stores.resource(Key(each.namespace, each.owner)) is None
        }
        self.call_all(orphans)

    def end(self) -> None:
        """The term is over."""
        with self._lock:
            self._queue = None

    def call(self, key: Key) -> None:
        """This one is to be looked at, now."""
        self.call_all((key,))

    def call_all(self, keys: Iterable[Key], after: float = 0.0) -> None:
        """These are to be looked at, after some seconds."""
        queue = self._queue
        if queue is not None:
            for key in keys:
                if self._roster.ours(key.namespace):
                    queue.add_after(key, after)

    def gateway_changed(self, key: Key, _before: Any, _after: Any) -> None:
        """A Gateway, a route or a policy is another one."""
        if self._queue is not None:
            self.call_all(self._roster.for_gateways(key.namespace), _BATCH)

    def _resource_changed(self, key: Key, _before: Resource | None, _after: Resource | None) -> None:
        self.call(key)

    def _id_changed(self, key: Key, before: Resource | None, after: Resource | None) -> None:
        if before is None or self._queue is None:
            return
        old = filter_id(before)
        if after is None or filter_id(after) != old:
            self.call_all(each for each in self._roster.of_id(key.namespace, old) if each != key)

    def _workload_changed(self, key: Key, before: WorkloadMeta | None, after: WorkloadMeta | None) -> None:
        if self._queue is None:
            return
        self.call_all(self._roster.concerned(each for each in (before, after) if each is not None))
        # Its version decides what proxies understand.
        self.call_all(self._roster.under(key.namespace, key.name), _SETTLING * random.random())  # noqa: S311

    def _pod_changed(self, _key: Key, before: PodFacts | None, after: PodFacts | None) -> None:
        if self._queue is None:
            return
        owners = {each for pod in (before, after) if pod is not None for each in self._workloads_of(pod)}
        if owners:
            found = (self._stores.workloads[kind].store.get((place, name)) for kind, place, name in owners)
            self.call_all(self._roster.concerned(each for each in found if each is not None), _BATCH)

    def _workloads_of(self, pod: PodFacts) -> Collection[tuple[str, str, str]]:
        kind, _, name = pod.owner.partition("/")
        if kind == "ReplicaSet":
            # A Deployment's has its name and a hash; who made one by hand has no Deployment of that name.
            kind, name = "Deployment", name.rpartition("-")[0]
        return [(kind, pod.namespace, name)] if kind in self._stores.workloads and name else []

    def _namespace_changed(self, key: Key, _before: NamespaceFacts | None, _after: NamespaceFacts | None) -> None:
        if self._queue is not None:
            self.call_all(self._stores.resources.store.keys(key.name), _BATCH)

    def _carrier_changed(self, key: Key, before: Packed | None, after: Packed | None) -> None:
        if self._queue is None:
            return
        for each in (before, after):
            if each is not None:
                self.call_all(self._those_with(each))
                if each.owner:
                    self.call(Key(key.namespace, each.owner))

    def _those_with(self, carrier: Packed) -> list[Key]:
        """Who has the id that an object carries, as far as it says or its name does."""
        namespace = carrier.namespace
        if carrier.told:
            found = self._roster.of_id(namespace, carrier.told)
            if found:
                return found
        elif not carrier.bare:
            return []
        ids = {each.key: filter_id(each) for each in self._stores.resources.store.all(namespace)}
        if carrier.told:
            return [key for key, name in ids.items() if filter_label(name) == carrier.told]
        return [key for key, name in ids.items() if carrier.name.endswith(f"-{name}")]

    def _defined(self, key: Key, before: Definition | None, after: Definition | None) -> None:
        group = key.name.partition(".")[2]
        if before != after and group.endswith(_GROUPS):
            self.call_all(self._roster.keys(), _SETTLING)
