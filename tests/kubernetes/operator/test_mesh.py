"""The operator's part for meshes on a real API server: each behaviour of it, without the rest of the operator."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.meshes import USER_VOLUME, Pushed, push
from tests.kubernetes.operator.places import Place, objects
from tests.kubernetes.operator.world import configuration


def apply(place: Place, name: str, image: Pushed, labels: dict[str, str] | None = None, **settings: Any) -> None:
    place.world.apply(name, image.name, labels, **settings)


def test_what_is_made(place: Place, image: Pushed) -> None:
    """Each workload that is meant gets the EnvoyFilter that `wasme deploy` would make, marked as the
    FilterDeployment's own; its pods the node cache's folder; the cache its line. Others get nothing."""
    world = place.world
    for name in ("web", "api"):
        world.workload(name, labels={"team": "a"})
    world.workload("other")
    apply(place, "auth", image, {"team": "a"})
    report = place.settle("auth")
    assert objects(report) == {"api": "Succeeded", "web": "Succeeded"}
    assert report.targets[1].object == f"EnvoyFilter/{world.carrier('web', 'auth')}"
    assert set(world.filters()) == {world.carrier("web", "auth"), world.carrier("api", "auth")}
    found = world.filters()[world.carrier("web", "auth")]
    (owner,) = found["metadata"]["ownerReferences"]
    uid = world.get(world.path("auth"))["metadata"]["uid"]
    assert owner == {
        "apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": "auth", "uid": uid, "controller": True,
    }  # fmt: skip
    assert found["metadata"]["annotations"]["wasme.io/digest"] == image.module
    assert "world" in configuration(found)
    assert USER_VOLUME in world.template("web")["annotations"]
    assert "annotations" not in world.template("other")
    line = f"{world.namespace}/auth.{world.namespace} {image.name} {image.manifest} {image.module}"
    assert world.cache()["filters"] == line


def test_made_and_deleted_again_and_again(place: Place, image: Pushed) -> None:
    """What we took from a pod template ourselves nobody has reset: the fourth time in a row is made as the first."""
    world = place.world
    world.workload("web")
    for _ in range(5):
        world.apply("auth", image.name, {"app": "web"})
        place.settle("auth", seconds=25)  # less than who resets the template would cost
        place.remove("auth")
        world.api.patch(world.path("auth"), {"metadata": {"finalizers": None}})
        world.api.delete(world.path("auth"))
        assert "annotations" not in world.template("web")


def test_somebody_resets_the_template(place: Place, image: Pushed) -> None:
    """Three times the marks are written again at once; then the pods are left alone for a while, and the target names
    who it is."""
    world = place.world
    world.workload("web")
    apply(place, "web", image)
    template = {"annotations": None, "labels": {"wasme.io/cache": None}}
    for _ in range(3):
        place.settle("web")
        world.api.patch(world.deployment("web"), {"spec": {"template": {"metadata": template}}})
    report = place.look("web")
    assert objects(report) == {"web": "Failed"}
    assert "resets the pod template" in report.targets[0].reason
    assert "somebody" not in report.targets[0].reason
    assert report.again is not None
    assert report.again > 5
    generation = world.get(world.deployment("web"))["metadata"]["generation"]
    place.look("web")
    assert world.get(world.deployment("web"))["metadata"]["generation"] == generation


def test_nothing_is_asked_where_nothing_changed(place: Place, image: Pushed, control_plane: ControlPlane) -> None:
    """Another look at what nobody has changed makes no request at all, not even a read."""
    for name in ("web", "api"):
        place.world.workload(name, labels={"team": "a"})
    apply(place, "auth", image, {"team": "a"})
    place.settle("auth")
    place.caught_up()
    wanted, found = place.wanted("auth"), place.image(image.name)
    mark = control_plane.mark()
    for _ in range(5):
        report = place.mesh.reconcile(wanted, found)
        assert report.programmed
        assert not report.changed
    assert place.requests(mark) == []


def test_who_comes_after_writes_nothing(place: Place, image: Pushed, control_plane: ControlPlane) -> None:
    """An operator that finds all in order reads the workloads once, and writes nothing."""
    place.world.workload("web")
    apply(place, "web", image)
    place.settle("web")
    place.again()
    mark = control_plane.mark()
    assert place.look("web").programmed
    assert [each for each in place.world.writes(mark) if not each.startswith("get")] == []


def test_another_configuration_is_one_write_for_each_workload(
    place: Place, image: Pushed, control_plane: ControlPlane
) -> None:
    """No workload is read or changed for it: its object alone is written."""
    world = place.world
    world.workload("web")
    apply(place, "web", image)
    place.settle("web")
    apply(place, "web", image, filter={"config": "moon"})
    wanted, found = place.wanted("web"), place.image(image.name)
    mark = control_plane.mark()
    assert place.mesh.reconcile(wanted, found).programmed
    assert place.requests(mark) == [f"patch {world.envoy_filter(world.carrier('web', 'web'))}"]
    assert "moon" in configuration(world.filters()[world.carrier("web", "web")])


def test_workloads_come_and_go(place: Place, image: Pushed) -> None:
    """One that appears later gets the filter, one whose labels match no more loses it with its volume, and what was
    made for one that is gone goes."""
    world = place.world
    world.workload("one", labels={"team": "a"})
    world.workload("two", labels={"team": "a"})
    apply(place, "auth", image, {"team": "a"})
    place.settle("auth")
    before = world.workload("three", labels={"team": "a"})["spec"]["template"]["metadata"]
    place.settle("auth")
    assert world.carrier("three", "auth") in world.filters()
    world.api.patch(world.deployment("three"), {"metadata": {"labels": {"team": "b"}}})
    world.api.delete(world.deployment("two"))
    report = place.settle("auth", until=lambda report: objects(report) == {"one": "Succeeded"})
    assert set(report.removed) == {f"EnvoyFilter/{world.carrier(each, 'auth')}" for each in ("two", "three")}
    assert set(world.filters()) == {world.carrier("one", "auth")}
    assert world.template("three") == {"labels": before["labels"]}
    world.api.delete(world.deployment("one"))
    report = place.look("auth")
    assert report.problem is not None
    assert "found no Deployment with the labels team=a" in report.problem.message
    wait_until(lambda: not world.leftovers(), 30, lambda: f"{world.leftovers()}")


def test_drift_is_mended(place: Place, image: Pushed) -> None:
    """What somebody edits or deletes of ours comes back; what is not ours stays as he made it."""
    world = place.world
    world.workload("web")
    apply(place, "web", image)
    place.settle("web")
    name = world.carrier("web", "web")
    wanted, marked = world.filters()[name], world.template("web")
    path = world.envoy_filter(name)
    edited = {"metadata": {"labels": {"theirs": "1", "wasme.io/filter": None}, "ownerReferences": None},
              "spec": {"workloadSelector": {"labels": {"more": "x"}}}}  # fmt: skip
    world.api.patch(path, edited)
    template = {"annotations": {USER_VOLUME: None, "theirs": "2"}, "labels": {"wasme.io/cache": None}}
    world.api.patch(world.deployment("web"), {"spec": {"template": {"metadata": template}}})
    assert place.settle("web").changed
    found = world.filters()[name]
    assert found["spec"] == wanted["spec"]
    assert found["metadata"]["ownerReferences"] == wanted["metadata"]["ownerReferences"]
    assert found["metadata"]["labels"] == {**wanted["metadata"]["labels"], "theirs": "1"}
    assert world.template("web")["labels"] == marked["labels"]
    assert world.template("web")["annotations"] == {**marked["annotations"], "theirs": "2"}
    world.api.delete(path)
    assert place.settle("web").changed
    assert world.filters()[name]["spec"] == wanted["spec"]


def test_removing(place: Place, image: Pushed) -> None:
    """All of a filter goes: objects, marks, the cache's line; a second time there is nothing to do."""
    world = place.world
    before = world.workload("web")["spec"]["template"]["metadata"]["labels"]
    apply(place, "web", image)
    place.settle("web")
    place.remove("web")
    assert world.leftovers() == []
    assert world.template("web") == {"labels": before}
    assert not place.remove("web").changed


