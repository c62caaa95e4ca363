"""FilterDeployments for gateways, with the operator as a real process: from `apply` to gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.gateways import ACCEPTED, Gateways, meaning
from tests.kubernetes.gateways import World as EnvoyGateway
from tests.kubernetes.images import Pushed
from tests.kubernetes.operator.world import World

Object = dict[str, Any]


def _apply(world: World, name: str, image: str, deployment: Object, **section: Any) -> None:
    world.api.apply({
        "apiVersion": "wasme.io/v1", "kind": "FilterDeployment",
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {"filter": {"image": image, **section}, "deployment": deployment},
    })  # fmt: skip


def _targets(world: World, name: str) -> set[tuple[str, str, str]]:
    found = world.status(name).get("targets") or ()
    return {(each["provider"], each["name"], each["state"]) for each in found}


def test_gloo(gloo: Gateways, world: World, image: Pushed) -> None:
    """Ready when Gloo has accepted; Gateways that come later get the filter; nothing is left when the object goes."""
    here = Gateways(world.api, world.namespace)
    before = here.make("one")
    _apply(world, "auth", image.name, {"gloo": {}}, id="auth", config="world")
    world.operator()
    wait_until(lambda: here.filters("one"), 60, "no entry")
    world.wait("auth", "Accepted", "ImageResolved", "Ready=False")
    here.make("two")
    wait_until(lambda: here.filters("two"), 30, "the later Gateway has no entry")
    for name in ("one", "two"):
        world.api.patch(here.path(name), {"status": {"statuses": {"gloo-system": {"state": "Accepted"}}}})
    world.wait("auth", "Programmed", "Ready", "Degraded=False")
    assert _targets(world, "auth") == {("gloo", "one", "Succeeded"), ("gloo", "two", "Succeeded")}
    world.api.patch(here.path("one"), {"spec": {"httpGateway": {"options": None}}})
    wait_until(lambda: here.filters("one"), 30, "drift is not mended")
    world.api.delete(world.path("auth"))
    wait_until(lambda: world.get(world.path("auth")) is None, 20, "the finalizer stays")
    assert meaning(here.get("one"))["spec"] == meaning(before)["spec"]
    assert not here.filters("two")


def test_envoy_gateway(envoy_gateway: EnvoyGateway, world: World, image: Pushed) -> None:
    """A target that comes later gets the filter; Ready when Envoy Gateway accepts it; moved and taken away."""
    here = EnvoyGateway(world.api, world.namespace)
    references = [{"kind": "Gateway", "name": "eg"}]
    _apply(world, "auth", image.name, {"envoyGateway": {"targetRefs": references}}, config={"mode": "strict"})
    world.operator()
    world.wait("auth", "Accepted", "Ready=False")
    here.gateway()
    wait_until(here.policies, 30, "the later Gateway has no policy")
    here.judge("wasme-gateway-eg", ACCEPTED)
    world.wait("auth", "Programmed", "Ready", "Degraded=False")
    here.gateway("two")
    references[0]["name"] = "two"
    _apply(world, "auth", image.name, {"envoyGateway": {"targetRefs": references}}, config={"mode": "strict"})
    wait_until(lambda: set(here.policies()) == {"wasme-gateway-two"}, 30, lambda: str(set(here.policies())))
    world.api.delete(world.path("auth"))
    wait_until(lambda: world.get(world.path("auth")) is None, 20, "the finalizer stays")
    assert here.policies() == {}


def test_from_gloo_to_envoy_gateway(gloo: Gateways, envoy_gateway: EnvoyGateway, world: World, image: Pushed) -> None:
    """Another provider: the filter leaves the former, and comes to the new one."""
    edge, here = Gateways(world.api, world.namespace), EnvoyGateway(world.api, world.namespace)
    edge.make()
    here.gateway()
    _apply(world, "auth", image.name, {"gloo": {}})
    world.operator()
    wait_until(lambda: _targets(world, "auth"), 60, "no status")
    assert edge.filters()
    moved = {"gloo": None, "envoyGateway": {"targetRefs": [{"kind": "Gateway", "name": "eg"}]}}
    world.api.patch(world.path("auth"), {"spec": {"deployment": moved}})
    wait_until(here.policies, 60, lambda: str(world.status("auth")))
    assert not edge.filters()


def test_others_entries_of_the_same_name_stay(gloo: Gateways, world: World, image: Pushed) -> None:
    """Gloo's entries have nothing but a name: a filter that was never for Gloo takes none of them away."""
    edge = Gateways(world.api, world.namespace)
    own = {"name": "auth", "filePath": "/mine.wasm"}
    edge.make(httpGateway={"options": {"wasm": {"filters": [own]}}})
    world.workload("web")
    world.apply("auth", image.name, {"app": "web"}, filter={"id": "auth"})
    world.operator()
    wait_until(world.filters, 60, lambda: str(world.status("auth")))
    world.api.delete(world.path("auth"))
    wait_until(lambda: world.get(world.path("auth")) is None, 20, "the finalizer stays")
    assert edge.filters() == [own]


