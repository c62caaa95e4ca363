"""What the operator does now and then to workloads with pods that run, by its own account: nothing of it is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.accounts import account
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.scene import RBAC, REREAD, Scene
from tests.kubernetes.operator.world import World
from wasme.deploy.cache.options import CacheOptions
from wasme.operator.installation.manifests import NAME, OperatorOptions, accounts

AS_OBJECT = {"config": {"greeting": "hello"}}
VOLUME = {"cache": {"mode": "ImageVolume"}}


@pytest.fixture
def scene(world: World, api: Api, compat: Pushed, tmp_path: Path) -> Iterator[Scene]:
    """An operator's account with all of its rights, and a workload with a pod and its sidecar."""
    for each in accounts(OperatorOptions(CacheOptions(namespace=world.own))):
        api.apply(each, manager="wasme")
    made = Scene(world, compat, compat, account(api, world.plane, world.own, NAME, tmp_path))
    made.rule()
    world.nodes("n1")
    world.workload("web", "n1")
    yield made
    for path in (f"{RBAC}/clusterroles/{NAME}", f"{RBAC}/clusterrolebindings/{NAME}"):
        if api.find(path):
            api.delete(path)


@pytest.mark.parametrize("kind", ["WasmPlugin", "TrafficExtension"])
def test_a_change_of_kind(scene: Scene, kind: str) -> None:
    """The EnvoyFilter goes when the other object is stored, and no proxy is asked for it."""
    world = scene.world
    scene.operator()
    world.apply("web", scene.image.name, istio=VOLUME, filter=AS_OBJECT)
    world.wait("web", "Ready")
    assert len(world.filters()) == 1
    mark = world.plane.mark()
    world.apply("web", scene.image.name, istio={"provider": kind}, filter=AS_OBJECT)
    world.wait("web", "Ready", "Degraded=False")
    assert (len(world.filters()), len(world.filters(f"{kind.lower()}s"))) == (0, 1)
    done, refused = scene.audit(mark)
    assert sorted(map(str, refused)) == []
    assert not [each for each in done if each.resource.startswith("pods/")]


@pytest.mark.parametrize("kind", ["", *REREAD])
def test_a_rollout_that_is_turned_back(scene: Scene, docker_registry: DockerRegistry, kind: str) -> None:
    """What it made goes, and what was there before, of whatever kind, is as it was; nothing of that is refused. Without
    the right to read that kind it is."""
    world, image = scene.world, scene.image
    mark = world.plane.mark()
    operator = scene.operator()
    if kind:
        istio = VOLUME if kind == "EnvoyFilter" else {"provider": kind}
        world.apply("web", image.name, istio=istio, filter=AS_OBJECT)
        world.wait("web", "Ready")
        image = push(docker_registry, layout="compat", seed=7)
    before = carried(world)
    seen(world)
    rollout = {"steps": ["1"], "pauseSeconds": 0, "timeoutSeconds": 1}
    world.apply("web", image.name, istio=VOLUME, filter=AS_OBJECT, rollout=rollout)
    rolled_back(world)
    assert carried(world) == before
    assert sorted(map(str, scene.audit(mark)[1])) == []
    if kind:
        operator.stop()
        scene.rule({REREAD[kind]})
        operator.start()
        mark = world.plane.mark()
        seen(world)
        world.apply("web", image.name, istio=VOLUME, filter={"config": {"greeting": "moon"}}, rollout=rollout)
        wait_until(lambda: REREAD[kind] in scene.audit(mark)[1], 60, lambda: operator.told(5))


def carried(world: World) -> dict[str, str]:
    """What carries filters, by kind and name."""
    kinds = [f"{kind.lower()}s" for kind in REREAD]
    return {f"{kind}/{name}": json.dumps(obj["spec"]) for kind in kinds for name, obj in world.filters(kind).items()}


def seen(world: World) -> None:
    """The workload is well, and nobody will ever say so of its next generation."""
    generation = world.get(world.deployment("web"))["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    world.api.patch(f"{world.deployment('web')}/status", {"status": {"observedGeneration": generation, **counts}})


def rolled_back(world: World) -> None:
    """Wait until a rollout is turned back."""
    wait_until(
        lambda: world.condition("web", "Programmed").get("reason") == "RolledBack", 60, lambda: str(world.status("web"))
    )