@pytest.mark.parametrize("half", ["the object", "the marks", "the workload", "the line"])
def test_removing_what_is_half_there(place: Place, image: Pushed, half: str) -> None:
    """Whatever somebody, or an operator that was killed, has taken away: the rest is found by what lies there."""
    world = place.world
    world.workload("web")
    apply(place, "web", image)
    place.settle("web")
    if half == "the object":
        world.api.delete(world.envoy_filter(world.carrier("web", "web")))
    elif half == "the marks":
        template = {"annotations": None, "labels": {"wasme.io/cache": None}}
        world.api.patch(world.deployment("web"), {"spec": {"template": {"metadata": template}}})
    elif half == "the workload":
        world.api.delete(world.deployment("web"))
    else:
        data = dict.fromkeys(("filters", "images", "added"), "")
        world.api.patch(f"/api/v1/namespaces/{world.own}/configmaps/wasme-cache", {"data": data})
    place.again()
    place.caught_up()
    place.remove("web")
    assert world.leftovers() == []


def test_two_on_one_workload(place: Place, image: Pushed) -> None:
    """Looked at by many threads at once, two FilterDeployments on the same workloads both come to be, and the volume
    stays until the second goes."""
    world = place.world
    for number in range(4):
        world.workload(f"w{number}", labels={"team": "a"})
    for name in ("auth", "stats"):
        apply(place, name, image, {"team": "a"})
    wanted = [place.wanted(name) for name in ("auth", "stats")]
    found = place.image(image.name)
    threads = [threading.Thread(target=place.mesh.reconcile, args=(each, found)) for each in wanted]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for name in ("auth", "stats"):
        place.settle(name)
    assert len(world.filters()) == 8
    place.remove("auth")
    assert USER_VOLUME in world.template("w1")["annotations"]
    assert place.settle("stats").programmed
    place.remove("stats")
    assert world.leftovers() == []


def test_a_problem_is_told_and_nothing_is_touched(place: Place, docker_registry: DockerRegistry) -> None:
    """What `deploy istio` refuses is a problem of the report, in the spec's own words."""
    world = place.world
    image = push(docker_registry)
    world.workload("web")
    apply(place, "web", image, istio={"provider": "WasmPlugin"}, filter={"env": {"ISTIO_META_X": "1"}})
    report = place.look("web")
    assert report.problem is not None
    assert "cannot carry the variable ISTIO_META_X" in report.problem.message
    assert report.problem.hint is not None
    assert "spec.deployment.istio.provider" in report.problem.hint
    assert objects(report) == {"web": "Failed"}
    assert world.leftovers() == []
