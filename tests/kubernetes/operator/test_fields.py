"""Fields that the original did not have, or took in one shape only: what they do, up to a real Envoy."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Mesh
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import World
from tests.kubernetes.proofs import CACHE, push, stored

_ANY = "type.googleapis.com/google.protobuf."


@pytest.mark.parametrize(
    ("config", "received"),
    [
        ("world", "world"),
        ({"b": [1, True], "a": "x"}, '{"a":"x","b":[1,true]}'),
        ({"@type": f"{_ANY}StringValue", "value": "typed"}, "typed"),
        ({"@type": f"{_ANY}Struct", "value": {"a": 1}}, '{"a":1}'),
        ({"@type": f"{_ANY}BytesValue", "value": base64.b64encode(b"bytes").decode()}, "bytes"),
    ],
    ids=["text", "object", "StringValue", "Struct", "BytesValue"],
)
def test_configurations(
    world: World, docker_registry: DockerRegistry, played_mesh: Mesh, tmp_path: Path, config: Any, received: str
) -> None:
    """[BUG, #236] text stopped the original's operator. The filter in a real Envoy gets these bytes of each shape."""
    pushed = push(docker_registry.host, "fields/hello:v1")
    world.workload("web")
    world.apply("web", pushed.image, filter={"config": config})
    world.operator()
    world.wait("web", "Ready")
    agent = pushed.cached(tmp_path / "agent")
    (agent / "ready").mkdir()
    (agent / "ready" / world.namespace).touch()
    objects = stored(world.plane, "envoyfilters,deployments", "-n", world.namespace)
    where = ["--pod", "Deployment/web", "--namespace", world.namespace, "--host", f"{CACHE}={agent}"]
    answer = played_mesh.listen(objects, *where).ask().headers["hello"]
    assert (json.loads(answer) == json.loads(received)) if received.startswith("{") else answer == received


def test_sha256(world: World, image: Pushed) -> None:
    """An image that holds another module is refused before anything is touched; with the right digest it is ready."""
    world.workload("web")
    world.operator()
    world.apply("web", image.name, filter={"sha256": "0" * 64})
    # Before that it may say that a slow registry has not answered yet.
    wait_until(
        lambda: world.condition("web", "ImageResolved").get("reason") == "ContentMismatch", 60,
        lambda: str(world.status("web")),
    )  # fmt: skip
    world.wait("web", "ImageResolved=False", "Ready=False")
    assert world.leftovers() == []
    world.apply("web", image.name, filter={"sha256": image.module})
    world.wait("web", "ImageResolved", "Ready")


def test_a_wasm_plugin_has_all_of_it(world: World, image: Pushed) -> None:
    """Phase, priority, failure policy, environment and ports, and an object as configuration."""
    world.workload("web")
    section = {"config": {"a": 1}, "phase": "AuthN", "priority": 7, "failurePolicy": "Open", "env": {"MODE": "strict"}}
    world.apply("web", image.name, filter=section, istio={"provider": "WasmPlugin", "ports": [8080]})
    world.operator()
    world.wait("web", "Ready", "Cached")
    assert world.condition("web", "Cached")["reason"] == "NotNeeded"
    (spec,) = (each["spec"] for each in world.filters("wasmplugins").values())
    assert spec["url"].endswith(image.manifest)
    assert (spec["phase"], spec["priority"], spec["failStrategy"]) == ("AUTHN", 7, "FAIL_OPEN")
    assert spec["pluginConfig"] == {"a": 1}
    assert {"name": "MODE", "value": "strict"}.items() <= spec["vmConfig"]["env"][0].items()
    assert spec["match"][0]["ports"] == [{"number": 8080}]
    assert not world.filters()
    world.delete("web")
    assert world.leftovers() == []


@pytest.mark.parametrize("kind", ["kubernetes.io/dockerconfigjson", "Opaque"])
def test_pull_secrets(world: World, login_registry: DockerRegistry, kind: str) -> None:
    """A registry that wants a login: the operator and the node's agent use the Secret that the object names.

    [BUG] The original's agents pulled as nobody. Without the Secret the condition says what is missing.
    """
    pushed = push(login_registry.host, "private/hello:v1", login=(login_registry.user, login_registry.password))
    agents = world.nodes("fields-a")
    world.workload("web", "fields-a")
    world.operator()
    name = {"pullSecret": "login"} if kind != "Opaque" else {"imagePullOptions": {"pullSecret": "login"}}
    world.apply("web", pushed.image, filter=name)
    world.wait("web", "ImageResolved=False")
    assert "login" in world.condition("web", "ImageResolved")["message"]
    user, password = login_registry.user, login_registry.password
    auth = {"auths": {login_registry.host: {"username": user, "password": password}}}
    data = {".dockerconfigjson": json.dumps(auth)} if kind != "Opaque" else {"username": user, "password": password}
    meta = {"name": "login", "namespace": world.namespace}
    world.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "stringData": data})
    world.wait("web", "ImageResolved", "Cached", "Ready", seconds=90)
    assert agents["fields-a"].file(pushed.resolved.module.digest).is_file()
    assert _copies(world)
    world.delete("web")
    # It goes behind the last line of the list.
    wait_until(lambda: not _copies(world), 15, "the copy for the agents stays")


