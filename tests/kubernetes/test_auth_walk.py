"""docs/auth.md: its commands, as they stand, against a real API server, registry, agents, istiod and Envoy."""

from __future__ import annotations

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
from tests.fixtures.istiods import Pods
from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Mesh, Sidecar
from tests.fixtures.tools import need
from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.programs import kubectl
from tests.kubernetes.proofs import CACHE, stored
from wasme.build.rust import cargo

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "auth.md"
_CLUSTER = "outbound|8080||auth-simple.istio.svc.cluster.local"
_NAMESPACE = "istio"
_NODES = ("auth-node-a", "auth-node-b")


@pytest.fixture
def service() -> Iterator[int]:
    """The example's service as a process; its port."""
    program = _ROOT / "examples" / "auth" / "service" / "auth_simple.py"
    command = [sys.executable, program, "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline().rpartition(":")[2])
        process.terminate()


class Walk:
    """The cluster that the page walks through."""

    def __init__(self, api: Api, nodes: Callable[..., Any], pods: Callable[..., Any]) -> None:
        self._api = api
        self._nodes = nodes
        self._pods = pods

    def deployment(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get(f"/apis/apps/v1/namespaces/{_NAMESPACE}/deployments/productpage-v1")
        return found

    def schedule(self) -> None:
        """What the scheduler and two kubelets would do: productpage runs on two nodes."""
        self._nodes(*_NODES)
        self._pods(self.deployment(), *_NODES)


@pytest.fixture
def walk(
    control_plane: ControlPlane, api: Api, nodes: Callable[..., Any], pods: Callable[..., Any],
    agents: Callable[..., list[Agent]], namespace: str,
) -> Iterator[tuple[Walk, list[Agent]]]:  # fmt: skip
    """The namespace `istio`, and the agents of two nodes; ``namespace`` is the cache's."""
    with suppress(ApiRefused):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
    yield Walk(api, nodes, pods), agents(control_plane, namespace, *_NODES)
    for obj in (*crds.sample("bookinfo.yaml"), *_example()):
        with suppress(ApiRefused):
            api.delete(_place(obj))


def _example() -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load_all((_ROOT / "examples" / "auth" / "k8s.yaml").read_text()))


def _place(obj: dict[str, Any]) -> str:
    from tests.kubernetes.cluster.api import place

    obj["metadata"]["namespace"] = _NAMESPACE
    return place(obj)


def _follow(
    tmp_path: Path, plane: ControlPlane, registry: DockerRegistry, cache: str, walk: Walk,
    proxy: Callable[[bool], Sidecar],
) -> None:  # fmt: skip
    """Run the page; ``proxy(True)`` is the proxy of a productpage pod after deploy, ``proxy(False)`` after undeploy."""
    need("curl")
    bookinfo = next(folder / "istio" / "samples" / "bookinfo.yaml" for folder in crds.FOLDERS
                    if (folder / "istio" / "samples" / "bookinfo.yaml").is_file())  # fmt: skip
    environment = {
        **os.environ,
        "KUBECONFIG": str(plane.kubeconfig),
        "PATH": f"{Path(sys.executable).parent}:{kubectl().parent}:{os.environ['PATH']}",
        "TERM": "dumb",
    }
    (tmp_path / "examples").symlink_to(_ROOT / "examples")
    commands = []
    sidecar: Sidecar | None = None
    for written, expected in pages.steps(_PAGE.read_text()):
        command = written.replace("registry.example.com", registry.host)
        command = re.sub(r"https://\S+/bookinfo\.yaml", str(bookinfo), command)
        if command.startswith("wasme deploy istio"):
            command += f" --cache-namespace={cache} --cache-timeout=30s"
        elif command.startswith(("wasme undeploy istio", "wasme status")):
            command += f" --cache-namespace={cache}"
        elif command.startswith("curl"):
            if sidecar is None:
                sidecar = proxy("undeploy" not in " ".join(commands))
            command = command.replace("bookinfo.example.com", sidecar.address)
        done = subprocess.run(
            ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        for line in expected:
            assert re.search(pages.pattern(line), done.stdout + done.stderr, re.IGNORECASE), (
                f"$ {command}\ndoes not show {line!r}:\n{done.stdout}{done.stderr}"
            )
        commands.append(written)
        if "bookinfo.yaml" in command:
            walk.schedule()
        if "undeploy" in command:
            sidecar = None
    assert len(commands) >= 15


@pytest.fixture
def toolchain() -> None:
    """The page builds a filter in Rust."""
    found = cargo.probe()
    if found is None or not found.usable:
        pytest.skip(f"needs a Rust compiler for WebAssembly: {cargo.how()}")


def test_the_page_is_true_where_a_program_plays_the_mesh(
    tmp_path: Path, control_plane: ControlPlane, serve: Callable[..., None], docker_registry: DockerRegistry,
    namespace: str, walk: tuple[Walk, list[Agent]], service: int, played_mesh: Mesh, toolchain: None,
) -> None:  # fmt: skip
    """HEAD and GET: admin 200; mark, and nobody, 403; the agents of both nodes hold the module before that."""
    serve("istio/1.30.3")

    def proxy(deployed: bool) -> Sidecar:
        objects = stored(control_plane, "envoyfilters,deployments", "-n", _NAMESPACE)
        node = walk[1][-1]
        assert (node.directory / "ready" / _NAMESPACE).is_file() or not deployed
        where = ["--pod", "Deployment/productpage-v1", "--namespace", _NAMESPACE, "--host", f"{CACHE}={node.directory}"]
        return played_mesh.listen(objects, *where, "--cluster", f"{_CLUSTER}={service}")

    _follow(tmp_path, control_plane, docker_registry, namespace, walk[0], proxy)


def test_the_page_is_true_in_a_real_istio(
    tmp_path: Path, control_plane: ControlPlane, docker_registry: DockerRegistry, api: Api, namespace: str,
    walk: tuple[Walk, list[Agent]], service: int, mesh_pods: Pods, toolchain: None,
) -> None:  # fmt: skip
    """The same with Istio's control plane and agent: it is their cluster by which the filter asks the service."""
    endpoint = {"address": "127.0.0.1", "ports": {"http": service}}
    there = {"hosts": ["auth-simple.istio.svc.cluster.local"], "location": "MESH_INTERNAL", "resolution": "STATIC",
             "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}], "endpoints": [endpoint]}  # fmt: skip
    meta = {"name": "auth-simple", "namespace": _NAMESPACE}
    api.apply({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": meta, "spec": there})

    def proxy(deployed: bool) -> Sidecar:
        sidecar = mesh_pods.start(walk[0].deployment(), disk={CACHE: walk[1][0].directory})
        sidecar.wait(lambda proxy: ("envoy.filters.http.wasm" in proxy.names()) == deployed)  # istiod may be a bit late
        return sidecar

    try:
        _follow(tmp_path, control_plane, docker_registry, namespace, walk[0], proxy)
    finally:
        api.delete(f"/apis/networking.istio.io/v1/namespaces/{_NAMESPACE}/serviceentries/auth-simple")
