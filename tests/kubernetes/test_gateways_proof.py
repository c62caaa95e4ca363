"""Gateways and policies as the API server stores them: what a gateway makes of them, a real Envoy runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.filters import adds_config
from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Application, Mesh
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import push, stored

GATEWAY_API = "gateway.networking.k8s.io"


@pytest.fixture
def gateway(envoy_binary: Path, tmp_path: Path, application: Application) -> Iterator[Mesh]:
    """Somebody who does with stored objects what the gateway does, and imports nothing of wasme."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    playing = Mesh(envoy_binary, folder, application)
    yield playing
    playing.close()


def test_what_gloo_is_given_runs(
    kube_run: Callable[..., Result], serve: Callable[[str], None], api: Api, control_plane: ControlPlane,
    namespace: str, docker_registry: DockerRegistry, gateway: Mesh,
) -> None:  # fmt: skip
    """The stored Gateway becomes a listener of a real Envoy that shows the header; two filters run in their order."""
    serve("gloo/v1.22.1")
    meta = {"name": "gateway-proxy", "namespace": namespace}
    api.create({"apiVersion": "gateway.solo.io/v1", "kind": "Gateway", "metadata": meta, "spec": {"httpGateway": {}}})
    for name, config in (("one", "world"), ("two", "w\u00f6rld {<&>}")):
        image = push(docker_registry.host, f"proof/gloo-{name}:v1", "oci", adds_config(name)).image
        kube_run("deploy", "gloo", image, f"--id={name}", f"--config={config}", "-n", namespace)
    text = stored(control_plane, "gateways.gateway.solo.io", "-n", namespace)
    proxy = gateway.listen(text, "--namespace", namespace)
    plugins = [each["typed_config"]["config"] for each in proxy.http_filters() if "wasm" in each["name"]]
    assert [each["name"] for each in plugins] == ["one", "two"]
    answer = proxy.ask()
    assert (answer.status, answer.headers["one"]) == (200, "world")
    assert answer.headers["two"].encode("latin-1").decode() == "w\u00f6rld {<&>}"


@pytest.mark.parametrize("layout", ["oci", "compat"])
def test_what_envoy_gateway_is_given_runs(
    kube_run: Callable[..., Result], serve: Callable[[str], None], api: Api, control_plane: ControlPlane,
    namespace: str, docker_registry: DockerRegistry, gateway: Mesh, layout: str,
) -> None:  # fmt: skip
    """The stored policy becomes a listener of a real Envoy: it pulls by digest, and the filter has its exact bytes."""
    serve("gateway-api/v1.6.1")
    serve("envoy-gateway/v1.9.0")
    spec = {"gatewayClassName": "eg", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}
    meta = {"name": "eg", "namespace": namespace}
    api.create({"apiVersion": f"{GATEWAY_API}/v1", "kind": "Gateway", "metadata": meta, "spec": spec})
    pushed = push(docker_registry.host, f"proof/eg-{layout}:v1", layout)
    result = kube_run(
        "deploy", "envoy-gateway", pushed.image, "--id=hello", '--config={"b": [1.0, true], "a": "x"}', "-n", namespace
    )
    received = '{"a":"x","b":[1,true]}'
    assert received.replace('"', '\\"') in result.stderr
    push(docker_registry.host, f"proof/eg-{layout}:v1", layout, b"\0asm\1\0\0\0" + pushed.module[8:] + b"\0\2\1x")
    text = stored(control_plane, "envoyextensionpolicies", "-n", namespace)
    answer = gateway.listen(text, "--namespace", namespace).ask()
    assert (answer.status, answer.headers["hello"]) == (200, received)
