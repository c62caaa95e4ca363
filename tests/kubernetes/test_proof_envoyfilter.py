"""EnvoyFilters as the API server stores them: what a mesh makes of them, a real Envoy runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Mesh
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import CACHE, WORKLOAD, Pushed, Stage, push
from wasme.deploy.istio import annotations
from wasme.deploy.istio.target import IstioTarget
from wasme.deploy.spec import Backoff, FilterSpec, PluginSettings


@pytest.fixture
def pushed(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry.host, "proof/hello:v1")


@pytest.fixture
def stage(
    control_plane: ControlPlane, api: Api, serve: Callable[..., None], namespace: str,
    bookinfo: Callable[[str], dict[str, dict[str, Any]]], played_mesh: Mesh, pushed: Pushed, tmp_path: Path,
) -> Stage:  # fmt: skip
    """bookinfo, whose productpage has the volumes."""
    serve("istio/1.30.3")
    deployments = bookinfo(namespace)
    return Stage(control_plane, api, namespace, played_mesh, pushed, tmp_path / "agent", deployments["productpage-v1"])


def _spec(**settings: Any) -> FilterSpec:
    config = settings.pop("config", "world")
    return FilterSpec("hello", "image", "add_header", config, PluginSettings(**settings))


@pytest.mark.parametrize(
    ("context", "where", "elsewhere"),
    [("inbound", "inbound", "outbound"), ("outbound", "outbound", "inbound"), ("gateway", "gateway", "inbound")],
)
def test_the_filter_runs_in_its_patch_context_alone(stage: Stage, context: str, where: str, elsewhere: str) -> None:
    """The proxy adds the header on that side of the pod, right before the router; the other side has no filter."""
    stage.filter(_spec(), IstioTarget(patch_context=context))
    sidecar = stage.listen("--context", where)
    answer = sidecar.ask()
    assert (answer.status, answer.headers["hello"]) == (200, "world")
    assert sidecar.names()[-2:] == ["envoy.filters.http.wasm", "envoy.filters.http.router"]
    assert stage.mesh.application.seen[-1][2]["hello"] == "world"
    assert "hello" not in stage.listen("--context", elsewhere, mounted=False).ask().headers


@pytest.mark.parametrize("where", ["inbound", "outbound", "gateway"])
def test_any_context_is_every_side(stage: Stage, where: str) -> None:
    """``--patch-context any`` is matched on every side."""
    stage.filter(_spec(), IstioTarget(patch_context="any"))
    assert stage.listen("--context", where).ask().headers["hello"] == "world"


@pytest.mark.parametrize(("minor", "reader"), [(5, 5), (6, 6), (7, 7), (9, 9), (9, 18), (18, 18), (19, 19), (30, 30)])
def test_every_version_takes_what_is_made_for_it(stage: Stage, minor: int, reader: int) -> None:
    """What is made for Istio 1.5 to 1.30 matches by that version's rules for names, and a real Envoy takes it."""
    stage.filter(_spec(), minor=minor)
    assert stage.listen("--istio", str(reader)).ask().headers["hello"] == "world"


def test_what_the_original_made_matches_nothing_since_istio_1_19(stage: Stage) -> None:
    """[BUG] names: the original's object is matched up to Istio 1.18, and passed over in silence from 1.19 on."""
    stage.filter(_spec())
    text = stage.stored().replace("envoy.filters.network.http_connection_manager", "envoy.http_connection_manager")
    text = text.replace("name: envoy.filters.http.router", "name: envoy.router")
    assert "envoy.router" in text
    stage.mount()
    where = ["--pod", WORKLOAD, "--namespace", stage.namespace, "--host", f"{CACHE}={stage.agent}"]
    documents = yaml.safe_load(text)
    for each in documents["items"]:
        if each["kind"] == "Deployment":
            each["spec"] = stage.api.get(
                f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/{each['metadata']['name']}"
            )["spec"]
    text = yaml.safe_dump(documents)
    assert "hello" in stage.mesh.listen(text, *where, "--istio", "18").ask().headers
    assert "hello" not in stage.mesh.listen(text, *where, "--istio", "19").ask().headers


