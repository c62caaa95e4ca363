"""An operator that dies between two of its writes, each of them in turn: the next one finds the rest."""

from __future__ import annotations

import pytest

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.places import Place, objects
from wasme.errors import LeadershipLost

LABELS = {"team": "a"}


class Killed:
    """Lets some writes through, and none after."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.refused = False

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.refused = True
            raise LeadershipLost("it was killed here")


def dying(place: Place, writes: int, act: str) -> bool:
    """Do something as an operator that dies after so many writes; whether it did die."""
    killed = Killed(writes)
    place.guard(killed)
    try:
        if act == "remove":
            place.mesh.remove(place.key("auth"), f"auth.{place.world.namespace}")
        else:
            wanted = place.wanted("auth")
            place.mesh.reconcile(wanted, place.image(wanted.image.reference))
    except LeadershipLost:
        pass
    place.again()
    place.caught_up()
    return killed.refused


@pytest.mark.parametrize("mode", ["DaemonSet", "ImageVolume"])
def test_removing(place: Place, image: Pushed, compat: Pushed, mode: str) -> None:
    """Nothing is left over, at whatever write of a removal it died."""
    world = place.world
    found = compat if mode == "ImageVolume" else image
    for name in ("one", "two"):
        world.workload(name, labels=LABELS)
    for writes in range(30):
        world.apply("auth", found.name, LABELS, istio={"cache": {"mode": mode}})
        place.settle("auth")
        died = dying(place, writes, "remove")
        place.remove("auth")
        wait_until(lambda: not world.leftovers(), 30, lambda writes=writes: f"{writes}: {world.leftovers()}")  # type: ignore[misc]
        if not died:
            assert writes >= 4
            return
    pytest.fail("it never came to an end")


@pytest.mark.parametrize("mode", ["DaemonSet", "ImageVolume"])
def test_taking_strays(place: Place, image: Pushed, compat: Pushed, mode: str) -> None:
    """A workload that is not meant any more loses all, at whatever write it died; the other keeps all."""
    world = place.world
    found = compat if mode == "ImageVolume" else image
    for name in ("one", "two"):
        world.workload(name, labels=LABELS)
    for writes in range(30):
        world.api.patch(world.deployment("two"), {"metadata": {"labels": LABELS}})
        world.apply("auth", found.name, LABELS, istio={"cache": {"mode": mode}})
        place.settle("auth", until=lambda report: report.programmed and len(report.targets) == 2)
        world.api.patch(world.deployment("two"), {"metadata": {"labels": {"team": "b"}}})
        place.caught_up()
        died = dying(place, writes, "reconcile")
        report = place.settle("auth", until=lambda report: report.programmed and set(objects(report)) == {"one"})
        if "annotations" in world.template("two"):
            assert report.again, "nobody would look again"
            place.settle("auth", until=lambda _: "annotations" not in world.template("two"))
        assert set(world.filters()) == {world.carrier("one", "auth")}
        if not died:
            assert writes >= 2
            return
    pytest.fail("it never came to an end")


def test_a_change_of_kind(place: Place, compat: Pushed) -> None:
    """From an EnvoyFilter with a file to a WasmPlugin and back: in the end there is one object, and the volume where it
    is needed, at whatever write it died."""
    world = place.world
    world.workload("one", labels=LABELS)
    as_object = {"config": {"greeting": "hello"}}
    for writes in range(30):
        world.apply("auth", compat.name, LABELS, filter=as_object)
        place.settle("auth")
        assert (len(world.filters()), len(world.filters("wasmplugins"))) == (1, 0), writes
        world.apply("auth", compat.name, LABELS, istio={"provider": "WasmPlugin"}, filter=as_object)
        died = dying(place, writes, "reconcile")
        report = place.settle("auth")
        assert (len(world.filters()), len(world.filters("wasmplugins"))) == (0, 1), writes
        if "annotations" in world.template("one"):
            assert report.again, "nobody would look again"
            place.settle("auth", until=lambda _: "annotations" not in world.template("one"))
        wait_until(lambda: not world.cache().get("filters"), 30, "the nodes go on holding the module")
        if not died:
            return
    pytest.fail("it never came to an end")
