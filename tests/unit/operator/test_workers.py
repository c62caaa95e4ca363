"""Workers: what a look says decides when the key comes back, and what one raises is that key's alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from wasme.errors import DeployFailed, LeadershipLost
from wasme.operator.control import workers as module
from wasme.operator.control.queue import Queue
from wasme.operator.control.workers import Looked, Workers
from wasme.operator.resources.wanted import Key

GOOD, BAD, BUG, LOST, GONE, SOON, POOR = (
    Key("shop", name) for name in ("good", "bad", "bug", "lost", "gone", "soon", "poor")
)


class Scene:
    """Workers whose looks are counted."""

    def __init__(self) -> None:
        self.seen: list[Key] = []
        self.noted: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.queue = Queue()
        self.workers = Workers(self.queue, self.look, 3, lambda result, _: self.noted.append(result))
        self.workers.start()

    def look(self, key: Key) -> Looked:
        self.seen.append(key)
        self.hold.wait(60)
        if key == BAD:
            raise DeployFailed("no")
        if key == BUG:
            raise KeyError("a bug")
        if key == LOST:
            raise LeadershipLost("another works")
        if key == GONE:
            return Looked("gone")
        if key == POOR:
            return Looked("failed", 0.05)
        return Looked("waiting", 0.05) if key == SOON else Looked()

    def until(self, count: int, key: Key) -> bool:
        end = time.monotonic() + 30
        while self.seen.count(key) < count and time.monotonic() < end:
            time.sleep(0.01)
        return self.seen.count(key) >= count


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Three workers."""
    made = Scene()
    yield made
    made.hold.set()
    assert made.workers.stop(30)


def test_failures_are_their_own(scene: Scene) -> None:
    """An error, a bug and a lost lease of some keys: they come again, and another key is looked at meanwhile."""
    for key in (BAD, BUG, LOST, GOOD):
        scene.queue.add(key)
    assert scene.until(1, GOOD)
    for key in (BAD, BUG, LOST):
        assert scene.until(2, key)
        assert scene.queue.failures(key) >= 1
    assert scene.seen.count(GOOD) == 1
    assert scene.workers.wrong() == ""
    assert {"ok", "failed"} == set(scene.noted)


def test_again(scene: Scene) -> None:
    """Who says when comes back then; others after ten minutes; who is gone never does."""
    for key in (GONE, GOOD):
        scene.queue.add(key)
        assert scene.until(1, key)
    end = time.monotonic() + 30
    while sorted(scene.noted) != ["gone", "ok"] and time.monotonic() < end:
        time.sleep(0.01)
    while not scene.queue.delayed and time.monotonic() < end:
        time.sleep(0.01)
    assert (scene.queue.delayed, len(scene.queue)) == (1, 0)  # GOOD alone
    scene.queue.add(SOON)
    assert scene.until(3, SOON)
    assert scene.seen.count(GOOD) == scene.seen.count(GONE) == 1


def test_what_fails_and_waits(scene: Scene) -> None:
    """Who failed, and says when, comes back then, though the patience of failures has grown beyond it."""
    scene.queue.add(POOR)
    began = time.monotonic()
    assert scene.until(8, POOR)
    assert time.monotonic() - began < 20  # by the patience of failures it would be more than a minute


def test_stuck(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes too long is told, with its key."""
    scene.hold.clear()
    scene.queue.add(GOOD)
    assert scene.until(1, GOOD)
    assert scene.workers.wrong() == ""
    monkeypatch.setattr(module, "STUCK", 0.0)
    assert "shop/good" in scene.workers.wrong()
    assert not scene.workers.stop(0.05), "it is still under way"