def test_other_workloads_have_no_filter(stage: Stage) -> None:
    """The selector is all of the template's labels: reviews' proxy is left alone."""
    stage.filter(_spec())
    where = ["--pod", "Deployment/reviews-v1", "--namespace", stage.namespace]
    assert "hello" not in stage.mesh.listen(stage.stored(), *where).ask().headers


def test_two_filters_run_in_one_proxy(stage: Stage) -> None:
    """Two ids on one workload: both are in the proxy, each with its own configuration."""
    for name, config in (("one", "1"), ("two", "2")):
        stage.filter(replace(_spec(config=config), id=name))
    sidecar = stage.listen()
    plugins = [each["typed_config"]["value"]["config"] for each in sidecar.http_filters() if "wasm" in each["name"]]
    assert [each["name"] for each in plugins] == ["one", "two"]
    sidecar.ask()
    assert stage.mesh.application.seen[-1][2]["hello"] in ("1,2", "1", "2")
    assert sidecar.ask().headers["hello"]


@pytest.mark.parametrize(
    ("settings", "path", "value"),
    [
        ({"fail_policy": "open"}, "failure_policy", "FAIL_OPEN"),
        ({"fail_policy": "closed"}, "failure_policy", "FAIL_CLOSED"),
        ({"fail_policy": "reload"}, "failure_policy", "FAIL_RELOAD"),
        (
            {"fail_policy": "reload", "reload_backoff": Backoff(0.5, 20)},
            "reload_config.backoff",
            {"base_interval": "0.500s", "max_interval": "20s"},
        ),
        ({"env": {"A": "b", "C": ""}}, "vm_config.environment_variables.key_values", {"A": "b", "C": ""}),
        ({"host_env": ("HOME",)}, "vm_config.environment_variables.host_env_keys", ["HOME"]),
        ({"vm_id": "shared"}, "vm_config.vm_id", "shared"),
        ({"vm_config": "for the vm"}, "vm_config.configuration.value", "for the vm"),
        ({"allow_precompiled": True}, "vm_config.allow_precompiled", True),
        ({"nack_on_code_cache_miss": True}, "vm_config.nack_on_code_cache_miss", True),
        ({"allow_on_headers_stop_iteration": True}, "allow_on_headers_stop_iteration", True),
        ({"allow_on_headers_stop_iteration": False}, "allow_on_headers_stop_iteration", False),
        (
            {"capabilities": ("proxy_on_request_headers", "proxy_log")},
            "capability_restriction_config.allowed_capabilities",
            {"proxy_on_request_headers": {}, "proxy_log": {}},
        ),
        ({"runtime": "envoy.wasm.runtime.v8"}, "vm_config.runtime", "envoy.wasm.runtime.v8"),
    ],
)
def test_a_setting_reaches_envoy(stage: Stage, settings: dict[str, Any], path: str, value: object) -> None:
    """Envoy itself makes its message of the TypedStruct, and dumps that by its own names; it refuses unknown ones."""
    stage.filter(_spec(**settings))
    sidecar = stage.listen()
    (entry,) = [each for each in sidecar.http_filters() if each["name"] == "envoy.filters.http.wasm"]
    found: Any = entry["typed_config"]["value"]["config"]
    for name in path.split("."):
        found = found[name]
    assert found == value
    assert sidecar.ask().status == 200


def test_envoy_refuses_a_field_that_it_does_not_know(
    stage: Stage, envoy_binary: Path, validate: Callable[[str], Any]
) -> None:
    """The check above can fail: a wrong name inside the TypedStruct is refused by Envoy when it converts it."""
    stage.filter(_spec(fail_policy="open"))
    stage.mount()
    where = ["--pod", WORKLOAD, "--namespace", stage.namespace, "--host", f"{CACHE}={stage.agent}"]
    played = stage.mesh.play(stage.stored(), *where)
    assert validate(played.bootstrap).accepted
    verdict = validate(played.bootstrap.replace("failurePolicy", "failPolicy"))
    assert not verdict.accepted
    assert "failPolicy" in verdict.log


