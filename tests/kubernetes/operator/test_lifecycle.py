"""How FilterDeployments end and move: with their namespace, their definition, their owner; under another id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed, deployment
from tests.kubernetes.operator.world import World, configuration

_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"


@pytest.mark.parametrize("policy", ["Foreground", "Background", "Orphan"])
def test_ways_of_deleting(world: World, image: Pushed, controllers: object, policy: str) -> None:
    """[BUG] Deleted in the foreground, the original applied the filter again. However it is said: nothing is left.

    A real garbage collector takes part, which would delete what is owned, wait for it, or set it free.
    """
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
    world.api.call("DELETE", world.path("web"), body)
    wait_until(lambda: world.get(world.path("web")) is None, 60, lambda: f"it stays: {world.get(world.path('web'))}")
    assert world.leftovers() == []


def test_a_namespace_goes(world: World, image: Pushed, controllers: object) -> None:
    """`kubectl delete namespace`: nothing can be made there any more, not even an Event, and the finalizer lets go."""
    namespace = new_namespace(world.api, "going")
    world.api.create(deployment("web", namespace))
    world.apply("web", image.name, namespace=namespace)
    operator = world.operator()
    world.wait("web", "Ready", namespace=namespace)
    world.api.delete(f"/api/v1/namespaces/{namespace}")
    wait_until(
        lambda: world.get(f"/api/v1/namespaces/{namespace}") is None, 120,
        lambda: f"{world.get(f'/api/v1/namespaces/{namespace}')}",
    )  # fmt: skip
    wait_until(lambda: not world.cache(), 30, lambda: f"lines stay: {world.cache()}")
    assert not [line for line in operator.log if "Traceback" in line]


def test_the_definition_goes_with_all_objects(world: World, image: Pushed) -> None:
    """`kubectl delete crd`: the API server waits for the finalizers; all is cleaned up, then the definition goes."""
    for name in ("one", "two", "three"):
        world.workload(name)
        world.apply(name, image.name)
    operator = world.operator()
    for name in ("one", "two", "three"):
        world.wait(name, "Ready")
    definition = world.get(_CRD)
    try:
        world.api.delete(_CRD)
        wait_until(lambda: world.get(_CRD) is None, 90, lambda: f"it stays: {operator.told(5)}")
        assert world.leftovers() == []
        assert operator.running
    finally:
        with suppress(ApiRefused):
            meta = {"name": definition["metadata"]["name"], "labels": definition["metadata"].get("labels", {})}
            world.api.create({**definition, "metadata": meta, "status": None})


def test_another_id(world: World, image: Pushed) -> None:
    """With another id it is another filter: nothing is left under the first, also where no operator ran meanwhile."""
    world.workload("web")
    world.apply("web", image.name, filter={"id": "first"})
    operator = world.operator()
    world.wait("web", "Ready")
    assert set(world.filters()) == {"web-first"}
    world.apply("web", image.name, filter={"id": "second"})
    world.wait("web", "Ready")
    wait_until(lambda: set(world.filters()) == {"web-second"}, 30, lambda: f"{list(world.filters())}")
    wait_until(lambda: "first" not in str(world.cache()), 30, lambda: f"lines stay: {world.cache()}")
    operator.kill()
    world.apply("web", image.name, filter={"id": "third"})
    operator.start()
    world.wait("web", "Ready")
    wait_until(lambda: set(world.filters()) == {"web-third"}, 30, lambda: f"{list(world.filters())}")
    wait_until(lambda: "second" not in str(world.cache()), 30, lambda: f"lines stay: {world.cache()}")
    assert len(world.cache()["filters"].splitlines()) == 1
    world.delete("web")
    assert world.leftovers() == []


def test_made_anew_under_its_name(world: World, image: Pushed) -> None:
    """Deleted and applied again while no operator runs: it is the new one's, whatever the old one left."""
    world.workload("web")
    world.workload("other")
    world.apply("web", image.name)
    operator = world.operator()
    world.wait("web", "Ready")
    operator.kill()
    world.api.patch(world.path("web"), {"metadata": {"finalizers": None}})
    world.api.delete(world.path("web"))
    world.apply("web", image.name, {"app": "other"}, filter={"config": "anew"})
    operator.start()
    world.wait("web", "Ready")
    wait_until(lambda: set(world.filters()) == {world.carrier("other", "web")}, 30, lambda: f"{list(world.filters())}")
    assert "anew" in configuration(world.filters()[world.carrier("other", "web")])
    wait_until(lambda: "wasme" not in str(world.template("web")), 30, lambda: f"marks stay: {world.template('web')}")


def test_no_cache_is_installed_yet(world: World, image: Pushed, kube_run: Callable[..., Any]) -> None:
    """The condition says what is missing; `wasme cache install` is all it takes."""
    config_map = f"/api/v1/namespaces/{world.own}/configmaps/wasme-cache"
    world.api.delete(config_map)
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Accepted", "ImageResolved", "Ready=False")
    wait_until(
        lambda: "install" in world.condition("web", "Ready")["message"],
        20,
        lambda: f"{world.condition('web', 'Ready')}",
    )
    assert not world.filters()
    kube_run("cache", "install", "--cache-namespace", world.own)
    world.wait("web", "Ready")


def test_the_cache_is_taken_away(world: World, image: Pushed) -> None:
    """Somebody deletes the list and puts an empty one there: the lines come back, nobody's file goes for long."""
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    config_map = f"/api/v1/namespaces/{world.own}/configmaps/wasme-cache"
    lines = world.cache()["filters"]
    world.api.patch(config_map, {"data": {"filters": None}})
    wait_until(lambda: world.cache().get("filters") == lines, 30, lambda: f"{world.cache()}")
    world.api.delete(config_map)
    meta = {"name": "wasme-cache", "namespace": world.own}
    world.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"images": ""}})
    wait_until(lambda: world.cache().get("filters") == lines, 30, lambda: f"{world.cache()}")
    world.wait("web", "Ready")


def test_the_objects_are_gone_already(world: World, image: Pushed) -> None:
    """Somebody deletes object and EnvoyFilters while no operator runs: the pod templates are found all the same."""
    for name in ("one", "two"):
        world.workload(name, labels={"tier": "web"})
    world.apply("auth", image.name, {"tier": "web"})
    operator = world.operator()
    world.wait("auth", "Ready")
    operator.kill()
    world.api.delete(world.path("auth"))
    for name in world.filters():
        world.api.delete(world.envoy_filter(name))
    operator.start()
    wait_until(
        lambda: world.get(world.path("auth")) is None,
        60,
        lambda: f"it does not go: {world.get(world.path('auth'))}\n{operator.told()}",
    )
    assert world.leftovers() == []
