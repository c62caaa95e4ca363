"""Rollouts of the operator: a real API server and controller manager; the test plays scheduler and kubelets."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.kubelets import Kubelets, Pod
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.places import Place, objects
from tests.kubernetes.operator.world import configuration
from wasme.errors import LeadershipLost, Unreachable
from wasme.operator.resources.conditions import status
from wasme.operator.resources.outcome import Outcome
from wasme.operator.resources.report import Report
from wasme.operator.targets.mesh import rollouts

_WEBS = ["web-0", "web-1", "web-2"]
_LABELS = {"team": "a"}
_VOLUME = {"cache": {"mode": "ImageVolume"}}
_PACE = {"steps": ["1"], "pauseSeconds": 0, "timeoutSeconds": 90}


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    """A filter that can be a volume: so its pods are made anew, and no node has to hold it before."""
    return push(docker_registry, layout="compat")


@pytest.fixture
def kubelets(place: Place, controllers: subprocess.Popen[bytes], nodes: Callable[..., Any]) -> Iterator[Kubelets]:
    """Three Deployments of one pod each."""
    world = place.world
    nodes("n1")
    running = Kubelets(world.api, world.namespace, "n1")
    for name in _WEBS:
        template = {"metadata": {"labels": {"app": name}}, "spec": {
            "terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "web"}]}}  # fmt: skip
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
        meta = {"name": name, "namespace": world.namespace, "labels": _LABELS}
        world.api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
    wait_until(lambda: all(available(place, name) for name in _WEBS), 120, "no pods")
    yield running
    place.close()
    running.stop()


def available(place: Place, name: str) -> bool:
    """Whether it has one pod, of its newest template, and that is well."""
    live = place.world.get(place.world.deployment(name))
    status = live.get("status") or {}
    seen = status.get("observedGeneration") == live["metadata"]["generation"]
    return seen and all(status.get(each) == 1 for each in ("replicas", "updatedReplicas", "availableReplicas"))


def is_new(pod: Pod) -> bool:
    """Whether it is of a template with the filter's marks."""
    return any(each.startswith("wasme.io/") for each in pod["metadata"]["labels"])


def held_back(kubelets: Kubelets) -> threading.Event:
    """New pods begin to run when the event is set, so that no rollout goes further before."""
    go = threading.Event()

    def started(pod: Pod) -> None:
        if is_new(pod):
            go.wait(60)

    kubelets.started = started
    return go


def carriers(place: Place) -> set[str]:
    return {each.partition("-auth")[0] for each in place.world.filters()}


def look(place: Place, name: str = "auth") -> Report:
    """One look, of an object in motion."""
    wanted = place.wanted(name)
    return place.mesh.reconcile(wanted, place.image(wanted.image.reference))


def settle(place: Place, until: Callable[[Report], bool] = lambda report: report.programmed, seconds: float = 180,
           seen: Callable[[Report], Any] = lambda report: None) -> Report:  # fmt: skip
    deadline = time.monotonic() + seconds
    while True:
        report = look(place)
        seen(report)
        if until(report):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.1)


def test_in_steps(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """One workload first, the others when its pods are new and well; the report tells the step, the key is called when
    it goes on, and what is done already is no step of a later run."""
    world = place.world
    progress: list[str] = []
    first: list[set[str]] = []
    steps = {f"step {number} of 2": threading.Event() for number in (1, 2)}

    def started(pod: Pod) -> None:
        """A step lasts until it was seen."""
        if is_new(pod):
            steps["step 1 of 2" if pod["metadata"]["labels"]["app"] == "web-0" else "step 2 of 2"].wait(60)

    def seen(report: Report) -> None:
        progress.append(report.progress)
        if report.progress == "step 1 of 2":
            first.append(carriers(place))
            assert objects(report)["web-2"] == "Pending"
        if report.progress in steps:
            steps[report.progress].set()

    kubelets.started = started
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)

    report = settle(place, seen=seen)
    assert [each for each in dict.fromkeys(progress) if each.startswith("step")] == ["step 1 of 2", "step 2 of 2"]
    assert first[0] <= {"web-0"}
    assert objects(report) == dict.fromkeys(_WEBS, "Succeeded")
    assert place.key("auth") in place.called


def test_unchanged_workloads_start_none(place: Place, image: Pushed, kubelets: Kubelets,
                                        control_plane: ControlPlane) -> None:  # fmt: skip
    """Where all is in order, for this operator or for the next one, nothing is rolled out; what somebody edits is
    mended at once."""
    world = place.world
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    settle(place)
    place.again()
    mark = control_plane.mark()
    assert settle(place).progress == ""
    assert not [each for each in world.writes(mark) if world.namespace in each]
    name = world.carrier("web-1", "auth")
    world.api.delete(world.envoy_filter(name))
    place.caught_up()
    report = look(place)
    assert (report.progress, report.changed) == ("", True)
    assert name in world.filters()


def test_turned_back(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """A first workload whose pod crashes: everything is as before, the targets have failed with its reason, and it is
    not tried again before something else is wanted; then it is."""
    world = place.world
    before = {name: world.template(name) for name in _WEBS}
    kubelets.crashes = is_new
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    report = settle(place, lambda report: report.problem is not None)
    assert report.problem is not None
    assert "the rollout stopped at step 1 of 2" in report.problem.message
    assert "CrashLoopBackOff" in report.problem.message
    assert objects(report) == dict.fromkeys(_WEBS, "Failed")
    assert {name: world.template(name) for name in _WEBS} == before
    assert world.filters() == {}
    kubelets.crashes = lambda _: False
    wait_until(lambda: all(available(place, name) for name in _WEBS), 60, "not as before")
    for _ in range(3):
        assert look(place).problem is report.problem or look(place).problem == report.problem
    assert world.filters() == {}
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE, filter={"config": "moon"})
    settle(place)
    assert "moon" in configuration(world.filters()[world.carrier("web-0", "auth")])


