"""Filters by hand in the very moment in which the operator takes the last other one from a workload."""

from __future__ import annotations

import copy
import threading
import time
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.places import Place
from wasme.operator.targets.mesh import meanwhile


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meanwhile, "WATCHED", 3.0)  # the place's watches are of 0.5 s


def test_a_filter_by_hand_gets_the_folder_back(place: Place, image: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its object is stored after the operator has looked and before it takes the folder from the pod template, and the
    templates were looked at before that: the operator looks once more, and puts the folder back as it was."""
    world = place.world
    world.workload("web")
    world.apply("auth", image.name, {"app": "web"})
    place.settle("auth")
    before = world.template("web")
    name = world.carrier("web", "auth")
    by_hand: dict[str, Any] = copy.deepcopy(world.filters()[name])
    by_hand["metadata"] = {"name": "web-hand", "namespace": world.namespace, "labels": {"team": "x"}}
    made, seen, put_back = threading.Event(), threading.Event(), meanwhile.put_back

    def later(*args: Any) -> object:
        return seen.wait(60) and put_back(*args)

    monkeypatch.setattr(meanwhile, "put_back", later)

    def deploy_by_hand() -> None:
        if not world.filters() and not made.is_set():  # the object went, and the pod template is next
            made.set()
            world.api.create(by_hand)

    place.guard(deploy_by_hand)
    place.remove("auth")
    assert made.is_set()
    assert "annotations" not in world.template("web")
    seen.set()
    wait_until(lambda: world.template("web") == before, 30, lambda: f"{world.template('web')} is not {before}")
    assert set(world.filters()) == {"web-hand"}


def test_the_last_filter_goes_for_good(
    place: Place, image: Pushed, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody has come meanwhile, the other look costs no request, and its thread ends."""
    marked, look = threading.Event(), meanwhile.Meanwhile._look
    looked: list[object] = []

    def later(self: meanwhile.Meanwhile, *about: Any) -> None:
        marked.wait(60)
        look(self, *about)
        looked.append(about)

    monkeypatch.setattr(meanwhile.Meanwhile, "_look", later)
    world = place.world
    world.workload("web")
    world.apply("auth", image.name, {"app": "web"})
    place.settle("auth")
    place.remove("auth")
    mark = control_plane.mark()
    threads = [each for each in threading.enumerate() if each.name == "meanwhile"]
    assert threads
    marked.set()
    for each in threads:
        each.join(30)
        assert not each.is_alive()
    assert looked
    assert place.requests(mark) == []
    assert "annotations" not in world.template("web")


def test_it_ends_with_the_term(place: Place, image: Pushed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leads no more looks no more."""
    monkeypatch.setattr(meanwhile, "WATCHED", 60.0)
    world = place.world
    world.workload("web")
    world.apply("auth", image.name, {"app": "web"})
    place.settle("auth")
    place.remove("auth")
    begun = time.monotonic()
    place.mesh.close()
    for each in [each for each in threading.enumerate() if each.name == "meanwhile"]:
        each.join(30)
        assert not each.is_alive()
    assert time.monotonic() - begun < 20
