"""The short blocks at the top of the pages about clusters: their commands, as they stand, on a real API server."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import pages
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.gateways import ACCEPTED, Gateways, World
from tests.kubernetes.images import push
from tests.kubernetes.meshes import Mesh

Type = Callable[..., Result]
_DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def commands() -> Callable[[str, str], list[str]]:
    """``commands("gateways.md", "gloo")``: the lines of a page that hold a word."""

    def call(page: str, word: str = "") -> list[str]:
        return [line for line in pages.typed((_DOCS / page).read_text()) if word in line]

    return call


@pytest.fixture
def type_(kube_run: Callable[..., Result], docker_registry: DockerRegistry) -> Type:
    """Run a line of a page with the registry of the tests, and further words for what their cluster has elsewhere."""
    image = push(docker_registry, f"{docker_registry.host}/demo/auth:v3")

    def call(line: str, *more: str, kubeconfig: Path | None = None) -> Result:
        words = shlex.split(line.replace("registry.example.com/demo/auth:v3", image.name))
        assert words[0] == "wasme", line
        return kube_run(*words[1:], *more, kubeconfig=kubeconfig)

    return call


def test_kubernetes(
    mesh: Mesh, type_: Type, commands: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/kubernetes.md: deployed to the workload with that label only, told by status, and gone afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "auth.json").write_text('{"mode": "strict"}')
    mesh.workload("web")
    mesh.workload("other")
    deploy, status, undeploy = (line.replace("--namespace=shop", f"--namespace={mesh.namespace}")
                                for line in commands("kubernetes.md"))  # fmt: skip
    where = ("--istio-namespace", mesh.istio)
    type_(deploy, *where)
    (made,) = mesh.filters("trafficextensions").values()
    assert made["spec"]["selector"]["matchLabels"] == {"app": "web"}
    assert "Deployment/web" in type_(status, "--cache-namespace", mesh.cache).stdout
    type_(undeploy, *where)
    assert mesh.filters("trafficextensions") == {}


def test_envoy_gateway(
    type_: Type, commands: Callable[..., list[str]], serve: Callable[[str], None], api: Api, namespace: str,
    control_plane: ControlPlane,
) -> None:  # fmt: skip
    """docs/gateways.md: the filter goes into a policy on the Gateway, which is waited for, and goes with it."""
    serve("gateway-api/v1.6.1")
    serve("envoy-gateway/v1.9.0")
    world = World(api, namespace)
    world.gateway()
    deploy, undeploy = commands("gateways.md", "envoy-gateway")
    here = control_plane.kubeconfig_for(f"boss-{namespace}", "system:masters", namespace=namespace)

    def judge() -> None:  # as Envoy Gateway would
        wait_until(world.policies, 30, "no policy is stored")
        world.judge("wasme-gateway-eg", ACCEPTED)

    judging = threading.Thread(target=judge)
    judging.start()
    result = type_(deploy, kubeconfig=here)
    judging.join()
    assert "EnvoyExtensionPolicy is accepted" in result.stderr
    assert world.policies()["wasme-gateway-eg"]["spec"]["wasm"][0]["config"] == {"mode": "strict"}
    type_(undeploy, kubeconfig=here)
    assert world.policies() == {}


def test_gloo(
    type_: Type, commands: Callable[..., list[str]], serve: Callable[[str], None], api: Api, namespace: str
) -> None:
    """docs/gateways.md: the filter goes into the Gateways, at the stage that was asked for, and out again."""
    serve("gloo/v1.22.1")
    gateways = Gateways(api, namespace)
    gateways.make()
    deploy, undeploy = commands("gateways.md", " gloo ")
    type_(deploy, "--namespaces", namespace)
    (entry,) = gateways.filters()
    assert (entry["filterStage"], entry["config"]["value"]) == (
        {"stage": "AuthNStage", "predicate": "Before"},
        "strict",
    )
    type_(undeploy, "--namespaces", namespace)
    assert gateways.filters() is None


def test_node_cache(type_: Type, commands: Callable[..., list[str]], api: Api, namespace: str) -> None:
    """docs/node-cache.md: installed, moved to another registry, told and taken away, in a namespace of its own."""
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/wasme-cache"
    images = []
    for line in commands("node-cache.md"):
        result = type_(line, "--cache-namespace", namespace)
        found = api.find(path)
        images.append(found["spec"]["template"]["spec"]["containers"][0]["image"] if found else result.stdout)
    first, second, told, gone = images
    assert first.startswith("ghcr.io/")
    assert second == told
    assert second.startswith("registry.example.com/wasme:")
    assert "is uninstalled" in gone
    assert api.find(path) is None
