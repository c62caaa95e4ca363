"""Changes that failed: twice as long each time, up to five minutes, and anew with anything else that is wanted."""

from __future__ import annotations

import pytest

from tests.unit.operator.test_mesh_damping import Clock
from wasme.errors import ObjectRefused
from wasme.operator.targets.mesh import retries as module
from wasme.operator.targets.mesh.retries import Retries

DENIED = ObjectRefused("denied by a policy")


def test_retries_become_seldom() -> None:
    """The first comes after half a second, each further one after twice as long, none later than after five minutes."""
    clock = Clock()
    retries = Retries(clock, chance=lambda: 1.0)
    assert retries.resting("web", "a") is None
    waits = []
    for _ in range(13):
        retries.failed("web", "a", DENIED)
        found = retries.resting("web", "a")
        assert found is not None
        assert found[0] is DENIED
        waits.append(found[1])
        clock.now += found[1]
        assert retries.resting("web", "a") is None
    assert waits[:3] == pytest.approx([0.5, 1.0, 2.0])
    assert waits[-2:] == pytest.approx([300.0, 300.0])


def test_they_are_spread() -> None:
    """Those that failed together come back apart, and never after more than five minutes."""
    clock = Clock()
    early, late = Retries(clock, chance=lambda: 0.0), Retries(clock, chance=lambda: 1.0)
    for _ in range(12):
        early.failed("web", "a", DENIED)
        late.failed("web", "a", DENIED)
    first, last = early.resting("web", "a"), late.resting("web", "a")
    assert first is not None
    assert last is not None
    assert first[1] == pytest.approx(225.0)
    assert last[1] == pytest.approx(300.0)


def test_another_change_begins_anew() -> None:
    """What was not tried yet rests for nothing that failed before, and its failure is its first; so is one after a
    success. Other places are on their own."""
    clock = Clock()
    retries = Retries(clock, chance=lambda: 1.0)
    for _ in range(8):
        retries.failed("web", "a", DENIED)
    assert retries.resting("web", "b") is None
    assert retries.resting("api", "a") is None
    retries.failed("web", "b", DENIED)
    found = retries.resting("web", "b")
    assert found is not None
    assert found[1] == pytest.approx(0.5)
    assert retries.last("web") == clock.now
    retries.went("web")
    assert retries.resting("web", "b") is None
    assert retries.last("web") == 0.0


def test_they_take_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed at places that are gone is not kept for ever."""
    monkeypatch.setattr(module, "_MOST", 10)
    retries = Retries()
    for number in range(25):
        retries.failed(number, "a", DENIED)
    assert sum(retries.last(number) > 0 for number in range(25)) <= 10
    assert retries.last(24) > 0
