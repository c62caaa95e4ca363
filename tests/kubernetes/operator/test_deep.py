"""Objects that the API server takes and JSON readers do not, 1,200 levels deep and more, harm nobody but themselves."""

from __future__ import annotations

import http.client
from collections.abc import Callable

import pytest

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import GROUP, World
from wasme.deploy.cluster.connect import connect
from wasme.deploy.cluster.kinds import ENVOY_FILTER, FILTER_DEPLOYMENT
from wasme.errors import ObjectRefused

ISTIO = "/apis/networking.istio.io/v1alpha3"


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def send(api: Api, path: str, body: str) -> None:
    """An object that no encoder here could write."""
    connection = http.client.HTTPSConnection(api._host, context=api._context, timeout=60)
    connection.request("POST", api._base + path, body, {**api._authorization, "Content-Type": "application/json"})
    answer = connection.getresponse()
    told = answer.read()
    connection.close()
    assert answer.status == 201, told[:500]


def send_filter(world: World, name: str, image: str, levels: int) -> None:
    send(
        world.api,
        f"{GROUP}/namespaces/{world.namespace}/filterdeployments",
        f'{{"apiVersion":"wasme.io/v1","kind":"FilterDeployment","metadata":{{"name":"{name}"}},"spec":{{"filter":'
        f'{{"image":"{image}","config":{nested(levels)}}},"deployment":{{"istio":{{"labels":{{"app":"web"}}}}}}}}}}',
    )


def send_envoy_filter(api: Api, namespace: str, name: str, levels: int) -> None:
    send(
        api,
        f"{ISTIO}/namespaces/{namespace}/envoyfilters",
        f'{{"apiVersion":"networking.istio.io/v1alpha3","kind":"EnvoyFilter","metadata":{{"name":"{name}"}},"spec":'
        f'{{"configPatches":[{{"applyTo":"HTTP_FILTER","patch":{{"operation":"MERGE","value":{nested(levels)}}}}}]}}}}',
    )


def conditions(world: World, name: str) -> dict[str, str]:
    """Of an object that is too deep for the tests' reader, by the operator's."""
    with connect(world.plane.kubeconfig) as cluster:
        found = cluster.get(FILTER_DEPLOYMENT, name, world.namespace) or {}
    told = (found.get("status") or {}).get("conditions") or []
    return {each["type"]: f"{each['status']} {each['message']}" for each in told}


@pytest.fixture
def scene(world: World, image: Pushed) -> World:
    world.nodes("deep-a")
    world.workload("web", "deep-a")
    world.workload("api", "deep-a")
    return world


def refused(world: World, name: str, seconds: float = 60) -> None:
    wait_until(
        lambda: conditions(world, name).get("Accepted", "").startswith("False")
        and "spec.filter.config: is nested more than 200 levels deep" in conditions(world, name)["Accepted"],
        seconds, lambda: f"{name}: {conditions(world, name)}",
    )  # fmt: skip


@pytest.mark.parametrize("levels", [210, 950, 1200, 4000])
def test_a_filter_deployment_that_is_too_deep(scene: World, image: Pushed, levels: int) -> None:
    """It is refused with its field and the reason, before and after the operator's start; others are deployed, and
    follow their changes; it can be deleted."""
    send_filter(scene, "before", image.name, levels)
    scene.apply("good", image.name, labels={"app": "api"})
    scene.operator()
    scene.wait("good", "Ready")
    refused(scene, "before")
    send_filter(scene, "after", image.name, levels)
    refused(scene, "after")
    scene.apply("good", image.name, labels={"app": "api"}, filter={"config": "other"})
    scene.wait("good", "Ready")
    with connect(scene.plane.kubeconfig) as cluster:
        for name in ("before", "after"):
            cluster.delete(FILTER_DEPLOYMENT, name, scene.namespace)
            wait_until(
                lambda name=name: cluster.get(FILTER_DEPLOYMENT, name, scene.namespace) is None,  # type: ignore[misc]
                60, "it stays",
            )  # fmt: skip
    scene.delete("good")
    assert scene.leftovers() == []


@pytest.mark.parametrize("levels", [210, 950, 1200, 4000])
def test_an_envoy_filter_that_is_too_deep(scene: World, image: Pushed, levels: int) -> None:
    """Anybody's: filters go on being deployed and taken away, and it stays as it was."""
    send_envoy_filter(scene.api, scene.namespace, "before", levels)
    scene.operator()
    send_envoy_filter(scene.api, scene.namespace, "after", levels)
    scene.apply("web", image.name)
    scene.wait("web", "Ready")
    scene.apply("web", image.name, filter={"config": "other"})
    scene.wait("web", "Ready")
    scene.delete("web")
    with connect(scene.plane.kubeconfig) as cluster:
        left = [each["metadata"]["name"] for each in cluster.list(ENVOY_FILTER, scene.namespace)]
        assert sorted(left) == ["after", "before"]


def test_what_was_cut_is_never_written(
    control_plane: ControlPlane, api: Api, namespace: str, serve: Callable[[str], None]
) -> None:
    """What was read of an object that is too deep goes back to no server: it would take the rest away."""
    serve("istio/1.30.3")
    send_envoy_filter(api, namespace, "deep", 1200)
    with connect(control_plane.kubeconfig) as cluster:
        found = cluster.get(ENVOY_FILTER, "deep", namespace)
        assert found is not None
        for write in (cluster.replace, cluster.apply):
            with pytest.raises(ObjectRefused, match="more than 200 levels"):
                write({**found, "metadata": {**found["metadata"], "managedFields": None}})
        merged = cluster.patch(ENVOY_FILTER, "deep", namespace, {"metadata": {"labels": {"x": "y"}}})
        assert merged["spec"] == found["spec"]
