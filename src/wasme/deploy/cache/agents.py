"""The agents' pods: why one does not run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import ClusterError

Object = dict[str, Any]


def troubles(cluster: Cluster, options: CacheOptions) -> dict[str, str]:
    """Node → what is wrong with the agent's pod there; nothing where pods may not be listed."""
    return {node: told for node, told in (standing(cluster, options) or {}).items() if told}


def standing(cluster: Cluster, options: CacheOptions) -> dict[str, str] | None:
    """Node → what is wrong with the agent's pod there, "" if nothing is; None where pods may not be listed."""
    try:
        pods = cluster.list(kinds.POD, options.namespace, labels=f"app={options.name}")
    except ClusterError:
        return None
    return {pod["spec"].get("nodeName", ""): pod_trouble(pod) for pod in pods}


def refused(cluster: Cluster, options: CacheOptions) -> str:
    """Why the cluster makes no pods for agents, such as a quota; "" if it makes them, or one may not look.

    Of the DaemonSet's Events, since a pod that was never made tells nothing.
    """
    try:
        found = cluster.get(kinds.DAEMON_SET, options.name, options.namespace)
        status = (found or {}).get("status") or {}
        if status.get("currentNumberScheduled", 0) >= status.get("desiredNumberScheduled", 0):
            return ""
        about = f"involvedObject.kind=DaemonSet,involvedObject.name={options.name},reason=FailedCreate"
        events = cluster.list(kinds.EVENT, options.namespace, fields=about)
    except ClusterError:
        return ""
    if not events:
        return ""
    last = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    told = " ".join(str(last.get("message") or "").removeprefix("Error creating: ").split())[:300]
    return f"no pod can be made for the agent: {told}"


def pod_trouble(pod: Object) -> str:
    """What keeps a pod from running, in Kubernetes' words; "" if nothing does."""
    status = pod.get("status") or {}
    statuses: Sequence[Object] = status.get("containerStatuses") or ()
    name = pod["metadata"]["name"]
    for each in statuses:
        state = (each.get("state") or {}).get("waiting") or (each.get("state") or {}).get("terminated")
        if state:
            message = " ".join(str(state.get("message") or "").split())[:200]
            return f"pod {name}: {state.get('reason', 'waiting')}" + (f": {message}" if message else "")
    conditions: Sequence[Object] = status.get("conditions") or ()
    lost = any(each.get("type") == "Ready" and each.get("status") != "True" for each in conditions)
    if any(not each.get("ready") for each in statuses) or (lost and status.get("phase") == "Running"):
        return f"pod {name} is not ready"
    phase = status.get("phase", "Pending")
    return "" if phase == "Running" else f"pod {name} is {phase}"