def _copies(world: World) -> list[str]:
    secrets = world.api.list(f"/api/v1/namespaces/{world.own}/secrets")
    return [each["metadata"]["name"] for each in secrets if each["metadata"]["name"].startswith("wasme-pull-")]


def test_an_image_of_the_hub_that_is_gone(world: World, docker_registry: DockerRegistry) -> None:
    """webassemblyhub.io without a map: the condition says what to add where; added, it is deployed by itself."""
    push(docker_registry.host, "hxpmark/add-header:v0.0.2")
    world.workload("web")
    world.operator()
    world.apply("web", "webassemblyhub.io/hxpmark/add-header:v0.0.2")
    world.wait("web", "ImageResolved=False", "Ready=False")
    told = world.condition("web", "ImageResolved")["message"]
    assert "registryMap" in told, told
    assert f"{world.own}/wasme-cache" in told
    change = {"data": {"registryMap": f"webassemblyhub.io: {docker_registry.host}"}}
    world.api.patch(f"/api/v1/namespaces/{world.own}/configmaps/wasme-cache", change)
    world.wait("web", "ImageResolved", "Ready")


def test_other_kinds_and_names(world: World, image: Pushed) -> None:
    """[BUG] The original's rights had no StatefulSets. A kind in any case, and one workload by its name."""
    world.workload("state", kind="StatefulSet", labels={"tier": "db"})
    world.workload("daemon", kind="DaemonSet", labels={"tier": "db"})
    world.workload("web", labels={"tier": "db"})
    world.apply("states", image.name, {"tier": "db"}, istio={"kind": "statefulset"})
    world.apply("daemons", image.name, istio={"kind": "DaemonSet", "name": "daemon", "labels": {}})
    world.operator()
    world.wait("states", "Ready")
    world.wait("daemons", "Ready")
    assert set(world.filters()) == {world.carrier("state", "states"), world.carrier("daemon", "daemons")}
    for name in ("states", "daemons"):
        world.delete(name)
    assert world.leftovers() == []


def test_what_is_wrong_is_refused_by_the_api_server(world: World, image: Pushed) -> None:
    """Schema and CEL: nothing of this is ever stored, and each answer names the field."""
    from tests.kubernetes.cluster.api import ApiRefused

    wrong: list[tuple[str, Callable[[], Any]]] = [
        ("exactly one", lambda: _create(world, {"filter": {"image": "a"}, "deployment": {"istio": {}, "gloo": {}}})),
        ("spec.filter", lambda: _create(world, {"deployment": {"istio": {}}})),
        ("sha256", lambda: _create(world, {"filter": {"image": "a", "sha256": "x"}, "deployment": {"istio": {}}})),
        ("pullPolicy", lambda: _create(world, {"filter": {"image": "a", "pullPolicy": "No"},
                                               "deployment": {"istio": {}}})),
        ("grow", lambda: _create(world, {"filter": {"image": "a"}, "deployment": {"istio": {}},
                                         "rollout": {"steps": ["50%", "1%"]}})),
    ]  # fmt: skip
    for word, ask in wrong:
        with pytest.raises(ApiRefused, match=word) as refused:
            ask()
        assert refused.value.status == 422
    assert world.get(world.path("x")) is None


def _create(world: World, spec: dict[str, Any]) -> Any:
    meta = {"name": "x", "namespace": world.namespace}
    return world.api.create({"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "metadata": meta, "spec": spec})
