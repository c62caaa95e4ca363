"""Echoes of own writes are told to nobody; all else is, soon, and together with what waits of the same object."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from wasme.operator.informers import echoes
from wasme.operator.informers.echoes import Echoes, written_by_us
from wasme.operator.informers.store import Change
from wasme.operator.resources.wanted import Key

A, B = Key("shop", "a"), Key("shop", "b")
Told = list[tuple[str, str | None, str | None]]


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def waiting(told: Told, monkeypatch: pytest.MonkeyPatch) -> Iterator[Echoes[str]]:
    monkeypatch.setattr(echoes, "PATIENCE", 1.0)
    made: Echoes[str] = Echoes(lambda change: told.append((change.key.name, change.before, change.after)))
    yield made
    made.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_is_ours_is_not_told(waiting: Echoes[str], told: Told) -> None:
    """An event that was suspected and is then known for ours calls nobody; the next one that is not does at once."""
    waiting.tell(Change(A, None, "1"), "1", suspect=True)
    waiting.tell(Change(A, "1", "2"), "2", suspect=True)
    waiting.ours(A, "2")
    waiting.ours(A, "1")
    time.sleep(1.3)
    assert told == []
    waiting.tell(Change(A, "2", "3"), "3", suspect=False)
    assert told == [("a", "2", "3")]


def test_what_nobody_claims_is_told(waiting: Echoes[str], told: Told) -> None:
    """Suspects that nobody claims are told after a moment, those of one object as one change, in their order."""
    began = time.monotonic()
    waiting.tell(Change(A, None, "1"), "1", suspect=True)
    waiting.tell(Change(B, "x", None), "gone u", suspect=True)
    waiting.tell(Change(A, "1", "2"), "2", suspect=True)
    waiting.ours(A, "2")
    assert told == []
    until(lambda: len(told) == 2)
    assert 0.99 < time.monotonic() - began < 10
    assert told == [("a", None, "2"), ("b", "x", None)]


def test_one_that_is_surely_not_ours_brings_the_others(waiting: Echoes[str], told: Told) -> None:
    """Somebody else's change is told at once, with what was before all that waited."""
    waiting.tell(Change(A, "0", "1"), "1", suspect=True)
    waiting.tell(Change(A, "1", "2"), "2", suspect=False)
    assert told == [("a", "0", "2")]
    time.sleep(1.3)
    assert len(told) == 1


def test_an_object_that_changes_all_the_time_is_told(waiting: Echoes[str], told: Told) -> None:
    """Suspects that come faster than the moment passes do not put one another off."""
    end = time.monotonic() + 30
    while time.monotonic() < end and len(told) < 4:
        for key in (A, B):
            waiting.tell(Change(key, "0", "1"), str(time.monotonic_ns()), suspect=True)
        time.sleep(0.01)
    assert {name for name, _, _ in told} == {"a", "b"}
    assert len(told) >= 4


def test_who_wrote_last() -> None:
    """The newest entries of managedFields tell whether an object was last written under our name."""

    def obj(*fields: tuple[str, str]) -> dict[str, object]:
        return {
            "metadata": {"managedFields": [{"manager": who, "time": f"2026-01-01T00:00:{at}Z"} for who, at in fields]}
        }

    assert written_by_us(obj(("kubectl", "01"), ("wasme", "02")))
    assert written_by_us(obj(("wasme", "02"), ("kubectl", "02")))
    assert not written_by_us(obj(("wasme", "01"), ("kubectl", "02")))
    assert not written_by_us({"metadata": {}})
