"""Two commands at once on one workload: one deploys a filter, the other takes the last one and its volume away.

Each writes first and looks again then: a deployment stores its object and reads the pod templates, an undeployment
takes the volume and reads the objects. So the one that comes second sees the other, and in the end the volume is there.
On the way nothing is unsafe, since the object selects only pods that have the volume. Likewise of two undeployments
that leave the volume to each other's filter, the second to delete sees that nobody needs it any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from wasme.deploy.cache import protocol
from wasme.deploy.cluster import Cluster, Kind, parallel
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.istio import template
from wasme.deploy.istio.annotations import CACHE_READY, held
from wasme.deploy.istio.apply import ATTEMPTS, Step
from wasme.deploy.istio.existing import read
from wasme.deploy.istio.removal import strip, unneeded
from wasme.deploy.istio.template import Marks
from wasme.deploy.istio.workloads import Workload
from wasme.errors import Conflict, WasmeError

log = logging.getLogger(__name__)


def keep_marks(cluster: Cluster, steps: Iterable[Step]) -> None:
    """After a deployment: give templates back what somebody took from them since.

    Args:
        cluster: where.
        steps: those that were done.

    Raises:
        ClusterError: it could not be done.
    """
    wanted: dict[tuple[Kind, str], dict[str, Marks]] = {}
    for step in steps:
        if step.workload is not None and step.marks is not None:
            place = (step.workload.kind, step.workload.namespace)
            wanted.setdefault(place, {})[step.workload.uid] = step.marks
    lost = [
        (workload, marks[workload.uid])
        for (kind, namespace), marks in wanted.items()
        for workload in (Workload(kind, each) for each in cluster.list(kind, namespace))
        if workload.uid in marks and _lacks(workload, marks[workload.uid])
    ]
    parallel(lambda each: _mark(cluster, *each), lost).require(lambda each: each[0].key, "keeping the volume")


def put_back(cluster: Cluster, stripped: Iterable[Workload]) -> None:
    """After an undeployment: give the volume back where somebody has deployed a filter since that needs it.

    Args:
        cluster: where.
        stripped: the workloads whose pods lost the volume, as they were before.

    Raises:
        ClusterError: it could not be done.
    """
    before = list(stripped)
    if not before:
        return
    existing = read(cluster, sorted({each.namespace for each in before}), [ENVOY_FILTER])
    for workload in before:
        if existing.cache_users(workload.namespace, workload.template_labels):
            found = cluster.get(workload.kind, workload.name, workload.namespace)
            cache = workload.template_labels.get(protocol.CACHE_LABEL, protocol.NAME)
            gate = CACHE_READY in held(workload.template_annotations)
            marks = template.cache_marks(cache, workload.namespace, gate=gate)
            if found is not None and _lacks(Workload(workload.kind, found), marks):
                _mark(cluster, Workload(workload.kind, found), marks)


def take_rest(cluster: Cluster, kept: Iterable[Workload], filter_id: str) -> list[Workload]:
    """After an undeployment: take the volume that it left to other filters, where those went at the same moment.

    Args:
        cluster: where.
        kept: the workloads whose pods kept the volume, as they were before.
        filter_id: the filter that went.

    Returns:
        Those that lost it now, as they were before; for ``put_back``.

    Raises:
        ClusterError: it could not be done.
    """
    before = list(kept)
    if not before:
        return []
    existing = read(cluster, sorted({each.namespace for each in before}), [ENVOY_FILTER])
    stripped = []
    for workload in before:
        if existing.cache_users(workload.namespace, workload.template_labels):
            continue
        found = cluster.get(workload.kind, workload.name, workload.namespace)
        if found is None or found["metadata"].get("deletionTimestamp"):
            continue
        now = Workload(workload.kind, found)
        if strip(cluster, now, lambda each: unneeded(existing, each, filter_id, ())):
            stripped.append(now)
    return stripped


def _lacks(workload: Workload, marks: Marks) -> bool:
    try:
        return not workload.terminating and not template.is_as_marked(workload, marks)
    except WasmeError:  # somebody has written what cannot be read, and nothing can be merged with it
        return False


def _mark(cluster: Cluster, workload: Workload, marks: Marks) -> None:
    for attempt in range(ATTEMPTS):
        log.warning("somebody took the volume away meanwhile", extra={"fields": {"workload": workload.name}})
        wanted = template.rendered(workload, marks)
        guarded = {"uid": workload.uid, "resourceVersion": workload.resource_version}
        wanted["metadata"] = {**wanted["metadata"], **guarded}
        try:
            cluster.apply(wanted, force=True)
        except Conflict:
            found = cluster.get(workload.kind, workload.name, workload.namespace)
            if found is None or not _lacks(Workload(workload.kind, found), marks):
                return
            if attempt == ATTEMPTS - 1:
                raise
            workload = Workload(workload.kind, found)
        else:
            return
