"""The proxies that run beside the workloads now, which may be older than the control plane: until its pods are made
anew, a workload keeps the proxy that they were injected with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import POD
from wasme.deploy.cluster.selectors import label_selector
from wasme.deploy.istio.proxies import sidecar_version
from wasme.deploy.istio.workloads import Workload
from wasme.errors import ClusterForbidden

log = logging.getLogger(__name__)


def versions(cluster: Cluster, workloads: Iterable[Workload]) -> frozenset[str]:
    """The versions of the proxies in the pods of these workloads; none where pods may not be listed.

    Raises:
        ClusterError: they cannot be listed for another reason.
    """
    by_namespace: dict[str, list[Workload]] = {}
    for each in workloads:
        by_namespace.setdefault(each.namespace, []).append(each)
    found: set[str] = set()
    for namespace, selected in by_namespace.items():
        try:
            pods = cluster.list(POD, namespace, labels=_equalities(selected))
        except ClusterForbidden as error:
            log.warning("pods may not be listed, going by istiod alone", extra={"fields": {"reason": error.message}})
            return frozenset()
        found |= _of_workloads(pods, selected)
    return frozenset(found)


def _of_workloads(pods: Iterable[Mapping[str, Any]], workloads: Sequence[Workload]) -> set[str]:
    """Each version is looked for until one pod with it is a workload's: a namespace has thousands of pods, and mostly
    one version."""
    found: set[str] = set()
    for pod in pods:
        version = sidecar_version(pod)
        if version is None or version in found or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            continue
        labels = pod["metadata"].get("labels") or {}
        if any(each.selects(labels) for each in workloads):
            found.add(version)
    return found


def _equalities(workloads: Sequence[Workload]) -> str:
    """What the API server can select for us: the labels of a workload that stands alone."""
    if len(workloads) != 1:
        return ""
    labels: Mapping[str, str] = workloads[0].pod_selector.get("matchLabels") or {}
    return label_selector(labels)
