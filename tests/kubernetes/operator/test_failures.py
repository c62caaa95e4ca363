"""One object that goes wrong, a registry or a definition that is away: nobody else is harmed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.test_old_objects import strict
from tests.kubernetes.operator.world import GROUP, World, configuration


@pytest.mark.parametrize(("policy", "follows"), [("Always", True), ("IfNotPresent", False), ("", False)])
def test_a_moved_tag_follows_by_policy(
    world: World, docker_registry: DockerRegistry, policy: str, follows: bool
) -> None:
    """Always: another module under the tag is deployed, told in the status. Otherwise the digest stays."""
    first = push(docker_registry)
    world.workload("web")
    world.apply("web", first.name, filter={"pullPolicy": policy} if policy else {})
    world.operator("--tag-interval=1s")
    world.wait("web", "Ready")
    second = push(docker_registry, first.name, seed=7)
    name = world.carrier("web", "web")

    def moved() -> bool:
        return second.module.removeprefix("sha256:") in configuration(world.filters()[name])

    assert soon(moved, 60 if follows else 4) == follows

    def told() -> bool:
        found: dict[str, str] = world.status("web")["image"]
        return found["manifest"] == (second if follows else first).manifest

    wait_until(told, 20 if follows else 0, lambda: str(world.status("web")))
    world.wait("web", "Ready")


def test_a_registry_that_is_away_harms_no_filter_that_runs(world: World, tmp_path: Any) -> None:
    """Its digest is known: ImageResolved stays True, Degraded tells why, and a new workload gets the filter."""
    from tests.fixtures.registries import start

    folder = tmp_path / "registry"
    folder.mkdir()
    registry = start(folder)
    try:
        there = push(registry)
        world.workload("web", labels={"tier": "web"})
        world.apply("web", there.name, {"tier": "web"}, filter={"pullPolicy": "Always"})
        world.operator("--tag-interval=1s")
        world.wait("web", "Ready", "Degraded=False")
    finally:
        registry.stop()
    world.wait("web", "ImageResolved", "Degraded")
    world.workload("more", labels={"tier": "web"})
    wait_until(lambda: len(world.filters()) == 2, 60, "a workload that came later has no filter")
    assert registry.host in world.condition("web", "Degraded")["message"]


def test_failures_are_tried_again_and_block_nobody(world: World, docker_registry: DockerRegistry) -> None:
    """Twenty objects whose image is not there, tried less and less often; one good one is ready at once.

    [BUG] A bad image kept the original's one worker for a minute, and a failure was never tried again by itself.
    """
    missing = f"{docker_registry.host}/mesh/not-there:v1"
    world.workload("web")
    for number in range(20):
        world.apply(f"bad-{number}", missing, {"app": "web"})
    operator = world.operator("--workers=2")
    world.wait("bad-0", "Accepted", "ImageResolved=False", "Ready=False")
    world.wait("bad-19", "ImageResolved=False")
    # Before that it may say that a slow registry has not answered yet.
    wait_until(
        lambda: "not-there" in world.condition("bad-0", "ImageResolved")["message"], 60,
        lambda: str(world.status("bad-0")),
    )  # fmt: skip
    good = push(docker_registry).name
    begun = time.monotonic()
    world.apply("good", good, {"app": "web"})
    world.wait("good", "Ready")
    assert time.monotonic() - begun < 10
    retries = "wasme_operator_queue_retries_total"
    wait_until(lambda: operator.metric(retries), 30, "nothing is tried again")
    first, since = operator.metric(retries), time.monotonic()
    assert first, "no metrics"
    time.sleep(5)
    wait_until(lambda: operator.metric(retries) > first, 90, "they are not tried again")
    more, seconds = operator.metric(retries) - first, time.monotonic() - since
    assert more < 20 * 1.2 * seconds, "less often than each half second"
    push(docker_registry, missing)
    for number in range(20):
        world.wait(f"bad-{number}", "Ready", seconds=240)  # each waits twice as long as the time before


def test_an_object_that_does_not_decode_harms_itself(world: World, image: Pushed) -> None:
    """[BUG] One such object stopped the original for everybody. It is told what is wrong, and may be deleted."""
    loose = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"
    good = world.get(crd)["spec"]
    change = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": loose}]
    world.api.patch(crd, change, "json")
    meta = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment"}
    broken: dict[str, Any] = {
        "nothing": None,
        "text": "spec",
        "lists": {"filter": [], "deployment": []},
        "wrong": {"filter": {"image": 7, "config": {"@type": 3}}, "deployment": {"istio": {"labels": "x"}}},
        "both": {"filter": {"image": image.name}, "deployment": {"istio": {}, "gloo": {}}},
    }

    def store() -> bool:
        for name, spec in broken.items():
            obj = {**meta, "metadata": {"name": name, "namespace": world.namespace}, "spec": spec}
            try:
                world.api.create(obj)
            except ApiRefused:  # the looser schema is not in force yet
                return False
        return True

    def clear() -> None:
        for name in broken:
            if world.get(world.path(name)):
                world.api.delete(world.path(name))

    end = time.monotonic() + 60
    while not store():
        assert time.monotonic() < end
        clear()
        time.sleep(0.2)
    world.api.patch(crd, [{"op": "replace", "path": "/spec/versions", "value": good["versions"]}], "json")
    wait_until(lambda: strict(world.api, world.namespace), 30, "the schema is not in force again")
    world.workload("web")
    world.apply("web", image.name)
    operator = world.operator()
    world.wait("web", "Ready")
    for name in ("text", "lists"):
        # The API server takes no status for these, nor anything else: its rules have nothing to read.
        wait_until(lambda name=name: world.events(name), 30, f"nothing is told of {name}")  # type: ignore[misc]
        assert "spec" in world.events(name)[0]["message"]
    for name in broken.keys() - {"text", "lists"}:
        wait_until(lambda name=name: world.condition(name, "Accepted"), 30, f"{name} is told nothing")  # type: ignore[misc]
        told = world.condition(name, "Accepted")
        assert (told["status"], world.condition(name, "Ready")["status"]) == ("False", "False"), told
        assert "spec" in told["message"]
    assert not [line for line in operator.log if "Traceback" in line]
    for name in broken:
        world.delete(name)
    assert set(world.filters()) == {world.carrier("web", "web")}


def test_the_definition_goes_and_comes(world: World, image: Pushed) -> None:
    """Without the CRD the operator waits and stays healthy; when it is back, objects are worked on."""
    crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/filterdeployments.wasme.io"
    definition = world.get(crd)
    world.api.delete(crd)
    wait_until(lambda: world.get(f"{GROUP}/filterdeployments") is None, 30, "it is still served")
    try:
        operator = world.operator()
        time.sleep(2)
        assert operator.running
        assert soon(lambda: operator.asked("/healthz") == 200)
    finally:
        meta = {"name": definition["metadata"]["name"], "labels": definition["metadata"].get("labels", {})}
        world.api.create({**definition, "metadata": meta, "status": None})
        wait_until(lambda: world.get(f"{GROUP}/filterdeployments"), 30, "it is not served")
    world.workload("web")
    world.apply("web", image.name)
    world.wait("web", "Ready")
