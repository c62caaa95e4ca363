"""Somebody who resets a pod template: three writes at once, then one now and then, and a name."""

from __future__ import annotations

from wasme.operator.targets.mesh.damping import FIRST, LONGEST, WINDOW, Damping, others
from wasme.operator.targets.mesh.shapes import Place

PLACE = Place("Deployment", "shop", "web")


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_writes_become_seldom() -> None:
    """Three in five minutes go at once; each further one waits twice as long, up to five minutes."""
    clock = Clock()
    damping = Damping(clock)
    for _ in range(3):
        assert damping.wait(PLACE, "a") == 0
        damping.written(PLACE, "a")
        clock.now += 1
    waits = []
    for _ in range(6):
        waits.append(damping.wait(PLACE, "a"))
        clock.now += waits[-1]
        assert damping.wait(PLACE, "a") == 0
        damping.written(PLACE, "a")
    assert 25 < waits[0] < waits[1] < waits[2]
    assert waits[-1] == LONGEST


def test_other_marks_begin_anew() -> None:
    """Another image, or writes far apart, are nobody's fault."""
    clock = Clock()
    damping = Damping(clock)
    for marks in ("a", "b", "c", "d"):
        damping.written(PLACE, marks)
        assert damping.wait(PLACE, marks) == 0
    for _ in range(6):
        clock.now += 200
        damping.written(PLACE, "e")
    assert damping.wait(PLACE, "e") == 0


def test_our_own_removal_is_nobodys_reset() -> None:
    """What was forgotten is counted from nothing, also when it was already damped; others are counted on."""
    clock = Clock()
    damping = Damping(clock)
    other = Place("Deployment", "shop", "other")
    for _ in range(3):
        damping.written(PLACE, "a")
        damping.written(other, "a")
    assert damping.wait(PLACE, "a") > 0
    damping.forget(PLACE)
    damping.forget(PLACE)
    assert damping.wait(PLACE, "a") == 0
    damping.written(PLACE, "a")
    assert damping.wait(PLACE, "a") == 0
    assert damping.wait(other, "a") > 0


def test_workloads_that_come_and_go() -> None:
    """Of writes so long ago that they count no more nothing is remembered; of one that is damped all is."""
    clock = Clock()
    damping = Damping(clock)
    for number in range(100):
        damping.written(Place("Deployment", "shop", f"preview-{number}"), "a")
    clock.now += LONGEST
    for _ in range(3):
        damping.written(PLACE, "a")
    clock.now += WINDOW
    damping.written(Place("Deployment", "shop", "preview-0"), "a")
    assert len(damping._written) == 2
    damping.written(PLACE, "a")
    assert damping.wait(PLACE, "a") > FIRST, "it was not the first time"


def test_who_it_is() -> None:
    """The latest manager of the template that is not ours."""
    managed = [
        {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "argocd", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
        {"manager": "hpa", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {"manager": "wasme", "time": "2026-01-04T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
    ]
    assert others({"metadata": {"managedFields": managed}}) == "argocd"
    assert others({"metadata": {}}) == ""
