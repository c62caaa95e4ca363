"""What the operator's part for meshes does while nodes have not got the module; the agents are real."""

from __future__ import annotations

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.places import Place, objects
from tests.kubernetes.operator.world import World, configuration
from wasme.operator.resources.report import Report

DIGEST = "wasme.io/digest"


def digest(world: World, name: str) -> str:
    found: str = world.filters()[name]["metadata"]["annotations"][DIGEST]
    return found


def waits(report: Report) -> bool:
    """Whether it waits for a node, and not for what it has just asked of the node cache's list."""
    return report.held.needed and not report.held.complete


def test_no_proxy_is_told_before_its_node_has_the_module(place: Place, image: Pushed) -> None:
    """While one node of two has no agent the targets are Pending with its name, nothing is written on a workload, and
    no look takes long; when it has, all are done. What asked is called by the node."""
    world = place.world
    world.nodes("n1")
    world.workload("web", "n1")
    world._nodes("n2")
    world.pods("web", "n2")
    apply = world.apply("web", image.name)
    report = place.settle("web", until=lambda report: waits(report) and report.held.held == 1)
    assert (report.held.nodes, report.held.held) == (2, 1)
    assert objects(report) == {"web": "Pending"}
    assert "n2" in report.targets[0].reason
    assert world.filters() == {}
    assert "annotations" not in world.template("web")
    assert world.cache()["filters"].endswith("pending")
    place.called.clear()
    world.kubelets.run("n2")
    wait_until(lambda: place.key("web") in place.called, 60, "nobody is called")
    report = place.settle("web")
    assert report.held.complete
    assert "pending" not in world.cache()["filters"]
    assert digest(world, world.carrier("web", "web")) == image.module
    assert apply["metadata"]["generation"] == 1


def test_gone_before_anything_was_made(place: Place, image: Pushed) -> None:
    """A FilterDeployment whose finalizer somebody took away while it waited for a node: its line goes, and nobody is
    called for it any more."""
    world = place.world
    world.nodes_not_ready("n0")
    world._nodes("n1")
    world.workload("web", "n1")
    world.apply("web", image.name)
    place.settle("web", until=waits)
    world.api.patch(world.path("web"), {"metadata": {"finalizers": None}})
    world.api.delete(world.path("web"))
    key, name = place.key("web"), f"web.{world.namespace}"
    wait_until(lambda: place.stores.resource(key) is None, 30, "it is still known")
    assert place.mesh.owned(key) == {name}
    place.remove("web")
    place.mesh.forget(key)
    assert place.mesh.owned(key) == set()
    assert world.cache().get("filters", "") == ""
    place.called.clear()
    world.kubelets.run("n1")
    wait_until(lambda: "n1" in place.stores.agents(), 60, "no agent")
    assert key not in place.called


def test_another_image_waits_and_what_runs_stays(place: Place, image: Pushed, docker_registry: DockerRegistry) -> None:
    """The object before stays as it is, and its module on the nodes, until they hold the new one; then the old goes."""
    world = place.world
    agents = world.nodes("n1")
    world.workload("web", "n1")
    world.apply("web", image.name)
    place.settle("web")
    name = world.carrier("web", "web")
    agents["n1"].stop()
    wait_until(lambda: not world.kubelets.ready("n1"), 60, "its pod is still ready")
    other = push(docker_registry, seed=7)
    world.apply("web", other.name, filter={"config": "moon"})
    report = place.settle("web", until=lambda report: waits(report) and "pending" in world.cache()["filters"])
    assert objects(report) == {"web": "Pending"}
    assert report.targets[0].object == f"EnvoyFilter/{name}"
    assert digest(world, name) == image.module
    assert image.module in world.cache()["filters"]
    agents["n1"].start()
    place.settle("web")
    assert digest(world, name) == other.module
    wait_until(lambda: image.module not in world.cache()["filters"], 30, "the old module stays")


def test_what_is_right_is_not_touched_while_others_wait(place: Place, image: Pushed) -> None:
    """A workload that comes on a node without agent waits alone; a change of the configuration needs no node."""
    world = place.world
    world.nodes("n1")
    world.workload("one", "n1", labels={"team": "a"})
    world.apply("auth", image.name, {"team": "a"})
    place.settle("auth")
    version = world.filters()[world.carrier("one", "auth")]["metadata"]["resourceVersion"]
    world._nodes("n2")
    world.workload("two", "n2", labels={"team": "a"})
    report = place.settle("auth", until=waits)
    assert objects(report) == {"one": "Succeeded", "two": "Pending"}
    assert world.filters()[world.carrier("one", "auth")]["metadata"]["resourceVersion"] == version
    world.apply("auth", image.name, {"team": "a"}, filter={"config": "moon"})
    report = place.settle("auth", until=waits)
    assert objects(report) == {"one": "Succeeded", "two": "Pending"}
    assert "moon" in configuration(world.filters()[world.carrier("one", "auth")])


def test_a_node_that_loses_the_module_is_told(place: Place, image: Pushed) -> None:
    """An agent that dies makes the report say so, without a write."""
    world = place.world
    agents = world.nodes("n1")
    world.workload("web", "n1")
    world.apply("web", image.name)
    assert place.settle("web").programmed
    agents["n1"].stop()
    report = place.settle("web", until=waits)
    assert objects(report) == {"web": "Succeeded"}
    assert not report.programmed
    assert not report.changed
