"""Conditions tell what is, within ten seconds: an agent that stands still, a file that changed, a dead watch."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import Agent
from tests.fixtures.fronts import Front
from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import World
from wasme.image.layouts import Draft

NODES = ("live-a", "live-b")
SECONDS = 10.0


class Scene:
    """The filter ``web`` on a workload with pods on two nodes, whose agents hold it; the operator comes by a door.

    Attributes:
        agents: by node.
        module: digest of the module.
    """

    def __init__(self, world: World, door: Front, registry: faulty.Registry, draft: Draft) -> None:
        self.world = world
        self.door = door
        self.registry = registry
        self.module = draft.module.digest
        self.image = Pushed(f"{registry.host}/live/web:v1", draft.descriptor.digest, self.module)
        self.agents: dict[str, Agent] = world.nodes(*NODES)
        world.workload("web", *NODES)
        world.apply("web", self.image.name)
        self.operator: Operator = world.operator(kubeconfig=door.kubeconfig)
        self.mended()

    def broken(self) -> None:
        """Within ten seconds from now Cached is False, and with it Programmed and Ready."""
        took = self.world.wait("web", "Cached=False", "Programmed=False", "Ready=False", seconds=SECONDS)
        print(f"Cached is False after {took:.1f} s: {self.world.condition('web', 'Cached')}")

    def told(self, nodes: tuple[int, int], named: str = "", *words: str) -> None:
        """The status comes to this: how many nodes hold it of how many, who is named, and other conditions. An agent
        that only was slow for a moment counts again in another."""

        def is_told() -> bool:
            message = self.world.condition("web", "Cached").get("message", "")
            return self.world.held("web") == nodes and named in message and self.world.is_("web", *words)

        wait_until(is_told, SECONDS, lambda: f"not told: {nodes}, {named}, {words}: {self.world.status('web')}")

    def mended(self) -> None:
        """And all of them are True again."""
        self.world.wait("web", "Cached", "Programmed", "Ready", "Degraded=False")
        self.told((2, 2))


@pytest.fixture
def scene(world: World, door: Front, faulty_registry: faulty.Registry, holds_image: Callable[..., Draft]) -> Scene:
    return Scene(world, door, faulty_registry, holds_image(faulty_registry, "live/web", "v1"))


def test_an_agent_stands_still(scene: Scene) -> None:
    """SIGSTOP: nothing closes, nothing is told; its pod is not ready any more, and the node counts as without it."""
    scene.agents["live-a"].send(signal.SIGSTOP)
    scene.broken()
    scene.told((1, 2), "live-a", "Cached=False", "Degraded", "Accepted", "ImageResolved")
    scene.agents["live-a"].send(signal.SIGCONT)
    scene.mended()


def test_an_agent_is_killed(scene: Scene) -> None:
    """SIGKILL: what it told last stays in its ConfigMap, and counts no more."""
    scene.agents["live-b"].kill()
    scene.broken()
    scene.told((1, 2), "live-b")
    scene.agents["live-b"].start()
    scene.mended()


@pytest.mark.parametrize("damage", ["changed", "deleted", "shortened"])
def test_a_cached_file_is_not_what_it_was(scene: Scene, damage: str) -> None:
    """On one node, and the registry is away, so that it stays so; mended when that is back."""
    scene.registry.fault("GET", lambda handler: handler.answer(503), times=10_000)
    scene.registry.fault("HEAD", lambda handler: handler.answer(503), times=10_000)
    file = scene.agents["live-a"].file(scene.module)
    content = file.read_bytes()
    if damage == "deleted":
        file.unlink()
    else:
        file.chmod(0o644)
        file.write_bytes(content[:-1] + b"!" if damage == "changed" else content[:-1])
    scene.broken()
    scene.told((1, 2), "live-a")
    scene.registry.heal()
    scene.mended()


@pytest.mark.parametrize("later", [False, True], ids=["one", "all that follow"])
@pytest.mark.parametrize("watch", ["pods", "configmaps"])
def test_a_watch_of_what_nodes_hold_is_frozen(scene: Scene, watch: str, later: bool) -> None:
    """Its connection is open and no byte comes: an agent that stops, or a file that goes, is told all the same."""
    scene.registry.fault("GET", lambda handler: handler.answer(503), times=10_000)
    wait_until(lambda: scene.door.freeze(rf"/{watch}\?", later=later), 20, "nothing is watched")
    if watch == "pods":
        scene.agents["live-a"].kill()
    else:
        scene.agents["live-a"].file(scene.module).unlink()
    scene.broken()


@pytest.mark.parametrize("pause", [0.0, 0.7, 1.4])
def test_an_agent_stands_still_behind_a_frozen_watch(scene: Scene, pause: float) -> None:
    """Both at once: its pod turns unready in silence, and the operator's next look is told of it; in time still,
    wherever in a window and between two probes it begins."""
    scene.registry.fault("GET", lambda handler: handler.answer(503), times=10_000)
    time.sleep(pause)
    wait_until(lambda: scene.door.freeze(r"/pods\?", later=True), 20, "nothing is watched")
    scene.agents["live-a"].send(signal.SIGSTOP)
    try:
        scene.broken()
        scene.told((1, 2), "live-a")
    finally:
        scene.agents["live-a"].send(signal.SIGCONT)


@pytest.mark.parametrize("later", [False, True], ids=["one", "all that follow"])
@pytest.mark.parametrize("watch", ["filterdeployments", "envoyfilters", "deployments", "nodes"])
def test_another_watch_is_frozen(scene: Scene, watch: str, later: bool) -> None:
    """What changes behind it is seen within ten seconds: a spec, a deleted carrier, a new workload, a node."""
    world = scene.world
    wait_until(lambda: scene.door.freeze(rf"/{watch}\?", later=later), 20, "nothing is watched")
    begun = time.monotonic()
    changes: dict[str, Callable[[], Any]] = {
        "filterdeployments": lambda: world.apply("web", scene.image.name, filter={"config": "other"}),
        "envoyfilters": lambda: world.api.delete(world.envoy_filter(world.carrier("web", "web"))),
        "deployments": lambda: world.workload("more", labels={"app": "web"}),
        "nodes": lambda: world.nodes_not_ready("live-b"),
    }
    seen: dict[str, Callable[[], bool]] = {
        "filterdeployments": lambda: world.is_("web", "Ready") and world.status("web")["observedGeneration"] == 2,
        "envoyfilters": lambda: world.carrier("web", "web") in world.filters(),
        "deployments": lambda: world.carrier("more", "web") in world.filters(),
        "nodes": lambda: world.held("web") == (1, 1),
    }  # fmt: skip
    changes[watch]()
    wait_until(seen[watch], SECONDS, lambda: f"not seen: {world.status('web')}")
    print(f"{watch}: seen after {time.monotonic() - begun:.1f} s")


def test_a_pod_on_a_new_node(scene: Scene) -> None:
    """A node without the module gets a pod: Cached turns False for as long as that node has not pulled it."""
    scene.registry.fault("GET", lambda handler: handler.answer(503), times=10_000)
    scene.world.nodes("live-c")
    scene.world.pods("web", "live-c")
    scene.broken()
    scene.told((2, 3), "live-c")
    scene.registry.heal()
    scene.world.wait("web", "Cached", "Ready")
    scene.told((3, 3))


def test_a_node_that_waits_is_no_failure(world: World, faulty_registry: faulty.Registry,
                                         holds_image: Callable[..., Draft]) -> None:  # fmt: skip
    """A registry that has nothing for the nodes: the carrier appears only when they hold the module, and until then
    Cached says who is waited for."""
    draft = holds_image(faulty_registry, "live/slow", "v1")
    agents = world.nodes(*NODES)
    world.apply("web", f"{faulty_registry.host}/live/slow:v1", filter={"sha256": draft.module.hex})
    world.operator()
    world.wait("web", "ImageResolved")  # the operator has it, and asks no node as long as there is no workload
    blob = f"GET .*/blobs/{draft.module.digest}"
    faulty_registry.fault(blob, lambda handler: handler.answer(503), times=10_000)
    world.workload("web", *NODES)
    world.wait("web", "Cached=False")
    for node in NODES:
        wait_until(lambda node=node: node in world.condition("web", "Cached")["message"], 20, f"{node} is not named")  # type: ignore[misc]
    time.sleep(3)
    assert not world.filters()
    assert not world.is_("web", "Cached")
    faulty_registry.heal()
    world.wait("web", "Cached", "Ready")
    assert all(agent.file(draft.module.digest).is_file() for agent in agents.values())
