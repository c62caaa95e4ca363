"""What a DaemonSet's controller and the kubelets of some nodes do for the node cache: an agent on each node, probed.

The agents are real processes, started with the arguments of the DaemonSet's template. What comes of its readiness
probe is the pod's Ready condition: that, and nothing else, is how a cluster tells that an agent lives.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fixtures.agents import Agent
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.cluster.kubelets import own_node
from tests.kubernetes.cluster.probes import Probes, without

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
        self._probes = Probes(api, namespace)
        self._made: dict[str, str] = {}
        self.agents: dict[str, Agent] = {}

    def run(self, *nodes: str, flags: tuple[str | Path, ...] = ()) -> list[Agent]:
        """A pod with its agent on each of these nodes; returns when all are ready."""
        wait_until(lambda: self._api.find(self._daemon_set), 60, "there is no DaemonSet for the agents")
        daemon_set = self._api.get(self._daemon_set)
        container = daemon_set["spec"]["template"]["spec"]["containers"][0]
        for node in nodes:
            self._made[node] = pod = self._bound(node) if self._controllers else self._make(daemon_set, node)
            words = without(container["args"][1:], "--directory", "--ref-file", "--port")
            self.agents[node] = self._start("--kubeconfig", self._kubeconfig, *words, *flags, name=node, kube=True)
            self._probes.start(pod, container, lambda node=node: self.agents[node])  # type: ignore[misc]
        wait_until(lambda: all(self.ready(node) for node in nodes), 60, "the agents are not ready")
        return [self.agents[node] for node in nodes]

    def ready(self, node: str) -> bool:
        """Whether the node's pod has the condition Ready."""
        return self._probes.ready(self._made[node])

    def stop(self) -> None:
        """No more probes; the pods that were made here go."""
        self._probes.stop()
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
        """The pod that the DaemonSet's controller made for a node, bound to it."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [each["metadata"]["name"] for each in self._api.list(self._pods) if own_node(each) == node]
            return bool(found)

        wait_until(there, 60, f"the DaemonSet has no pod for {node}")
        self._probes.bind(found[0], node)
        return found[0]
