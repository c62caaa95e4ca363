"""What kubelets and the scheduler would do to the pods that a real controller manager makes: bind, start, end."""

from __future__ import annotations

import collections
import http.client
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.loop import Loop

Pod = dict[str, Any]


class Kubelets(Loop):
    """Runs the pods of a namespace, as far as the API server can tell, until `stop`.

    Args:
        api: of the server.
        namespace: whose pods.
        nodes: that those of a workload are bound to, in turn; a DaemonSet's say theirs.
        crashes: whether a pod's container crashes instead of becoming ready.

    Attributes:
        started: called with each pod that begins to run.
        dead: nodes whose kubelet is silent: their pods stay what they are, being deleted too.
    """

    def __init__(
        self, api: Api, namespace: str, *nodes: str, crashes: Callable[[Pod], bool] = lambda _pod: False
    ) -> None:
        self._api = api
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._nodes: dict[str, Iterator[str]] = collections.defaultdict(lambda: itertools.cycle(nodes))
        self.crashes = crashes
        self.started: Callable[[Pod], None] = lambda _pod: None
        self.dead: set[str] = set()
        super().__init__()

    def turn(self) -> bool:
        """Look at each pod once; where a pod has changed, or the server is away, the next turn goes on."""
        try:
            for pod in self._api.list(self._path):
                self._tend(pod)
        except (OSError, http.client.HTTPException):
            return False
        except ApiRefused as refused:
            if refused.status not in (404, 409, 429, 500, 503, 504):
                raise
        return False

    def _tend(self, pod: Pod) -> None:
        name = pod["metadata"]["name"]
        if own_node(pod) in self.dead:
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._api.delete(f"{self._path}/{name}?gracePeriodSeconds=0")
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": own_node(pod) or next(self._nodes[_owner(pod)])}
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            self._api.call("POST", f"{self._path}/{name}/binding", binding)
        else:
            crashes = self.crashes(pod)
            new = not pod["status"].get("containerStatuses")
            if new:
                self.started(pod)
            if new or crashes == _ready(pod):
                status = _status(pod, crashes=crashes)
                self._api.patch(f"{self._path}/{name}/status", {"status": status}, "strategic-merge")


def _owner(pod: Pod) -> str:
    return next((each["uid"] for each in pod["metadata"].get("ownerReferences", ())), "")


def own_node(pod: Pod) -> str:
    """The node that a DaemonSet's pod is for; "" for other pods."""
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", ())
    return next((each["values"][0] for term in terms for each in term.get("matchFields", ())), "")


def _ready(pod: Pod) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def _status(pod: Pod, *, crashes: bool) -> dict[str, Any]:
    state: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    if crashes:
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}}
    containers = [
        {"name": each["name"], "image": each["image"], "imageID": "", "ready": not crashes, "state": state,
         "restartCount": 2 if crashes else 0,
         "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}} if crashes else {}}
        for each in pod["spec"]["containers"]
    ]  # fmt: skip
    conditions = [{"type": kind, "status": "False" if crashes else "True"} for kind in ("Ready", "ContainersReady")]
    return {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions, "containerStatuses": containers}
