"""Workloads that nobody lets us write: they are tried again more and more seldom, and at once when anything changes."""

from __future__ import annotations

import time

import pytest

from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.places import Place, objects
from wasme.deploy.istio.apply import Applying, Done, Step
from wasme.errors import ObjectRefused
from wasme.operator.targets.mesh import retries
from wasme.operator.targets.mesh.look import Look

VOLUME = {"cache": {"mode": "ImageVolume"}}


class Policy:
    """Denies writes, and counts those that it was asked for."""

    def __init__(self) -> None:
        self.asked = 0
        self.denies = True

    def __call__(self) -> None:
        self.asked += 1
        if self.denies:
            raise ObjectRefused("a policy denied the request")


def test_tries_become_seldom(place: Place, compat: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many looks in a few seconds, whoever calls for them, few try what was denied; the target says why each time,
    and when there is to be the next try. When nobody denies it any more, the next one does it."""
    monkeypatch.setattr(retries, "FIRST", 1.0)
    policy = Policy()
    place.world.workload("web")
    place.world.apply("web", compat.name, istio=VOLUME)
    place.guard(policy)
    begun = time.monotonic()
    looks = 0
    while time.monotonic() < begun + 6 or looks <= 5:
        report = place.look("web")
        looks += 1
        assert report.retry
        assert objects(report) == {"web": "Failed"}
        assert "a policy denied" in report.targets[0].reason
        assert report.again is not None
        assert report.again <= 1.25 * 2.0 ** (policy.asked - 1)
        time.sleep(0.1)
    took = time.monotonic() - begun
    earliest = [0.0, *(0.75 * (2.0**tries - 1) for tries in range(1, 10))]
    assert 2 <= policy.asked <= sum(each <= took for each in earliest), "the doubled times of 0.75 s, 1.5 s and 3 s"
    policy.denies = False
    report = place.settle("web")
    assert not report.retry


def test_what_changes_is_tried_at_once(place: Place, compat: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workload or a FilterDeployment that is another one since is not held to what failed before."""
    monkeypatch.setattr(retries, "FIRST", 60.0)
    policy = Policy()
    world = place.world
    world.workload("web")
    world.apply("web", compat.name, istio=VOLUME)
    place.guard(policy)

    def tries() -> int:
        before = policy.asked
        place.look("web")
        return policy.asked - before

    assert (tries(), tries()) == (1, 0)
    pod = {"metadata": {"annotations": {"example.com/allowed": "yes"}}}
    world.api.patch(world.deployment("web"), {"spec": {"template": pod}})
    assert (tries(), tries()) == (1, 0)
    world.apply("web", compat.name, istio=VOLUME, filter={"config": "moon"})
    assert (tries(), tries()) == (1, 0)
    for suspend in (True, False):
        world.api.patch(world.path("web"), {"spec": {"suspend": suspend}})
    assert (tries(), tries()) == (1, 0)


def test_one_of_several(place: Place, compat: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for pods is looked at as soon as ever where another workload failed, which is not tried for that."""
    monkeypatch.setattr(retries, "FIRST", 60.0)
    world = place.world
    world.nodes("n1")
    for name in ("one", "two"):
        world.workload(name, "n1", labels={"team": "a"})
    as_object = {"config": {"greeting": "hello"}}
    world.apply("auth", compat.name, {"team": "a"}, filter=as_object, istio={"provider": "WasmPlugin"})
    place.settle("auth")
    one, asked = place.mesh._changing.one, []

    def denied(look: Look, work: Applying, step: Step) -> Done:
        assert step.workload
        asked.append(step.workload.name)
        if step.workload.name == "two":
            raise ObjectRefused("a policy denied the request")
        return one(look, work, step)

    monkeypatch.setattr(place.mesh._changing, "one", denied)
    world.apply("auth", compat.name, {"team": "a"}, filter=as_object)
    report = place.settle("auth", until=lambda report: objects(report) == {"one": "Pending", "two": "Failed"})
    assert report.retry
    assert report.again is not None
    assert report.again <= 5
    for _ in range(3):
        assert objects(place.look("auth")) == {"one": "Pending", "two": "Failed"}
    assert asked.count("two") == 1