def test_the_next_operator_knows_what_was_turned_back(
    place: Place, image: Pushed, kubelets: Kubelets, control_plane: ControlPlane
) -> None:
    """The status says it (RolledBack) of a generation and an image: an operator that starts anew, even one that does
    not reach the registry at first, writes nothing and says the same; another generation is rolled out."""
    world = place.world
    kubelets.crashes = is_new
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    report = settle(place, lambda report: report.problem is not None)
    kubelets.crashes = lambda _: False
    wait_until(lambda: all(available(place, name) for name in _WEBS), 60, "not as before")

    def say(outcome: Outcome) -> dict[str, Any]:
        """As the reconciler tells it: the status as it is stored, but for when its conditions changed."""
        obj = world.get(world.path("auth"))
        told = status(obj.get("status"), obj, outcome)
        place.cluster.replace_status({**obj, "status": told})
        stored: dict[str, Any] = world.get(world.path("auth"))["status"]
        for each in stored["conditions"]:
            del each["lastTransitionTime"]
        return stored

    found = place.image(image.name)
    before = say(Outcome(image=found, report=report))
    (programmed,) = (each for each in before["conditions"] if each["type"] == "Programmed")
    assert (programmed["status"], programmed["reason"]) == ("False", "RolledBack")
    assert programmed["message"].endswith("(it is tried again when the spec changes, or its tag names another image)")
    say(Outcome(image_problem=Unreachable("the registry is away"), retrying=True))
    mark = control_plane.mark()
    for _ in range(3):
        place.again()
        again = look(place)
        assert (again.problem, again.progress) != (None, "")
        assert say(Outcome(image=found, report=again)) == {**before, "reason": again.problem and again.problem.message}
    assert not [each for each in world.writes(mark) if world.namespace in each and "/status" not in each]
    assert world.filters() == {}
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE, filter={"config": "moon"})
    place.again()
    settle(place)
    assert carriers(place) == set(_WEBS)


def test_workloads_that_are_not_well_yet(
    place: Place, image: Pushed, kubelets: Kubelets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are waited for, and nothing has failed: one that comes up later begins the rollout."""
    world = place.world
    monkeypatch.setattr(rollouts, "PAUSE", 0.5)
    paused = {"spec": {"paused": True}}
    world.api.patch(world.deployment("web-1"), paused)
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    report = settle(place, lambda report: report.progress.startswith("it waits"))
    assert "web-1: it is paused" in report.progress
    assert report.problem is None
    assert report.again is not None
    assert world.filters() == {}
    world.api.patch(world.deployment("web-1"), {"spec": {"paused": False}})
    settle(place)


def test_a_pause(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """A rollout that is ended from without between its steps goes no further and turns nothing back; it is taken up
    where it stands."""
    world, go = place.world, held_back(kubelets)
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout={**_PACE, "pauseSeconds": 1})
    settle(place, until=lambda _: len(carriers(place)) == 1)
    place.mesh.pause(place.key("auth"))
    wait_until(lambda: place.mesh.pause(place.key("auth")), 30, "it does not end")
    before = carriers(place)
    go.set()
    wait_until(lambda: available(place, "web-0"), 60, "its first step would not be over")
    time.sleep(4)
    assert carriers(place) == before == {"web-0"}
    settle(place)
    assert carriers(place) == set(_WEBS)


def test_something_else_is_wanted_meanwhile(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """The run is ended without turning back, and one for what is wanted now begins with what it has left."""
    world = place.world
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout={**_PACE, "pauseSeconds": 60})
    settle(place, lambda report: carriers(place) == {"web-0"} and report.progress == "step 1 of 2")
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE, filter={"config": "moon"})
    settle(place)
    assert all("moon" in configuration(each) for each in world.filters().values())
    assert carriers(place) == set(_WEBS)


def test_the_next_operator_takes_it_up(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """A run of an operator that ends, or loses its lease, turns nothing back; the next one goes on with the others."""
    world = place.world
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout={**_PACE, "pauseSeconds": 60})
    settle(place, lambda report: carriers(place) == {"web-0"} and report.progress == "step 1 of 2")
    begun = time.monotonic()
    place.again()
    assert time.monotonic() - begun < 20
    assert carriers(place) == {"web-0"}
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    settle(place)
    assert carriers(place) == set(_WEBS)


def test_a_lost_lease_turns_nothing_back(place: Place, image: Pushed, kubelets: Kubelets) -> None:
    """When writes are refused since the lease cannot be proved held, what is changed stays changed."""
    world, go = place.world, held_back(kubelets)
    lost = False

    def check() -> None:
        if lost and carriers(place):
            raise LeadershipLost("the lease is another's")

    place.guard(check)
    world.apply("auth", image.name, _LABELS, istio=_VOLUME, rollout=_PACE)
    settle(place, lambda report: report.progress.startswith("step 1"))
    lost = True
    go.set()
    run = place.mesh._rollouts.of(place.key("auth"))
    assert run is not None
    wait_until(lambda: run.over, 60, "it goes on")
    assert run.error is None
    assert not run.done
    assert len(carriers(place)) >= 1
    lost = False
    place.again()
    settle(place)
    assert carriers(place) == set(_WEBS)
