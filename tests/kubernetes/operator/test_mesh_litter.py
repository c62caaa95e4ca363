"""Marks that nothing needs, as a mesh finds them on pod templates: how long somebody waits for them."""

from __future__ import annotations

import time

import pytest

from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.places import Place
from wasme.operator.targets.mesh import later


def test_what_is_taken_is_waited_for_no_more(place: Place, image: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks of the FilterDeployment's own workload, whose object somebody took, go at once; nobody waits for them,
    neither as they were found nor because taking them made another generation."""
    monkeypatch.setattr(later, "SETTLING", 60.0)
    world = place.world
    world.workload("web")
    world.apply("web", image.name)
    place.settle("web")
    target = {"provider": "istio", "kind": "Deployment", "namespace": world.namespace, "name": "web"}
    status = {"status": {"targets": [{**target, "state": "Succeeded"}]}}
    world.api.patch(f"{world.path('web')}/status", status)
    place.wanted("web")
    world.api.delete(world.envoy_filter(world.carrier("web", "web")))
    place.again()
    place.caught_up()
    place.remove("web", seconds=40)
    assert world.leftovers() == []


def test_what_is_left_of_the_time(place: Place, image: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look asks for what is left of the seconds, and scaling the workload begins no others."""
    monkeypatch.setattr(later, "SETTLING", 60.0)
    world = place.world
    for name in ("web", "old"):
        world.workload(name)
        world.apply(name, image.name)
        place.settle(name)
    world.api.patch(world.path("old"), {"metadata": {"finalizers": None}})
    world.api.delete(world.path("old"))
    world.api.delete(world.envoy_filter(world.carrier("old", "old")))
    place.again()
    first = place.look("web").again
    assert first is not None
    time.sleep(1)
    world.api.patch(world.deployment("old"), {"spec": {"replicas": 3}})
    second = place.look("web").again
    assert second is not None
    assert second <= first - 1
    report = place.mesh.remove(place.key("web"), f"web.{world.namespace}")
    assert report.targets
    assert report.again is not None
    assert report.again <= first - 1
