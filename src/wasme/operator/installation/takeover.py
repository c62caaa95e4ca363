"""What an install of the original's left, and how it becomes ours.

Names, labels and selectors of the original's objects are ours as well, so most is taken over in place by applying. What
needs more than that is here: a definition made as v1beta1, a Deployment that still runs, a binding to another role, and
kubectl's memory of a ConfigMap whose lines it would take away. The node cache's DaemonSet is ``deploy.cache.ensure``'s,
EnvoyFilters and annotations of workloads are adopted by the operator itself, filter by filter.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from wasme.deploy.cache.ensure import is_ours, release_of
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.errors import ClusterForbidden, Conflict, OperatorError
from wasme.operator.installation import manifests
from wasme.operator.installation.manifests import OperatorOptions

log = logging.getLogger(__name__)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_GRACE = 40.0
"""Seconds for the original's pods to end; the kubelet's grace is 30."""
_TRIES = 5

Object = dict[str, Any]


def require_alone(cluster: Cluster, options: OperatorOptions, *, certain: bool = False) -> None:
    """Refuse to install, or to take away, beside what would work against it; nothing is changed.

    Args:
        certain: who may not look into other namespaces is refused as well.

    Raises:
        OperatorError: an operator is in another namespace, or what is here was installed by Helm.
        ClusterForbidden: nobody can say so.
    """
    for each in _operators(cluster, options, certain=certain):
        metadata = each["metadata"]
        if release := release_of(each):
            where = metadata["namespace"]
            raise OperatorError(
                f"{kind_of(each).shown(where, metadata['name'])} belongs to Helm's release {release}",
                hint=f"helm upgrade {release} brings it up to date; helm uninstall {release} takes it away",
            )
        if metadata["namespace"] != options.namespace:
            raise OperatorError(
                f"{kind_of(each).shown(metadata['namespace'], metadata['name'])} is an operator already, and a cluster "
                "has one",
                hint=f"use that one with --namespace={metadata['namespace']}, or delete it",
            )


def _operators(cluster: Cluster, options: OperatorOptions, *, certain: bool) -> list[Object]:
    """All operators that may be seen, ours and the original's."""
    try:
        found = cluster.list(kinds.DEPLOYMENT, labels=f"app={manifests.NAME}")
    except ClusterForbidden as error:
        if certain:
            raise
        log.debug("other operators may not be looked for", extra={"fields": {"reason": error.message}})
        here = cluster.get(kinds.DEPLOYMENT, manifests.NAME, options.namespace)
        found = [here] if here else []
    return [each for each in found if _runs_it(each)]


def _runs_it(deployment: Object) -> bool:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return any((each.get("args") or [""])[0] == "operator" for each in containers)


def settled(cluster: Cluster, wanted: Object, live: Object) -> tuple[Object, str]:
    """Make an object that is there be as wanted, whoever made it.

    Returns:
        It as it is now, and what was done: ``unchanged``, ``updated`` or ``replaced``.
    """
    kind, metadata = kind_of(wanted), wanted["metadata"]
    if unchangeable(wanted) != unchangeable(live):
        cluster.delete(kind, metadata["name"], metadata.get("namespace", ""), uid=live["metadata"]["uid"])
        return cluster.apply(wanted), "replaced"
    if wanted["kind"] == "Deployment" and not is_ours(live):
        stop(cluster, live)
        found = _respecified(cluster, wanted)
        return (cluster.settle(wanted, found)[0] if found else cluster.apply(wanted)), "updated"
    if wanted["kind"] == "CustomResourceDefinition" and live["spec"].get("preserveUnknownFields"):
        log.info("the definition was made as v1beta1, without a schema", extra={"fields": {"crd": metadata["name"]}})
    now, written = cluster.settle(wanted, _written_out(live))
    return now, "updated" if written else "unchanged"


def stop(cluster: Cluster, deployment: Object) -> None:
    """Let an operator of the original's end before ours begins: it knows no Lease, and would undo what ours does."""
    kind, metadata = kind_of(deployment), deployment["metadata"]
    namespace = metadata["namespace"]
    log.info("stopping the original's operator", extra={"fields": {"deployment": f"{namespace}/{metadata['name']}"}})
    cluster.patch(kind, metadata["name"], namespace, {"spec": {"replicas": 0}})
    wait_gone(cluster, namespace, _GRACE)


def wait_gone(cluster: Cluster, namespace: str, seconds: float) -> bool:
    """Wait until no pod of an operator is there any more; whether that is so."""
    until = time.monotonic() + seconds
    while pods := [each for each in cluster.list(kinds.POD, namespace, labels=f"app={manifests.NAME}") if _lives(each)]:
        if time.monotonic() > until:
            fields = {"pod": f"{namespace}/{pods[0]['metadata']['name']}"}
            log.warning("a pod of the operator is still there", extra={"fields": fields})
            return False
        time.sleep(0.5)
    return True


def _lives(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def forget_last_applied(cluster: Cluster, options: OperatorOptions) -> None:
    """Take away kubectl's memory of the cache's ConfigMap.

    The original's manifest had ``images: ""``. Who applies ours later has no such key, which kubectl would take for a
    wish to delete it, with all lines that were written since.
    """
    found = cluster.get(kinds.CONFIG_MAP, options.cache.name, options.namespace)
    if found is not None and LAST_APPLIED in (found["metadata"].get("annotations") or {}):
        change = {"metadata": {"annotations": {LAST_APPLIED: None}}}
        cluster.patch(kinds.CONFIG_MAP, options.cache.name, options.namespace, change)


def _respecified(cluster: Cluster, wanted: Object) -> Object | None:
    """The Deployment with our whole spec: an apply takes nothing away that somebody else's update has set."""
    metadata = wanted["metadata"]
    live = cluster.get(kinds.DEPLOYMENT, metadata["name"], metadata["namespace"])
    for _ in range(_TRIES):
        if live is None:
            return None
        try:
            return cluster.replace(live | {"spec": wanted["spec"]})
        except Conflict:  # its status moves all the time
            live = cluster.get(kinds.DEPLOYMENT, metadata["name"], metadata["namespace"])
    return live


def _written_out(live: Object) -> Object:
    """An object with what the API server leaves out because it is false or empty, though it was applied."""
    if live["kind"] == "CustomResourceDefinition":
        return live | {"spec": {"preserveUnknownFields": False, **live["spec"]}}
    if live["kind"] == "ClusterRole":
        return live | {"rules": live.get("rules") or []}
    return live


def unchangeable(obj: Object) -> Any:
    """What the API server never changes in place."""
    if obj["kind"] == "Deployment":
        return obj["spec"]["selector"]
    return obj.get("roleRef")
