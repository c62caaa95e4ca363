"""Taking a filter away from a workload: its object, and what its pods no longer need.

The object goes first, whoever wrote it: one of the original's selects pods by their own labels alone, and would point
those that come without the volume at a file that they cannot see.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.cluster import Cluster
from wasme.deploy.istio.annotations import volume_name
from wasme.deploy.istio.existing import Carrier, Known
from wasme.deploy.istio.template import CACHE_VOLUMES, unmarked, volume_label
from wasme.deploy.istio.workloads import Workload
from wasme.errors import Conflict

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a workload that others change all the time is read again."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """What the pods of a workload need no more.

    Attributes:
        volumes: by name.
        labels: by key.
    """

    volumes: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    """What became of one workload.

    Attributes:
        namespace: where.
        workload: ``Kind/name``, ``/name`` where only the name is known; "" for a filter with targets.
        objects: what was deleted, as ``EnvoyFilter/productpage-v1-test``.
        restarts: the pod template changed, so its pods are made anew.
    """

    namespace: str
    workload: str
    objects: tuple[str, ...]
    restarts: bool


def unneeded(existing: Known, workload: Workload, filter_id: str, gone: Collection[str]) -> Unneeded:
    """What a workload's pods need no more when some objects are gone: the filter's own volume, and the node cache's
    folder if nothing else, whoever wrote it, points a proxy of these pods at it.

    Args:
        existing: everything that is there.
        workload: the workload.
        filter_id: the filter that goes.
        gone: uids of the objects that go.
    """
    own = Unneeded((volume_name(filter_id),), (volume_label(filter_id),))
    if existing.cache_users(workload.namespace, workload.template_labels, without=gone):
        return own
    return Unneeded((*CACHE_VOLUMES, *own.volumes), (CACHE_LABEL, *own.labels))


def strip(
    cluster: Cluster, workload: Workload, needless: Callable[[Workload], Unneeded], *, dry_run: bool = False
) -> bool:
    """Take from a pod template what it does not need; a user's own annotations come back as they were.

    Args:
        cluster: where.
        workload: as it was read.
        needless: what is not needed, asked again where somebody changed the workload meanwhile.
        dry_run: the server checks and stores nothing.

    Returns:
        Whether there was anything.

    Raises:
        ClusterError: the server did not do it.
        InputError: the annotations cannot be read.
    """
    for attempt in range(ATTEMPTS):
        what = needless(workload)
        patch = unmarked(workload, what.volumes, what.labels)
        if patch is None:
            return False
        guarded = {"metadata": {"uid": workload.uid, "resourceVersion": workload.resource_version}, **patch}
        try:
            cluster.patch(workload.kind, workload.name, workload.namespace, guarded, dry_run=dry_run)
        except Conflict:
            found = cluster.get(workload.kind, workload.name, workload.namespace)
            if found is None or found["metadata"].get("deletionTimestamp"):
                return False
            if attempt == ATTEMPTS - 1:
                raise
            workload = Workload(workload.kind, found)
        else:
            return True
    raise AssertionError("not reached: the last conflict is raised")


def delete(cluster: Cluster, carrier: Carrier, *, dry_run: bool = False) -> None:
    """Delete the very object that was found; one that is gone already is no error.

    Raises:
        ClusterError: the server did not do it; Conflict where another of its name took its place.
    """
    cluster.delete(carrier.kind, carrier.name, carrier.namespace, uid=carrier.uid, dry_run=dry_run)
    told = "deleted Istio %s resource" + (" (server dry run)" if dry_run else "")
    log.info(told, carrier.kind.kind, extra={"fields": {"filter": carrier.name}})


def take_away(
    cluster: Cluster,
    filter_id: str,
    namespace: str,
    workload: Workload | None,
    carriers: Collection[Carrier],
    needless: Callable[[Workload], Unneeded],
    *,
    dry_run: bool = False,
) -> Removed:
    """Take a filter from one workload.

    Args:
        cluster: where.
        filter_id: the filter.
        namespace: of the workload.
        workload: as it was read; None for one that is gone, and for a filter with targets.
        carriers: the filter's objects for it; maybe none.
        needless: as for ``strip``.
        dry_run: the server checks and stores nothing.

    Raises:
        ClusterError: the server did not do it; then the pods still have their volumes.
        InputError: the annotations cannot be read.
    """
    what = needless(workload) if workload and not workload.terminating else None
    marked = workload is not None and what is not None and unmarked(workload, what.volumes, what.labels) is not None
    if marked and workload is not None:
        log.info(
            "removing sidecar annotations from workload",
            extra={"fields": {"filter": filter_id, "workload": workload.name}},
        )
    for each in carriers:
        delete(cluster, each, dry_run=dry_run)
    changed = marked and workload is not None and strip(cluster, workload, needless, dry_run=dry_run)
    made_for = workload.key if workload else next((each.workload for each in carriers), "")
    return Removed(namespace, made_for, tuple(f"{each.kind.kind}/{each.name}" for each in carriers), changed)
