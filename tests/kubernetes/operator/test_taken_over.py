"""What somebody else has put on workloads before: the original, the command line, another FilterDeployment."""

from __future__ import annotations

import time
from typing import Any

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import MOUNT, USER_MOUNT, USER_VOLUME, VOLUME, Mesh, Pushed, original
from tests.kubernetes.operator.world import World, configuration


def test_two_of_one_id(world: World, image: Pushed) -> None:
    """The older has it; the other is told so, and gets its turn when the first goes."""
    world.workload("web")
    world.apply("first", image.name, {"app": "web"}, filter={"id": "auth", "config": "first"})
    time.sleep(1.1)  # creationTimestamps count seconds
    world.apply("second", image.name, {"app": "web"}, filter={"id": "auth", "config": "second"})
    world.operator()
    world.wait("first", "Ready")
    world.wait("second", "Accepted=False")
    assert world.condition("second", "Accepted")["reason"] == "IdTaken"
    assert "first" in configuration(world.filters()["web-auth"])
    world.delete("first")
    world.wait("second", "Ready")
    wait_until(lambda: "second" in configuration(world.filters()["web-auth"]), 15, "it has not its turn")


def test_two_that_swap_their_ids(world: World, image: Pushed) -> None:
    """Each asks for the id that the other still has: each lets go of its own, and both are ready under the new one."""
    ids = {"first": "auth", "second": "limit"}
    for name, each in ids.items():
        world.workload(name)
        world.apply(name, image.name, filter={"id": each, "config": name})
    world.operator()
    for name in ids:
        world.wait(name, "Ready")
    assert set(world.filters()) == {"first-auth", "second-limit"}
    for name, each in zip(ids, ("limit", "auth"), strict=True):
        world.apply(name, image.name, filter={"id": each, "config": name})
    for name in ids:
        world.wait(name, "Ready")
    assert set(world.filters()) == {"first-limit", "second-auth"}
    assert "first" in configuration(world.filters()["first-limit"])


def test_a_filter_of_the_command_line_is_taken_over(world: World, image: Pushed, kube_run: Any) -> None:
    """The same id: the FilterDeployment adopts what `wasme deploy istio` made, and restarts nothing."""
    world.workload("web")
    words = ("--id=auth", "--namespace", world.namespace, "--labels=app=web", "--config=old", "--as=envoyfilter")
    cache = ("--cache-namespace", world.own, "--cache-timeout=0", "--ignore-version-check")
    kube_run("deploy", "istio", image.name, *words, *cache)
    template, generation = world.template("web"), world.get(world.deployment("web"))["metadata"]["generation"]
    world.apply("web", image.name, filter={"id": "auth", "config": "new"})
    world.operator()
    world.wait("web", "Ready")
    (carrier,) = world.filters().values()
    assert "new" in configuration(carrier)
    assert carrier["metadata"]["ownerReferences"][0]["name"] == "web"
    assert world.template("web") == template
    assert world.get(world.deployment("web"))["metadata"]["generation"] == generation
    world.delete("web")
    assert world.leftovers() == []


def test_what_the_original_left_is_taken_over(world: World, image: Pushed, controllers: object) -> None:
    """Its EnvoyFilter with its owner, its annotations and their backup: repaired, not doubled; all goes in the end.

    A real garbage collector is there: what the FilterDeployment owns is never orphaned by the change.
    """
    own = '[{"name":"own","emptyDir":{}}]'
    marks = {
        USER_VOLUME: own[:-1] + "," + VOLUME[1:],
        USER_MOUNT: MOUNT,
        f"wasme-backup.{USER_VOLUME}": own,
    }
    world.workload("web", annotations=marks)
    applied = world.apply("web", image.name)

    played = Mesh(world.api, world.plane, lambda *_a, **_k: None, world.namespace, world.own, "")  # type: ignore[arg-type,return-value]
    old = original(played, "web", f"web.{world.namespace}")
    old["metadata"]["ownerReferences"] = [
        {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": "web", "uid": applied["metadata"]["uid"],
         "controller": True, "blockOwnerDeletion": True}
    ]  # fmt: skip
    world.api.create(old)
    patched = {"status": {"observedGeneration": "1", "workloads": {"web": {"state": "Succeeded"}}}}
    world.api.patch(f"{world.path('web')}", patched)
    world.operator()
    world.wait("web", "Ready")
    (name, carrier), *others = world.filters().items()
    assert (name, others) == (world.carrier("web", "web"), [])
    assert image.module.removeprefix("sha256:") in configuration(carrier)
    assert "envoy.http_connection_manager" not in configuration(carrier)
    world.delete("web")
    assert not world.filters()
    assert world.template("web")["annotations"] == {USER_VOLUME: own}
