"""What one namespace asks for leaves the others as they are, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.cache_place import NAME, Place, digest, until_true
from tests.kubernetes.operator.world import World
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.spec import FilterSpec
from wasme.operator.resources.wanted import Image, Key, Wanted

REF = "ghcr.io/demo/auth:v1"


@pytest.fixture
def here(api: Api, control_plane: ControlPlane) -> Iterator[Place]:
    """A node cache with a map of the operator's own for one registry."""
    made = Place(api, control_plane, own={"led.example": "http://registry.example"})
    yield made
    made.stop.set()
    made.close()


def wanted(namespace: str, reference: str, **settings: bool) -> Wanted:
    """A FilterDeployment of a namespace."""
    return Wanted(
        Key(namespace, "auth"),
        "u",
        1,
        filter=FilterSpec(id="auth", image=reference),
        image=Image(reference, **settings),
    )


def need(namespace: str, reference: str = REF) -> list[FilterLine]:
    """Its line."""
    return [FilterLine(namespace, "auth", reference, digest(1), digest(2))]


def registry_map(here: Place) -> dict[str, str]:
    """Of the list, as it is on the server."""
    data = here.api.get(f"{here.maps}/{NAME}").get("data") or {}
    return protocol.parse_registry_map(data.get("registryMap", ""))


def test_plain_http_is_for_its_own_object_alone(here: Place, api: Api) -> None:
    """Who may write a FilterDeployment in one namespace does not take TLS from a registry for another, nor for the
    nodes: `plainHttp` writes nothing into the map. What the operator's own flags lead is written all the same.
    """
    mallory, shop = new_namespace(api, "mallory"), new_namespace(api, "shop")
    until_true(here, lambda: here.holding.want(need(mallory), wanted(mallory, REF, plain_http=True, insecure=True)))
    until_true(here, lambda: here.holding.want(need(shop), wanted(shop, REF)))
    assert registry_map(here) == {}
    led = "led.example/demo/auth:v1"
    until_true(here, lambda: here.holding.want(need(shop, led), wanted(shop, led, plain_http=True)))
    assert registry_map(here) == {"led.example": "http://registry.example"}


def test_what_the_nodes_do_not_do_is_told(here: Place, api: Api) -> None:
    """Where only the map could let the nodes speak plain http, the answer names the line and who adds it; the other
    namespace's answer does not, nor that for a registry on the machine itself, and it is gone once the line is there.
    """
    mallory, shop = new_namespace(api, "mallory"), new_namespace(api, "shop")
    plain = wanted(mallory, REF, plain_http=True)

    def note(each: Wanted) -> str:
        lines = need(each.key.namespace, each.image.reference)
        until_true(here, lambda: here.holding.want(lines, each))
        return here.holding.standing(lines, {"alpha"}).note

    told = note(plain)
    assert "registryMap: {ghcr.io: http://ghcr.io}" in told
    assert f"ConfigMap {here.namespace}/{NAME}" in told
    assert "plainHttp" in told
    assert note(wanted(shop, REF)) == ""
    for local in ("localhost:5000", "127.0.0.1:5000", "led.example"):
        assert note(wanted(shop, f"{local}/demo/auth:v1", plain_http=True)) == "", local
    unchecked = note(wanted(shop, REF, insecure=True))
    assert "insecureSkipVerify" in unchecked
    assert "check" in unchecked
    here.api.patch(f"{here.maps}/{NAME}", {"data": {"registryMap": "ghcr.io: http://ghcr.io"}})
    assert soon(lambda: note(plain) == "", 30)


def test_the_operator_asks_only_these(world: World, image: Pushed) -> None:
    """With --registries an object that names another one is told so, with who may change it, and nothing is made; an
    operator that may ask it goes on.
    """
    world.workload("web")
    world.apply("web", image.name)
    first = world.operator("--registries=ghcr.io,*.example.com")
    world.wait("web", "Accepted", "ImageResolved=False", "Ready=False")
    told = world.condition("web", "ImageResolved")
    assert told["reason"] == "Forbidden"
    assert "whoever runs the operator" in told["message"]
    assert not world.filters()
    assert first.stop() == 0
    world.operator(f"--registries=ghcr.io,{image.name.partition('/')[0]}")
    world.wait("web", "Ready")
