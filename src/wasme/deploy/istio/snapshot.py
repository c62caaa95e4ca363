"""What must be read of a cluster to tell how filters do: every kind of object once, and nothing is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from wasme.deploy.cache.nodes import is_ready, selects
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import NodeStatus, Wanted
from wasme.deploy.cache.registration import wanted
from wasme.deploy.cache.statuses import holdings
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import NODE, POD
from wasme.deploy.istio import control_plane, proxies
from wasme.deploy.istio.existing import Carrier, carriers, served_kinds
from wasme.deploy.istio.order import Mesh
from wasme.deploy.istio.status_targets import Target, missing, targets_of
from wasme.deploy.istio.workloads import KINDS, Workload
from wasme.errors import CacheError, ClusterForbidden

log = logging.getLogger(__name__)

Object = dict[str, Any]
Place = tuple[str, str, str]
"""Namespace, kind and name of a workload."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Snapshot:
    """A cluster at one moment, as far as filters in a mesh are concerned.

    Attributes:
        objects: all of the kinds that carry filters, anybody's.
        workloads: Deployments, DaemonSets and StatefulSets.
        pods: that have neither ended nor been told to.
        nodes: whether each is ready; None where nodes may not be read.
        holdings: what the agent of each node told last; None where that may not be read.
        wanted: what the cache is asked for.
        minor: the N of Istio 1.N; None if it cannot be told.
        lost: what filters are attached to, and is not there.
    """

    objects: tuple[Object, ...] = ()
    workloads: tuple[Workload, ...] = ()
    pods: tuple[Object, ...] = ()
    nodes: Mapping[str, bool] | None = None
    holdings: Mapping[str, NodeStatus] | None = None
    wanted: Wanted = field(default_factory=Wanted)
    minor: int | None = None
    lost: frozenset[Target] = frozenset()

    def workload(self, carrier: Carrier) -> Workload | None:
        """The one that an object was made for; None if it is gone, or the object has targets."""
        kind, _, name = carrier.workload.partition("/")
        kinds = [kind] if kind else [each.kind for each in KINDS.values()]
        found = (self._workloads.get((carrier.namespace, each, name)) for each in kinds)
        return next(filter(None, found), None)

    def pods_of(self, workload: Workload) -> Sequence[Object]:
        """The pods of one of the workloads."""
        return self._pods[place_of(workload)]

    @cached_property
    def _workloads(self) -> Mapping[Place, Workload]:
        return {place_of(each): each for each in self.workloads}

    @cached_property
    def _pods(self) -> Mapping[Place, Sequence[Object]]:
        return by_workload(self.workloads, self.pods)


def take(cluster: Cluster, namespace: str | None, options: CacheOptions, mesh: Mesh) -> Snapshot:
    """Read the cluster.

    What may not be read beside the filters and their workloads is told as a warning, and left out.

    Args:
        cluster: which.
        namespace: of the filters; None for all.
        options: which node cache.
        mesh: which Istio.

    Raises:
        ClusterError: filters, workloads or pods cannot be read.
    """
    objects = [each for kind in served_kinds(cluster).values() for each in cluster.list(kind, namespace)]
    if not objects:
        return Snapshot(wanted=_wanted(cluster, options))
    workloads = [Workload(kind, each) for kind in KINDS.values() for each in cluster.list(kind, namespace)]
    nodes = _allowed(lambda: cluster.list(NODE), "nodes may not be read")
    return Snapshot(
        objects=tuple(objects),
        workloads=tuple(workloads),
        pods=tuple(filter(_lives, cluster.list(POD, namespace))),
        nodes=None if nodes is None else {each["metadata"]["name"]: is_ready(each) for each in nodes},
        holdings=_allowed(lambda: holdings(cluster, options), "what nodes hold may not be read"),
        wanted=_wanted(cluster, options),
        minor=proxies.istio_minor(control_plane.version(cluster, mesh.namespace, mesh.istiod)),
        lost=missing(cluster, (target for _, each in carriers(objects) for target in targets_of(each.object))),
    )


def place_of(workload: Workload) -> Place:
    """Namespace, kind and name."""
    return workload.namespace, workload.kind.kind, workload.name


def by_workload(workloads: Iterable[Workload], pods: Iterable[Object]) -> dict[Place, list[Object]]:
    """The pods that each workload's selector selects, in its namespace."""
    found: dict[Place, list[Object]] = {}
    by_label: dict[tuple[str, str, str], list[Workload]] = {}
    others: dict[str, list[Workload]] = {}
    for each in workloads:
        found[place_of(each)] = []
        wanted_labels: Mapping[str, str] = each.pod_selector.get("matchLabels") or {}
        # Which label tells workloads apart best is not known; one with a long value is seldom a common one.
        label = max(wanted_labels.items(), key=lambda item: len(item[1]), default=None)
        if label is None:
            others.setdefault(each.namespace, []).append(each)
        else:
            by_label.setdefault((each.namespace, *label), []).append(each)
    for pod in pods:
        namespace = pod["metadata"]["namespace"]
        labels: Mapping[str, str] = pod["metadata"].get("labels") or {}
        candidates = [each for label in labels.items() for each in by_label.get((namespace, *label), ())]
        for candidate in [*candidates, *others.get(namespace, ())]:
            if selects(candidate.pod_selector, labels):
                found[place_of(candidate)].append(pod)
    return found


def _wanted(cluster: Cluster, options: CacheOptions) -> Wanted:
    try:
        return _allowed(lambda: wanted(cluster, options), "the cache's ConfigMap may not be read") or Wanted()
    except CacheError as error:
        log.warning(error.message)
        return Wanted()


def _allowed(read: Callable[[], Result], told: str) -> Result | None:
    try:
        return read()
    except ClusterForbidden as error:
        log.warning(told, extra={"fields": {"reason": error.message}})
        return None


def _lives(pod: Object) -> bool:
    """Whether a pod has neither ended nor been told to."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not ended and not pod["metadata"].get("deletionTimestamp")
