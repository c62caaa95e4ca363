"""Whether a workload is well, from the objects of the API server. Pure.

For the workload itself this is what ``kubectl rollout status`` waits for
(https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#complete-deployment); its pods tell earlier, and
in words, when it will never come.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Object = Mapping[str, Any]

_DEAD_ENDS = {
    "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName",
    "CreateContainerConfigError", "CreateContainerError", "RunContainerError",
}  # fmt: skip
_MOST_PODS = 3


@dataclass(frozen=True, slots=True)
class Health:
    """How one workload is.

    Attributes:
        state: ``well``; ``coming``, it may become so; ``failed``, it will not.
        reason: why it is not well, in one line.
    """

    state: Literal["well", "coming", "failed"]
    reason: str = ""


WELL = Health("well")


@dataclass(frozen=True, slots=True)
class Before:
    """What was wrong before anything was changed, and does not count.

    Attributes:
        restarts: of containers, by pod's uid and container.
    """

    restarts: Mapping[tuple[str, str], int]


def before(pods: Iterable[Object]) -> Before:
    """Remember how often the containers of pods have been restarted."""
    return Before({key: count for pod in pods for key, count, _ in _containers(pod)})


def health(workload: Object, pods: Iterable[Object], earlier: Before, dead: Collection[str] = ()) -> Health:
    """How a workload is.

    Args:
        workload: a Deployment, DaemonSet or StatefulSet.
        pods: its pods, those of its old revisions too.
        earlier: what was so before the change.
        dead: names of nodes that are not ready; nobody waits for what a DaemonSet has there.
    """
    there = list(pods)
    crashed = [told for pod in there if (told := _dead_end(pod, earlier))]
    if crashed:
        return Health("failed", _listed(crashed))
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    meta = workload["metadata"]
    if spec.get("paused"):
        return Health("failed", "it is paused, so that its pods are not made anew: kubectl rollout resume")
    if int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 0):
        return Health("coming", "its controller has not seen the change")
    lost = sum(1 for pod in there if (pod.get("spec") or {}).get("nodeName") in dead)
    if workload["kind"] == "DaemonSet":
        found = _daemon_set(spec, status, lost)
    else:
        found = (_deployment if workload["kind"] == "Deployment" else _stateful_set)(spec, status)
    if found.state == "coming":
        stuck = [told for pod in there if (told := _unready(pod))]
        return Health("coming", "; ".join([found.reason, *([_listed(stuck)] if stuck else [])]))
    return found


def _deployment(spec: Object, status: Object) -> Health:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            return Health("failed", f"its controller gave up: {condition.get('message', 'no progress in time')}")
    wanted = _count(spec, "replicas", 1)
    updated, total = _count(status, "updatedReplicas"), _count(status, "replicas")
    available = _count(status, "availableReplicas")
    if updated < wanted:
        return Health("coming", f"{updated} of {wanted} pods are new")
    if total > updated:
        return Health("coming", f"{total - updated} old pods have not ended")
    if available < updated:
        return Health("coming", f"{available} of {wanted} pods are available")
    return WELL


def _daemon_set(spec: Object, status: Object, lost: int) -> Health:
    wanted = _count(status, "desiredNumberScheduled") - lost
    updated, available = _count(status, "updatedNumberScheduled"), _count(status, "numberAvailable")
    if _strategy(spec) != "OnDelete" and updated < wanted:
        used = f" ({lost} on nodes that are not ready count against its maxUnavailable)" if lost else ""
        return Health("coming", f"{updated} of {wanted} pods are new{used}")
    if available < wanted:
        return Health("coming", f"{available} of {wanted} pods are available")
    return WELL


def _stateful_set(spec: Object, status: Object) -> Health:
    wanted = _count(spec, "replicas", 1)
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    changing = max(0, wanted - _count(rolling, "partition"))
    updated, ready = _count(status, "updatedReplicas"), _count(status, "readyReplicas")
    if ready < wanted:
        return Health("coming", f"{ready} of {wanted} pods are ready")
    if _strategy(spec) != "OnDelete" and updated < changing:
        return Health("coming", f"{updated} of {changing} pods are new")
    return WELL


def _strategy(spec: Object) -> str:
    return str((spec.get("updateStrategy") or {}).get("type", ""))


def _count(values: Object, key: str, default: int = 0) -> int:
    found = values.get(key)
    return default if found is None else int(found)


def _containers(pod: Object) -> Iterable[tuple[tuple[str, str], int, Object]]:
    status = pod.get("status") or {}
    for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        yield (str(pod["metadata"].get("uid", "")), each["name"]), int(each.get("restartCount") or 0), each


def _dead_end(pod: Object, earlier: Before) -> str:
    """Why a pod will not become well by waiting; "" if nothing says so."""
    if pod["metadata"].get("deletionTimestamp"):
        return ""
    name = pod["metadata"]["name"]
    for key, restarts, container in _containers(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason = str(waiting.get("reason", ""))
        new = restarts - earlier.restarts.get(key, 0)
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if reason in _DEAD_ENDS and (new > 0 or key not in earlier.restarts):
            code = f", exit code {ended['exitCode']}" if "exitCode" in ended else ""
            return f"pod {name}: container {key[1]} is in {reason}{code}{_said(waiting)}"
        if new >= 2 and not container.get("ready"):
            return f"pod {name}: container {key[1]} has been restarted {new} times{_said(ended)}"
    return ""


def _unready(pod: Object) -> str:
    """Why a pod is not ready, as far as it tells."""
    if pod["metadata"].get("deletionTimestamp"):
        return ""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    told = {each.get("type"): each for each in conditions}
    if (told.get("Ready") or {}).get("status") == "True":
        return ""
    waiting = [
        f"container {key[1]} is in {reason}"
        for key, _, container in _containers(pod)
        if (reason := ((container.get("state") or {}).get("waiting") or {}).get("reason"))
    ]
    unscheduled = told.get("PodScheduled") or {}
    if unscheduled.get("status") == "False":
        waiting.append(f"no node takes it: {unscheduled.get('message', '')}")
    return f"pod {pod['metadata']['name']} is not ready" + (f" ({', '.join(waiting)})" if waiting else "")


def _said(state: Object) -> str:
    message = " ".join(str(state.get("message") or state.get("reason") or "").split())[:200]
    return f": {message}" if message else ""


def _listed(reasons: list[str]) -> str:
    more = len(reasons) - _MOST_PODS
    return "; ".join(reasons[:_MOST_PODS]) + (f"; and {more} more pods" if more > 0 else "")
