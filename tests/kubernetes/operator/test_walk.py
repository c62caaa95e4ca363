"""docs/operator.md: its commands, as they stand, from `kubectl apply` to the header in a real Envoy, and away again.

A real kube-controller-manager makes the pods of the operator's Deployment, of the cache's DaemonSet and of bookinfo.
What runs in the first two are real processes, with the arguments of their templates and the rights of their accounts.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import pages
from tests.fixtures.agents import Agent
from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Mesh, Sidecar
from tests.fixtures.tools import need
from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.accounts import account, wait_allowed
from tests.kubernetes.cluster.api import Api, ApiRefused, place
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.kubelets import Kubelets
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.cluster.programs import kubectl
from tests.kubernetes.operator.pods import OperatorPods
from tests.kubernetes.operator.samples import ADD_HEADER
from tests.kubernetes.operator.world import remove_all
from tests.kubernetes.proofs import CACHE, push, stored

_PAGE = Path(__file__).resolve().parents[3] / "docs" / "operator.md"
_NODES = ("walk-a", "walk-b")
_OWN, _NAMESPACE = "wasme", "istio"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"


class Walk:
    """The cluster, and those who play the kubelets of its two nodes.

    Attributes:
        agents: of the nodes.
        operators: in their pods.
    """

    def __init__(self, api: Api, plane: ControlPlane, folder: Path, start_agent: Callable[..., Agent]) -> None:
        self.api = api
        self._plane = plane
        self._folder = folder
        self._start_agent = start_agent
        self.kubelets = Kubelets(api, _NAMESPACE, *_NODES)
        self.agents: NodeAgents | None = None
        self.operators: OperatorPods | None = None

    def installed(self) -> None:
        """The objects of wasme-default.yaml are there: run what their pods run, once the server knows their rights."""
        who = f"system:serviceaccount:{_OWN}:wasme-operator"
        wait_allowed(self.api, who, "list", "filterdeployments", group="wasme.io")
        wait_allowed(self.api, who, "list", "secrets", namespace=_OWN)
        wait_allowed(self.api, f"system:serviceaccount:{_OWN}:wasme-cache", "list", "secrets", namespace=_OWN)
        kubeconfig = account(self.api, self._plane, _OWN, "wasme-cache", self._folder)
        self.agents = NodeAgents(self.api, self._start_agent, kubeconfig, _OWN, controllers=True)
        self.agents.run(*_NODES)
        self.operators = OperatorPods(self.api, self._plane, _OWN, self._folder)
        self.operators.run(*_NODES)

    def close(self) -> None:
        self.kubelets.stop()
        if self.agents:
            self.agents.stop()
        if self.operators:
            self.operators.stop()


@pytest.fixture
def walk(
    api: Api, control_plane: ControlPlane, serve: Callable[..., None], controllers: object, tmp_path: Path,
    start_agent: Callable[..., Agent], nodes: Callable[..., Any],
) -> Iterator[Walk]:  # fmt: skip
    """Two nodes, bookinfo in the namespace `istio` with a productpage on each, and nothing of wasme."""
    serve("istio/1.30.3")
    remove_all(api)
    _remove(api)
    with suppress(ApiRefused):
        api.delete(_CRD)
        wait_until(lambda: api.find(_CRD) is None, 30, "the old definition stays")
    nodes(*_NODES)
    for name in _NODES:
        api.patch(f"/api/v1/nodes/{name}", {"metadata": {"labels": {"kubernetes.io/os": "linux"}}})
    with suppress(ApiRefused):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    sample = crds.sample("bookinfo.yaml")
    for obj in sample:
        obj["metadata"]["namespace"] = _NAMESPACE
        if obj["metadata"]["name"] == "productpage-v1":
            obj["spec"]["replicas"] = len(_NODES)
        api.create(obj)
    made = Walk(api, control_plane, tmp_path, start_agent)
    yield made
    made.close()
    remove_all(api)
    for obj in sample:
        with suppress(ApiRefused):
            api.delete(place(obj))
    _end_pods(api, _NAMESPACE)
    _remove(api)


def _end_pods(api: Api, namespace: str) -> None:
    """No kubelet would ever say that they have ended."""
    for pod in api.list(f"/api/v1/namespaces/{namespace}/pods"):
        with suppress(ApiRefused):
            api.delete(f"{place({**pod, 'apiVersion': 'v1', 'kind': 'Pod'})}?gracePeriodSeconds=0")


def _remove(api: Api) -> None:
    """The namespace of the operator, with all that is in it."""
    path = f"/api/v1/namespaces/{_OWN}"
    if api.find(path) is None:
        return
    with suppress(ApiRefused):
        api.delete(path)
    _end_pods(api, _OWN)
    wait_until(lambda: api.find(path) is None, 60, "the namespace does not go")


def test_the_page_is_true(
    walk: Walk, tmp_path: Path, control_plane: ControlPlane, docker_registry: DockerRegistry, played_mesh: Mesh
) -> None:
    """From two `kubectl apply` to Ready, `hello: world` from a real Envoy; after the deletion no header, nothing left.

    The operators are nobody but their ServiceAccount, and nothing they ask for is refused.
    """
    need("curl")
    push(docker_registry.host, "hxpmark/add-header:v0.0.1")
    (tmp_path / "add-header.yaml").write_text(ADD_HEADER)
    environment = {
        **os.environ,
        "KUBECONFIG": str(control_plane.kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:{kubectl().parent}:{os.environ['PATH']}",
    }

    def proxy() -> Sidecar:
        objects = stored(control_plane, "envoyfilters,deployments", "-n", _NAMESPACE)
        assert walk.agents
        where = ["--pod", "Deployment/productpage-v1", "--namespace", _NAMESPACE]
        return played_mesh.listen(objects, *where, "--host", f"{CACHE}={walk.agents.agents[_NODES[1]].directory}")

    before = _templates(walk.api)
    since = control_plane.mark()
    steps = pages.steps(pages.section(_PAGE.read_text(), "A walk through"))
    for written, expected in steps:
        command = written.replace("registry.example.com", docker_registry.host)
        if command.startswith("curl"):
            command = command.replace("productpage.example.com", proxy().address)
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
        )
        said = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{said}\n{walk.operators.told() if walk.operators else ''}"
        for line in expected:
            assert re.search(_spaced(line), said), f"$ {command}\ndoes not show {line!r}:\n{said}"
        if "wasme-default.yaml" in command and "apply" in command:
            walk.installed()
    assert len(steps) == 14
    assert "hello:" not in said, "the header is still there"
    assert _templates(walk.api) == before
    data = walk.api.get(f"/api/v1/namespaces/{_OWN}/configmaps/wasme-cache")["data"]
    assert not any(data.get(key) for key in ("images", "filters", "added"))
    refused = [each for each in control_plane.audit(since) if each["responseStatus"].get("code") == 403]
    ours = [each for each in refused if "serviceaccount" in each["user"]["username"]]
    assert [f"{each['verb']} {each['requestURI']}" for each in ours] == []


def _spaced(line: str) -> str:
    """As `pages.pattern`, with as many blanks as a table's column takes."""
    return re.sub(r"(\\ )+", r"\\s+", pages.pattern(line))


def _templates(api: Api) -> str:
    found = api.list(f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments")
    return json.dumps({each["metadata"]["name"]: each["spec"]["template"] for each in found}, sort_keys=True)
