"""What tests on a real API server share. One server for the session; each test has a namespace of its own."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster import crds, external, objects
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.external import ExternalPlane
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxies import Proxy
from tests.kubernetes.gateways import Gateways as Gloo
from tests.kubernetes.gateways import World as EnvoyGateway
from tests.kubernetes.images import Pushed, push
from tests.kubernetes.meshes import Mesh

_SERVER = pytest.StashKey[str]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which server it was."""
    if told := config.stash.get(_SERVER, ""):
        terminalreporter.write_line(told)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """A real kube-apiserver with its etcd: a process of the tests', or what $WASME_TEST_KUBECONFIG names."""
    folder = tmp_path_factory.mktemp("control-plane")
    plane = ExternalPlane(external.NAMED, folder) if external.NAMED else ControlPlane(folder)
    try:
        plane.start()
        where = f" ($WASME_TEST_KUBECONFIG: {plane.url})" if external.NAMED else ""
        pytestconfig.stash[_SERVER] = f"kube-apiserver {plane.version}{where}"
        yield plane
    finally:
        plane.close()


@pytest.fixture(autouse=True)
def _no_cache(request: pytest.FixtureRequest) -> None:
    """A cluster has one node cache, and each test here installs its own: those of the tests before it go."""
    if "control_plane" not in request.fixturenames:
        return
    plane: ControlPlane = request.getfixturevalue("control_plane")
    api = plane.api
    for each in api.list("/apis/apps/v1/daemonsets"):
        volumes = each["spec"]["template"]["spec"].get("volumes") or ()
        if any(volume.get("hostPath", {}).get("path") == "/var/local/lib/wasme-cache" for volume in volumes):
            metadata = each["metadata"]
            if isinstance(plane, ExternalPlane) and metadata["uid"] in plane.caches:
                pytest.skip(f"the cluster has a node cache of its own: {metadata['namespace']}/{metadata['name']}")
            api.delete(f"/apis/apps/v1/namespaces/{metadata['namespace']}/daemonsets/{metadata['name']}")


@pytest.fixture
def api(control_plane: ControlPlane) -> Api:
    """The administrator's plain client."""
    return control_plane.api


@pytest.fixture
def serve(control_plane: ControlPlane) -> Callable[..., None]:
    """``serve("istio/1.30.3")`` makes the server serve these CRDs and no others of the project."""

    def call(name: str, *, everything: bool = False) -> None:
        crds.serve(control_plane, name, everything=everything)

    return call


@pytest.fixture
def envoy_gateway(serve: Callable[[str], None], api: Api, namespace: str) -> EnvoyGateway:
    """Gateways, routes and policies of the test's namespace, with the kinds of Envoy Gateway 1.9."""
    serve("gateway-api/v1.6.1")
    serve("envoy-gateway/v1.9.0")
    return EnvoyGateway(api, namespace)


@pytest.fixture
def gloo(serve: Callable[[str], None], api: Api, namespace: str) -> Gloo:
    """Gateways of the test's namespace, with the kinds of Gloo 1.22."""
    serve("gloo/v1.22.1")
    return Gloo(api, namespace)


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    """A filter on a registry, of layout ``oci``."""
    return push(docker_registry)


@pytest.fixture
def namespace(api: Api) -> str:
    """The name of a fresh namespace."""
    return new_namespace(api)


def new_namespace(api: Api, prefix: str = "test") -> str:
    """Make a namespace of its own name."""
    name = f"{prefix}-{uuid.uuid4().hex[:8]}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def nodes(api: Api) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``nodes("a", "b", ready=False)`` makes Nodes, which go with the test."""
    made: set[str] = set()

    def call(*names: str, ready: bool = True) -> list[dict[str, Any]]:
        made.update(names)
        return [objects.node(api, name, ready=ready) for name in names]

    yield call
    for name in made:
        api.delete(f"/api/v1/nodes/{name}")


@pytest.fixture
def pods(api: Api) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """``pods(workload, "node-a", "node-b")`` makes one running Pod of the workload on each, gone with the test."""
    made: list[str] = []

    def call(workload: dict[str, Any], *node_names: str, **settings: Any) -> list[dict[str, Any]]:
        result = []
        for node_name in node_names:
            name = f"{workload['metadata']['name']}-{uuid.uuid4().hex[:6]}"
            result.append(objects.pod(api, workload, name, node_name, **settings))
            made.append(f"/api/v1/namespaces/{workload['metadata']['namespace']}/pods/{name}")
        return result

    yield call
    for path in made:
        try:
            api.delete(path)
        except ApiRefused as refused:
            if refused.status != 404:
                raise


@pytest.fixture
def bookinfo(api: Api) -> Callable[[str], dict[str, dict[str, Any]]]:
    """``bookinfo(namespace)`` applies Istio's sample; its Deployments by name."""

    def call(namespace: str) -> dict[str, dict[str, Any]]:
        made = {}
        for obj in crds.sample("bookinfo.yaml"):
            obj["metadata"]["namespace"] = namespace
            applied = api.create(obj)
            if obj["kind"] == "Deployment":
                made[obj["metadata"]["name"]] = applied
        return made

    return call


@pytest.fixture
def controllers(control_plane: ControlPlane) -> Iterator[subprocess.Popen[bytes]]:
    """A real kube-controller-manager for the length of a test."""
    with control_plane.controllers() as process:
        yield process


@pytest.fixture
def kube_run(
    run: Callable[..., Result], control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`run` with $KUBECONFIG of the server; ``kubeconfig=FILE`` for another user's."""

    def call(*args: str | Path, ok: bool = True, kubeconfig: Path | None = None) -> Result:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig or control_plane.kubeconfig))
        return run(*args, ok=ok)

    return call


@pytest.fixture
def kubelet(api: Api, tmp_path: Path) -> Iterator[Kubelet]:
    """A kubelet's streaming server, for nodes that `kubelet.serve("node-a")` names."""
    running = Kubelet(api, tmp_path)
    yield running
    running.stop()


@pytest.fixture
def proxy(envoy_binary: Path, tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    """``proxy(*http_filters)`` starts a real Envoy in the place of a pod's sidecar."""
    running: list[Proxy] = []

    def start(*filters: dict[str, Any]) -> Proxy:
        running.append(Proxy(envoy_binary, tmp_path / f"proxy-{len(running)}", *filters))
        return running[-1]

    yield start
    for each in running:
        each.stop()


@pytest.fixture
def mesh(api: Api, control_plane: ControlPlane, kube_run: Callable[..., Result], serve: Callable[..., None]) -> Mesh:
    """A mesh of Istio 1.30 with three namespaces of its own."""
    serve("istio/1.30.3")
    made = Mesh(api, control_plane, kube_run, *(new_namespace(api, each) for each in ("mesh", "cache", "istio")))
    made.istiod("1.30.3")
    return made
