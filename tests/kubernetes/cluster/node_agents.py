"""What a DaemonSet's controller and the kubelets of some nodes do for the node cache: an agent on each node, probed.

The agents are real processes, started with the arguments of the DaemonSet's template. Its readiness probe is asked by
the kubelet's rules, and what comes of it is the pod's Ready condition: that, and nothing else, is how a cluster tells
that an agent lives.
"""

from __future__ import annotations

import copy
import http.client
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fixtures.agents import Agent
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until

Object = dict[str, Any]


class NodeAgents:
    """The pods of a node cache, and the kubelets that run them.

    Args:
        api: of the server.
        start: the fixture `start_agent`.
        kubeconfig: who the agents are.
        namespace, name: of the DaemonSet.
        controllers: a real DaemonSet controller makes the pods; else they are made here.

    Attributes:
        agents: the real agents by node.
    """

    def __init__(
        self, api: Api, start: Callable[..., Agent], kubeconfig: Path, namespace: str, name: str = "wasme-cache",
        *, controllers: bool = False,
    ) -> None:  # fmt: skip
        self._api = api
        self._start = start
        self._kubeconfig = kubeconfig
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._daemon_set = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"
        self._controllers = controllers
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._made: dict[str, str] = {}
        self.agents: dict[str, Agent] = {}

    def run(self, *nodes: str, flags: tuple[str | Path, ...] = ()) -> list[Agent]:
        """A pod with its agent on each of these nodes; returns when all are ready."""
        wait_until(lambda: self._api.find(self._daemon_set), 30, "there is no DaemonSet for the agents")
        daemon_set = self._api.get(self._daemon_set)
        container = daemon_set["spec"]["template"]["spec"]["containers"][0]
        for node in nodes:
            pod = self._bound(node) if self._controllers else self._make(daemon_set, node)
            self._made[node] = pod
            words = _without(container["args"][1:], "--directory", "--ref-file", "--port")
            self.agents[node] = self._start("--kubeconfig", self._kubeconfig, *words, *flags, name=node, kube=True)
            probe = container["readinessProbe"]
            thread = threading.Thread(target=self._probe, args=(node, pod, probe), daemon=True)
            self._threads.append(thread)
            thread.start()
        wait_until(lambda: all(self.ready(node) for node in nodes), 30, "the agents are not ready")
        return [self.agents[node] for node in nodes]

    def ready(self, node: str) -> bool:
        """Whether the node's pod has the condition Ready."""
        pod = self._api.find(f"{self._pods}/{self._made[node]}") or {"status": {}}
        return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))

    def stop(self) -> None:
        """No more probes; the pods that were made here go."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        for pod in () if self._controllers else self._made.values():
            try:
                self._api.delete(f"{self._pods}/{pod}?gracePeriodSeconds=0")
            except ApiRefused as refused:
                if refused.status != 404:
                    raise

    def _make(self, daemon_set: Object, node: str) -> str:
        template = copy.deepcopy(daemon_set["spec"]["template"])
        spec = template["spec"]
        name = f"{daemon_set['metadata']['name']}-{uuid.uuid4().hex[:5]}"
        spec["nodeName"] = node
        spec["terminationGracePeriodSeconds"] = 0
        spec.pop("priorityClassName", None)
        owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": daemon_set["metadata"]["name"],
                 "uid": daemon_set["metadata"]["uid"], "controller": True}  # fmt: skip
        labels = {**template["metadata"]["labels"], "controller-revision-hash": "5c9f7d6b8"}
        meta = {**template["metadata"], "labels": labels, "name": name, "ownerReferences": [owner]}
        meta["namespace"] = daemon_set["metadata"]["namespace"]
        self._api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        return name

    def _bound(self, node: str) -> str:
        """The pod that the DaemonSet's controller made for a node, bound to it as the scheduler would."""
        from tests.kubernetes.cluster.kubelets import own_node

        found: list[str] = []

        def there() -> bool:
            found[:] = [each["metadata"]["name"] for each in self._api.list(self._pods) if own_node(each) == node]
            return bool(found)

        wait_until(there, 30, f"the DaemonSet has no pod for {node}")
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": found[0]}, "target": target}
        self._api.call("POST", f"{self._pods}/{found[0]}/binding", binding)
        return found[0]

    def _probe(self, node: str, pod: str, probe: Object) -> None:
        """What the kubelet's prober does for one container (its worker's loop)."""
        needed = {False: probe.get("failureThreshold", 3), True: probe.get("successThreshold", 1)}
        ready: bool | None = None
        last, count = False, 0
        if self._stop.wait(probe.get("initialDelaySeconds", 0)):
            return
        while True:
            begun = time.monotonic()
            agent = self.agents[node]
            # A container that does not run is not ready, whatever its probe said last.
            result = agent.running and _asked(agent, probe["httpGet"]["path"], probe.get("timeoutSeconds", 1))
            count = count + 1 if result == last else 1
            last = result
            if (count >= needed[result] or not agent.running) and ready != result:
                ready = result
                self._tell(pod, ready=ready)
            if self._stop.wait(max(0.0, begun + probe.get("periodSeconds", 10) - time.monotonic())):
                return

    def _tell(self, pod: str, *, ready: bool) -> None:
        word = "True" if ready else "False"
        conditions = [{"type": kind, "status": word} for kind in ("Ready", "ContainersReady")]
        status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions}
        while not self._stop.is_set():
            try:
                self._api.patch(f"{self._pods}/{pod}/status", {"status": status}, "strategic-merge")
            except (OSError, http.client.HTTPException):  # the server is away: a kubelet tries again
                self._stop.wait(0.2)
            except ApiRefused as refused:
                if refused.status in (404, 409):
                    return
                self._stop.wait(0.2)
            else:
                return


def _asked(agent: Agent, path: str, seconds: float) -> bool:
    connection = http.client.HTTPConnection(agent.url.removeprefix("http://"), timeout=seconds)
    try:
        connection.request("GET", path, headers={"User-Agent": "kube-probe/1.33"})
        answer = connection.getresponse()
        answer.read()
        return 200 <= answer.status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _without(words: list[str], *flags: str) -> list[str]:
    """The arguments without these flags and their values."""
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in flags:
            skip = True
        elif word.partition("=")[0] not in flags:
            kept.append(word)
    return kept
