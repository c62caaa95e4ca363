"""What an undeployment would leave, and what it would delete; nothing is written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.cluster.kinds import SECRET
from wasme.deploy.istio import template
from wasme.deploy.istio.caching import lines_of, places
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.undeployment import Plan, nothing, plan
from wasme.deploy.provider import Rendered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Preview:
    """What would come of an undeployment.

    Attributes:
        objects: the workloads' parts that are ours, as they would be, in the form in which a deployment shows them.
        deleted: the objects that would go: apiVersion, kind, namespace and name of each.
    """

    objects: Sequence[Rendered]
    deleted: Sequence[dict[str, Any]]


def preview(cluster: Cluster, filter_id: str, order: Order) -> Preview:
    """Find out what undeploying a filter would do.

    Args:
        cluster: where.
        filter_id: the filter.
        order: from which workloads.

    Raises:
        UsageError: the id can be none.
        DeployFailed: there is nothing of the filter.
        InputError: a workload's annotations cannot be read.
        ClusterError: the cluster cannot be read.
    """
    found = plan(cluster, filter_id, order)
    parts = list(_parts(found))
    carriers = [each for taking in found.takings for each in taking.carriers]
    deleted = [_named(each.object, each.kind) for each in carriers] + [_named(each, SECRET) for each in found.secrets]
    lines = sum(
        lines_of(cluster, place, filter_id, order.selection.namespaces, found.left)
        for place in places(carriers, order.caching.options)
    )
    if not parts and not deleted and not lines:
        raise nothing(cluster, found, order.selection)
    if lines:
        log.info("the node cache would need the image for this filter no more", extra={"fields": {"filter": filter_id}})
    return Preview(parts, deleted)


def _parts(found: Plan) -> Iterator[Rendered]:
    for taking in found.takings:
        workload = taking.workload
        if workload is None or workload.terminating:
            continue
        what = found.needless(workload)
        part = template.without(workload, what.volumes, what.labels)
        if part is not None:
            yield part


def _named(obj: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    meta = obj["metadata"]
    named = {"name": meta["name"], "namespace": meta["namespace"]}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": named}
