"""What the command line stores for meshes that fetch images by themselves, in a real Envoy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry, Run
from tests.fixtures.sidecars import Mesh
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import WORKLOAD, Pushed, push, stored

_ISTIO = "wasmplugins,trafficextensions,deployments"


@pytest.fixture
def pushed(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry.host, "proof/plugin:v1")


class Stored:
    """A namespace with bookinfo, and what is stored there for a mesh."""

    def __init__(self, plane: ControlPlane, namespace: str, kinds: str) -> None:
        self._plane = plane
        self.namespace = namespace
        self._kinds = kinds
        self.where = ("--pod", WORKLOAD, "--namespace", namespace)

    def __call__(self) -> str:
        return stored(self._plane, self._kinds, "-n", self.namespace)


@pytest.fixture
def in_istio(
    serve: Callable[..., None], control_plane: ControlPlane, namespace: str,
    bookinfo: Callable[[str], dict[str, dict[str, Any]]],
) -> Stored:  # fmt: skip
    serve("istio/1.30.3")
    bookinfo(namespace)
    return Stored(control_plane, namespace, _ISTIO)


def _deploy(kube_run: Run, pushed: Pushed, namespace: str, *flags: str) -> None:
    where = ("--id=hello", "--labels=app=productpage", f"--namespace={namespace}", '--config={"b":1,"a":"<x>"}')
    kube_run("deploy", "istio", pushed.image, *where, *flags)


@pytest.mark.parametrize("kind", ["wasmplugin", "trafficextension"])
@pytest.mark.parametrize("context", ["inbound", "outbound", "gateway", "any"])
def test_a_plugin_runs_in_its_context(
    in_istio: Stored, kube_run: Run, pushed: Pushed, played_mesh: Mesh, kind: str, context: str
) -> None:
    """The agent takes the image by the manifest's digest that was stored; the other side of the pod has no filter."""
    _deploy(kube_run, pushed, in_istio.namespace, f"--as={kind}", f"--patch-context={context}")
    side = "inbound" if context == "any" else context
    sidecar = played_mesh.listen(in_istio(), *in_istio.where, "--context", side)
    assert sidecar.ask().headers["hello"] in ('{"b":1,"a":"<x>"}', '{"a":"<x>","b":1}')
    other = "outbound" if side == "inbound" else "inbound"
    headers = played_mesh.listen(in_istio(), *in_istio.where, "--context", other).ask().headers
    assert ("hello" in headers) == (context == "any")


def test_phases_come_around_authorisation(in_istio: Stored, kube_run: Run, pushed: Pushed, played_mesh: Mesh) -> None:
    """authn and authz stand before Istio's own authorisation, stats and the rest after it."""
    for phase in ("authn", "stats"):
        where = (f"--id={phase}", "--labels=app=productpage", f"--namespace={in_istio.namespace}", f"--phase={phase}")
        kube_run("deploy", "istio", pushed.image, *where, "--as=wasmplugin")
    names = played_mesh.listen(in_istio(), *in_istio.where).names()
    order = [names.index(f"{in_istio.namespace}.productpage-v1-{phase}") for phase in ("authn", "stats")]
    assert order[0] < names.index("envoy.filters.http.rbac") < order[1]


@pytest.mark.parametrize(("policy", "status"), [("closed", 403), ("open", 200)])
def test_an_image_that_is_gone(
    in_istio: Stored, kube_run: Run, pushed: Pushed, played_mesh: Mesh, policy: str, status: int
) -> None:
    """The agent puts a filter in its place that refuses everything, or nothing with policy open."""
    _deploy(kube_run, pushed, in_istio.namespace, "--as=wasmplugin", f"--fail-policy={policy}")
    gone = in_istio().replace("/proof/plugin@", "/proof/gone@")
    answer = played_mesh.listen(gone, *in_istio.where).ask()
    assert (answer.status, "hello" in answer.headers) == (status, False)


def test_another_manifest_is_not_taken(in_istio: Stored, kube_run: Run, pushed: Pushed, played_mesh: Mesh) -> None:
    """sha256 is the manifest's digest: the agent refuses any other."""
    _deploy(kube_run, pushed, in_istio.namespace, "--as=wasmplugin")
    digest = pushed.resolved.manifest.hex
    assert f"sha256: {digest}" in in_istio()
    other = in_istio().replace(f"@sha256:{digest}", ":v1").replace(digest, "a" * 64)
    assert played_mesh.listen(other, *in_istio.where).ask().status == 403


