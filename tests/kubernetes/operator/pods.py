"""The pods of the operator's Deployment: a real process in each, as its template and its ServiceAccount have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.accounts import account
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.probes import Probes, without


class OperatorPods:
    """What the kubelets do for the pods that a real controller makes of the operator's Deployment.

    Args:
        namespace: of the Deployment.

    Attributes:
        operators: in the pods, by name.
    """

    def __init__(self, api: Api, plane: ControlPlane, namespace: str, folder: Path) -> None:
        self._api = api
        self._namespace = namespace
        self._kubeconfig = account(api, plane, namespace, "wasme-operator", folder)
        self._probes = Probes(api, namespace)
        self.operators: dict[str, Operator] = {}

    def run(self, *nodes: str) -> None:
        """Bind all pods to the nodes, in turn, and run them; returns when they are ready."""
        base = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/wasme-operator"
        count = self._api.get(base)["spec"]["replicas"]
        path = f"/api/v1/namespaces/{self._namespace}/pods?labelSelector=app%3Dwasme-operator"
        wait_until(lambda: len(self._api.list(path)) == count, 30, "the Deployment's pods are not made")
        for number, pod in enumerate(self._api.list(path)):
            self._start(pod, nodes[number % len(nodes)])
        wait_until(
            lambda: all(self._probes.ready(name) for name in self.operators), 60,
            lambda: f"the operators are not ready:\n{self.told()}",
        )  # fmt: skip

    def _start(self, pod: dict[str, Any], node: str) -> None:
        name = pod["metadata"]["name"]
        self._probes.bind(name, node)
        container = pod["spec"]["containers"][0]
        assert container["args"][0] == "operator"
        words = without(container["args"][1:], "--metrics-port")
        environment = {"POD_NAME": name, "POD_NAMESPACE": self._namespace}
        operator = Operator(name, "--kubeconfig", self._kubeconfig, *words, environment=environment)
        self.operators[name] = operator.start()
        self._probes.start(name, container, lambda: operator)

    def told(self) -> str:
        """The ends of their logs."""
        return "\n".join(f"--- {name}\n{each.told()}" for name, each in self.operators.items())

    def stop(self) -> None:
        """End them."""
        self._probes.stop()
        for each in self.operators.values():
            each.kill()