def test_what_was_deployed_by_hand_stays_where_the_object_never_was(
    envoy_gateway: EnvoyGateway, world: World, image: Pushed, kube_run: Callable[..., Any]
) -> None:
    """`wasme deploy` of the same id in another place: the object goes, and no policy, EnvoyFilter or pod there."""
    here = EnvoyGateway(world.api, world.namespace)
    here.gateway()
    words = ("--id=auth", "-n", world.namespace)
    kube_run("deploy", "envoy-gateway", image.name, *words, "--config={}")
    world.workload("web")
    world.apply("auth", image.name, {"app": "web"}, filter={"id": "auth"})
    world.operator()
    wait_until(world.filters, 60, lambda: str(world.status("auth")))
    world.delete("auth")
    assert (here.filters(), world.filters()) == (["auth"], {})
    kube_run("undeploy", "envoy-gateway", *words)
    cache = ("--cache-namespace", world.own, "--cache-timeout=0", "--ignore-version-check")
    kube_run("deploy", "istio", image.name, *words, "--labels=app=web", "--as=envoyfilter", *cache)
    made, before = world.filters(), world.get(world.deployment("web"))["metadata"]["generation"]
    references = [{"kind": "Gateway", "name": "eg"}]
    _apply(world, "auth", image.name, {"envoyGateway": {"targetRefs": references}}, id="auth", config={})
    wait_until(here.policies, 60, lambda: str(world.status("auth")))
    world.delete("auth")
    assert (here.policies(), world.filters()) == ({}, made)
    assert world.get(world.deployment("web"))["metadata"]["generation"] == before


def test_a_look_that_fails_forgets_no_gateway(
    gloo: Gateways, envoy_gateway: EnvoyGateway, world: World, image: Pushed
) -> None:
    """An image that Gloo cannot pull, a text that Envoy Gateway does not take: moved then, the filter leaves both."""
    edge, here = Gateways(world.api, world.namespace), EnvoyGateway(world.api, world.namespace)
    edge.make()
    here.gateway()
    world.workload("web")
    _apply(world, "auth", image.name, {"gloo": {}}, id="auth", config={})
    world.operator()
    wait_until(lambda: _targets(world, "auth"), 60, lambda: str(world.status("auth")))

    def change(deployment: Object, **section: Any) -> None:
        spec = {"filter": section, "deployment": deployment}
        world.api.patch(world.path("auth"), {"spec": spec})

    change({}, image=image.pinned)
    world.wait("auth", "Programmed=False")
    wait_until(lambda: not _targets(world, "auth"), 30, lambda: str(world.status("auth")))
    change({"gloo": None, "envoyGateway": {"targetRefs": [{"kind": "Gateway", "name": "eg"}]}})
    wait_until(here.policies, 60, lambda: str(world.status("auth")))
    assert not edge.filters()
    change({}, config="no JSON")
    wait_until(lambda: not _targets(world, "auth"), 30, lambda: str(world.status("auth")))
    istio = {"labels": {"app": "web"}, "ignoreVersionCheck": True, "provider": "EnvoyFilter"}
    change({"envoyGateway": None, "istio": istio})
    wait_until(world.filters, 60, lambda: str(world.status("auth")))
    assert here.policies() == {}
    world.delete("auth")
    assert world.leftovers() == []
