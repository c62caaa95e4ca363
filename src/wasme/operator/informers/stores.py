"""All that reconciling reads: one informer for each kind, started together.

Workloads are followed by their metadata; whole ones are read when they are to be compared or written. What a write of
ours was answered goes back at once by ``put`` and ``drop``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from wasme.deploy.cache import statuses
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import NodeStatus
from wasme.deploy.cluster import Cluster, Kind, kind_of
from wasme.deploy.cluster.kinds import (
    CONFIG_MAP,
    CRD,
    DAEMON_SET,
    DEPLOYMENT,
    ENVOY_FILTER,
    FILTER_DEPLOYMENT,
    NAMESPACE,
    NODE,
    POD,
    STATEFUL_SET,
    TRAFFIC_EXTENSION,
    WASM_PLUGIN,
)
from wasme.errors import NotServed
from wasme.operator.informers import facts
from wasme.operator.informers.carriers import Carriers, Packed, entries, pack
from wasme.operator.informers.facts import (
    ConfigFacts,
    Definition,
    NamespaceFacts,
    NodeFacts,
    NodeTold,
    PodFacts,
    Resource,
    WorkloadMeta,
)
from wasme.operator.informers.following import Following
from wasme.operator.informers.informer import WINDOW, Informer
from wasme.operator.informers.store import Store, labelled
from wasme.operator.resources.wanted import Key

__all__ = [
    "Carriers",
    "ConfigFacts",
    "NamespaceFacts",
    "NodeFacts",
    "NodeTold",
    "PodFacts",
    "Resource",
    "Stores",
    "WorkloadMeta",
]

log = logging.getLogger(__name__)

Object = dict[str, Any]


class Stores:
    """The informers of the operator.

    Args:
        cluster: where.
        cache: the node cache whose ConfigMaps are followed.
        window: seconds of one watch.

    Attributes:
        resources: the FilterDeployments; ``resources.store.by(("id", NAMESPACE, ID))`` finds those with an id.
        workloads: Deployments, DaemonSets and StatefulSets, by kind.
        pods, nodes, namespaces: of the whole cluster.
        carried: EnvoyFilters, WasmPlugins and TrafficExtensions, by kind, packed.
        carriers: the same to ask by filter and by workload.
        config: the cache's ConfigMap, at most one.
        told: what the nodes' agents tell.
        definitions: the cluster's CRDs; discovery is forgotten when one changes.
    """

    def __init__(self, cluster: Cluster, cache: CacheOptions, *, window: float = WINDOW) -> None:
        self._cluster = cluster
        self._cache = cache
        self._window = window
        self.resources: Informer[Resource] = self._informer(FILTER_DEPLOYMENT, facts.resource, keys=_ids)
        self.workloads: Mapping[str, Informer[WorkloadMeta]] = {
            kind.kind: self._informer(kind, facts.workload, metadata=True, keys=_labels)
            for kind in (DEPLOYMENT, DAEMON_SET, STATEFUL_SET)
        }
        self.pods: Informer[PodFacts] = self._informer(POD, facts.pod, keys=_labels)
        self.nodes: Informer[NodeFacts] = self._informer(NODE, facts.node)
        self.namespaces: Informer[NamespaceFacts] = self._informer(NAMESPACE, facts.namespace, metadata=True)
        self.carried: Mapping[str, Informer[Packed]] = {
            kind.kind: self._informer(kind, pack, keys=entries)
            for kind in (ENVOY_FILTER, WASM_PLUGIN, TRAFFIC_EXTENSION)
        }
        self.carriers = Carriers({name: each.store for name, each in self.carried.items()}, self._require_carriers)
        self.config: Informer[ConfigFacts] = self._informer(
            CONFIG_MAP, facts.config, namespace=cache.namespace, fields=f"metadata.name={cache.name}"
        )
        self.told: Informer[NodeTold] = self._informer(
            CONFIG_MAP, facts.told, namespace=cache.namespace, labels=statuses.selector(cache)
        )
        self.definitions: Informer[Definition] = self._informer(CRD, facts.definition, metadata=True)
        self.definitions.subscribe(self._defined)
        self._threads = Following(self.all)

    @property
    def all(self) -> list[Informer[Any]]:
        """Every informer."""
        return [
            self.resources,
            *self.workloads.values(),
            self.pods,
            self.nodes,
            self.namespaces,
            *self.carried.values(),
            self.config,
            self.told,
            self.definitions,
        ]

    def start(self, stop: threading.Event) -> None:
        """Follow everything, each kind in a thread of its own, until ``stop`` is set."""
        self._threads.start(stop)

    def join(self, seconds: float) -> bool:
        """Wait until nothing is followed any more, up to a window after ``stop``; whether that is so."""
        return self._threads.join(seconds)

    def wait_synced(self, seconds: float | None = None) -> bool:
        """Wait until all is known once; whether it is after so many seconds (None: for ever)."""
        until = None if seconds is None else time.monotonic() + seconds
        return all(each.synced.wait(None if until is None else max(0.0, until - time.monotonic())) for each in self.all)

    @property
    def synced(self) -> bool:
        """Whether all is known once."""
        return all(each.synced.is_set() for each in self.all)

    def wrong(self) -> str:
        """What is wrong that does not mend itself, in one line; "" for nothing."""
        return self._threads.wrong()

    def silence(self) -> float:
        """Seconds for which the informer that has heard nothing for longest has heard nothing; kinds that are not
        served are silent anyway."""
        return time.monotonic() - min((each.heard for each in self.all if each.served), default=time.monotonic())

    def put(self, obj: Object) -> None:
        """An object as a write of ours was answered, of any kind; nothing for a kind that is not followed."""
        for each in self._following(obj):
            each.put(obj)

    def drop(self, obj: Object) -> None:
        """An object that we have deleted, and that had no finalizers: apiVersion, kind, and its metadata's namespace,
        name and uid."""
        for each in self._following(obj):
            each.drop(obj)

    def selected(self, kind: Kind, namespace: str, labels: Mapping[str, str], name: str = "") -> list[WorkloadMeta]:
        """The workloads of a namespace with these labels on themselves (and of that name), by name; those that are
        being deleted, too."""
        store = self.workloads[kind.kind].store
        if name:
            found = [each for each in (store.get((namespace, name)),) if each]
        else:
            found = _having(store, namespace, labels)
        return sorted((each for each in found if labels.items() <= each.labels.items()), key=lambda each: each.name)

    def pods_with(self, namespace: str, labels: Mapping[str, str]) -> list[PodFacts]:
        """The pods of a namespace with these labels; those that have ended, too."""
        return [each for each in _having(self.pods.store, namespace, labels) if labels.items() <= each.labels.items()]

    def resource(self, key: Key) -> Resource | None:
        """A FilterDeployment."""
        return self.resources.store.get(key)

    def resources_with(self, namespace: str, filter_id: str) -> list[Resource]:
        """The FilterDeployments of a namespace whose filter has this id, the oldest first."""
        found = self.resources.store.by(("id", namespace, filter_id))
        return sorted(found, key=lambda each: (each.created, each.key.name))

    def cache_config(self) -> ConfigFacts | None:
        """The cache's ConfigMap; None where there is none."""
        return self.config.store.get((self._cache.namespace, self._cache.name))

    def statuses(self) -> dict[str, NodeStatus]:
        """What each node told last, by the node's name; nodes that are gone, too."""
        return {each.status.node: each.status for each in self.told.store.all() if each.status is not None}

    def agents(self) -> dict[str, PodFacts]:
        """Node → the pod of the cache's agent there; of several the one that is ready."""
        pods = self.pods_with(self._cache.namespace, {"app": self._cache.name})
        return {each.node: each for each in sorted(pods, key=lambda each: each.ready) if each.runs}

    def ready_nodes(self) -> frozenset[str]:
        """Names of the nodes that are ready."""
        return frozenset(each.name for each in self.nodes.store.all() if each.ready)

    def _informer(
        self,
        kind: Kind,
        keep: Callable[[Object], Any],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        metadata: bool = False,
        keys: Callable[[Any], Iterable[Hashable]] | None = None,
    ) -> Informer[Any]:
        return Informer(
            self._cluster,
            kind,
            namespace,
            keep=keep,
            labels=labels,
            fields=fields,
            metadata=metadata,
            keys=keys,
            window=self._window,
        )

    def _following(self, obj: Object) -> list[Informer[Any]]:
        kind, meta = kind_of(obj), obj["metadata"]
        if kind.resource != CONFIG_MAP.resource:
            return [each for each in self.all if each.kind.resource == kind.resource]
        if meta.get("namespace") != self._cache.namespace:
            return []
        return [self.config] if meta.get("name") == self._cache.name else []

    def _require_carriers(self) -> None:
        """What carries filters is known, so that what is not there is not needed.

        Raises:
            NotServed: EnvoyFilters cannot be read or written for now, and may be there.
        """
        informer = self.carried[ENVOY_FILTER.kind]
        if not informer.served and not informer.missing:
            raise NotServed(
                f"the cluster does not serve EnvoyFilter ({ENVOY_FILTER.api_version}) for now, though its CRD is there",
                hint=f"what is there stays until it does; look: kubectl get crd {ENVOY_FILTER.resource} -o yaml",
            )

    def _defined(self, _key: Key, _before: Definition | None, _after: Definition | None) -> None:
        """What is served has changed: it is read anew, and kinds that were missing are looked for."""
        self._cluster.served().forget()
        for each in self.all:
            if not each.served:
                each.look()


def _having(store: Store[Any], namespace: str, labels: Mapping[str, str]) -> list[Any]:
    """The values that have the rarest of some labels; all of the namespace for none."""
    if not labels:
        return store.all(namespace)
    return store.by(min(labelled(namespace, labels), key=store.many))


def _labels(value: WorkloadMeta | PodFacts) -> Iterable[Hashable]:
    return labelled(value.namespace, value.labels)


def _ids(value: Resource) -> Iterable[Hashable]:
    return (("id", value.key.namespace, value.id or f"{value.key.name}.{value.key.namespace}"),)