def test_private_images_are_pulled_with_the_secret(
    in_istio: Stored, kube_run: Run, api: Api, control_plane: ControlPlane, played_mesh: Mesh,
    login_registry: DockerRegistry,
) -> None:  # fmt: skip
    """--pull-secret names a Secret of the workload's namespace: with it the agent gets the module, without it none."""
    user, password = login_registry.user, login_registry.password
    kube_run("login", "-s", login_registry.host, "-u", user, "-p", password, "--plaintext")
    private = push(login_registry.host, "proof/private:v1", login=(user, password))
    auths = {login_registry.host: {"auth": _basic(user, password)}}
    meta = {"name": "pull", "namespace": in_istio.namespace}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": _json({"auths": auths})}})  # fmt: skip
    _deploy(kube_run, private, in_istio.namespace, "--as=wasmplugin", "--pull-secret=pull")
    objects = stored(control_plane, f"{_ISTIO},secrets", "-n", in_istio.namespace)
    assert "hello" in played_mesh.listen(objects, *in_istio.where).ask().headers
    assert played_mesh.listen(objects.replace("imagePullSecret: pull", "x: y"), *in_istio.where).ask().status == 403


def test_a_filter_in_gloos_gateway(
    serve: Callable[..., None], kube_run: Run, api: Api, control_plane: ControlPlane, namespace: str,
    docker_registry: DockerRegistry, played_mesh: Mesh,
) -> None:  # fmt: skip
    """What `deploy gloo` puts into a Gateway is a filter with its configuration; `undeploy gloo` leaves none."""
    serve("gloo/v1.22.1")
    api.create({"apiVersion": "gateway.solo.io/v1", "kind": "Gateway",
                "metadata": {"name": "gateway-proxy", "namespace": namespace},
                "spec": {"bindAddress": "::", "bindPort": 8080, "httpGateway": {}}})  # fmt: skip
    bare = push(docker_registry.host, "proof/bare:v1", "oci")
    kube_run("deploy", "gloo", bare.image, "--id=hello", "-n", namespace, "--config=world", "--fail-open")
    objects = stored(control_plane, "gateways.gateway.solo.io", "-n", namespace)
    sidecar = played_mesh.listen(objects)
    assert sidecar.ask().headers["hello"] == "world"
    (plugin,) = [each["typed_config"]["config"] for each in sidecar.http_filters() if "wasm" in each["name"]]
    assert (plugin["name"], plugin["root_id"], plugin["failure_policy"]) == ("hello", "add_header", "FAIL_OPEN")
    kube_run("undeploy", "gloo", "--id=hello", "-n", namespace)
    objects = stored(control_plane, "gateways.gateway.solo.io", "-n", namespace)
    assert "hello" not in played_mesh.listen(objects).ask().headers


def test_a_filter_in_envoy_gateways_policy(
    serve: Callable[..., None], kube_run: Run, api: Api, control_plane: ControlPlane, namespace: str, pushed: Pushed,
    played_mesh: Mesh,
) -> None:  # fmt: skip
    """An EnvoyExtensionPolicy's module and JSON reach the filter; two filters share the policy in their order."""
    serve("gateway-api/v1.6.1")
    serve("envoy-gateway/v1.9.0")
    listener = {"name": "http", "port": 80, "protocol": "HTTP"}
    api.create({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": "eg", "namespace": namespace},
                "spec": {"gatewayClassName": "eg", "listeners": [listener]}})  # fmt: skip
    for name in ("one", "two"):
        kube_run("deploy", "envoy-gateway", pushed.image, f"--id={name}", "-n", namespace, f'--config={{"n":"{name}"}}',
                 "--target=Gateway/eg")  # fmt: skip
    objects = stored(control_plane, "envoyextensionpolicies", "-n", namespace)
    sidecar = played_mesh.listen(objects)
    plugins = [each["typed_config"]["config"] for each in sidecar.http_filters() if "wasm" in each["name"]]
    assert [each["name"] for each in plugins] == ["one", "two"]
    assert [each["configuration"]["value"] for each in plugins] == ['{"n":"one"}', '{"n":"two"}']
    assert sidecar.ask().headers["hello"]
    kube_run("undeploy", "envoy-gateway", "--id=one", "-n", namespace)
    objects = stored(control_plane, "envoyextensionpolicies", "-n", namespace)
    assert played_mesh.listen(objects).ask().headers["hello"] == '{"n":"two"}'


def _basic(user: str, password: str) -> str:
    import base64

    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _json(value: object) -> str:
    import json

    return json.dumps(value)