def test_a_pod_without_the_volume_would_not_see_the_file(stage: Stage, validate: Callable[[str], Any]) -> None:
    """What the label in the selector is for: were the filter given to a pod without the volume, Envoy would refuse."""
    stage.filter(_spec())
    played = stage.mesh.play(stage.stored(), "--pod", WORKLOAD, "--namespace", stage.namespace)
    verdict = validate(played.bootstrap)
    assert not verdict.accepted
    assert stage.pushed.resolved.module.hex in verdict.log


def test_the_gate_keeps_a_pod_from_a_node_that_has_no_file(stage: Stage) -> None:
    """Without the agent's marker on the node the kubelet does not start the pod; with it the proxy runs the filter."""
    stage.filter(_spec())
    stage.mount()
    marker = stage.agent / "ready" / stage.namespace
    where = ["--pod", WORKLOAD, "--namespace", stage.namespace, "--host", f"{CACHE}={stage.agent}"]
    marker.unlink()
    refused = stage.mesh.play(stage.stored(), *where)
    assert refused.exit_code == 3
    assert f"{CACHE}/ready/{stage.namespace} is not a file" in refused.stderr
    marker.touch()
    assert stage.mesh.listen(stage.stored(), *where).ask().headers["hello"] == "world"


def test_an_image_volume_holds_the_module(stage: Stage) -> None:
    """Mode image-volume: the kubelet's own pull of the pinned image is where the filter looks for its file."""
    stage.mount((annotations.image_entry("hello", stage.pushed.resolved.pinned),))
    stage.filter(_spec(), IstioTarget(placement="image-volume"))
    assert stage.listen(mounted=False).ask().headers["hello"] == "world"


@pytest.mark.parametrize("layout", ["compat", "oci"])
def test_without_a_cache_the_meshs_agent_brings_the_module(
    stage: Stage, docker_registry: DockerRegistry, layout: str
) -> None:
    """Mode none: the extension is discovered, its module fetched by manifest digest in a shape the agent reads."""
    stage.pushed = push(docker_registry.host, f"proof/{layout}:v1", layout)
    stage.filter(_spec(), IstioTarget(placement="none"))
    sidecar = stage.listen(mounted=False)
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == "world")
    (name,) = sidecar.extensions()
    assert sidecar.names()[-2:] == [name, "envoy.filters.http.router"]


@pytest.mark.parametrize(("policy", "status"), [("", 403), ("closed", 403), ("open", 200)])
def test_without_a_cache_the_fail_policy_holds_until_there_is_a_module(
    stage: Stage, docker_registry: DockerRegistry, policy: Any, status: int
) -> None:
    """Mode none, and the registry has lost the image: requests are refused, or let through with policy open."""
    stage.pushed = replace(
        stage.pushed, resolved=replace(stage.pushed.resolved, address=f"{docker_registry.host}/proof/gone")
    )
    stage.filter(_spec(fail_policy=policy), IstioTarget(placement="none"))
    answer = stage.listen(mounted=False).ask()
    assert answer.status == status
    assert "hello" not in answer.headers


def test_the_program_that_plays_the_mesh_imports_nothing_of_ours() -> None:
    """A proof by the same code would prove nothing."""
    folder = Path(__file__).parent / "proof"
    files = list(folder.glob("*.py"))
    assert len(files) >= 5
    for file in files:
        lines = [line.split() for line in file.read_text().splitlines()]
        imported = {line[1].partition(".")[0] for line in lines if line[:1] in (["import"], ["from"])}
        assert not imported & {"wasme", "tests"}, file
