"""Lanes: who waits for whom."""

from __future__ import annotations

import threading

from tests.fixtures.agents import soon
from wasme.cache.lanes import Lanes


def test_lanes_are_apart() -> None:
    """A lane full of jobs that do not end holds up no other."""
    lanes, gate, done = Lanes(width=2), threading.Event(), threading.Event()
    for _ in range(10):
        lanes.submit("slow", lambda: gate.wait(60))
    lanes.submit("quick", lambda: done.set() or True)
    assert done.wait(30)
    gate.set()
    lanes.stop()


def test_width() -> None:
    """So many jobs of a lane run at once and no more; after a failure one at a time, after a success all again."""
    lanes, lock, opened = Lanes(width=3), threading.Lock(), threading.Semaphore(0)
    running = 0
    alive = True

    def job() -> bool:
        nonlocal running
        with lock:
            running += 1
        opened.acquire(timeout=90)
        with lock:
            running -= 1
        return alive

    for _ in range(12):
        lanes.submit("a", job)
    assert soon(lambda: running == 3)
    alive = False
    for _ in range(6):
        opened.release()
    assert soon(lambda: running == 1)
    assert not soon(lambda: running > 1, 0.2)
    alive = True
    opened.release()
    assert soon(lambda: running == 3)
    assert not soon(lambda: running > 3, 0.2)
    opened.release(12)
    lanes.stop()


def test_stop() -> None:
    """After the end nothing begins."""
    lanes, begun = Lanes(), threading.Event()
    lanes.stop()
    lanes.submit("a", lambda: begun.set() or True)
    assert not begun.wait(0.1)
