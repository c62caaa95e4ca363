"""The queue: each key once, at its time, in turn."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from wasme.operator.control.queue import FIRST, LONGEST, Queue
from wasme.operator.resources.wanted import Key

A, B, C = (Key("shop", name) for name in "abc")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The test's own time."""
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue:
    """A queue in the test's own time, whose jitter is none."""
    return Queue(clock, lambda: 0.5)


def due(queue: Queue) -> list[Key]:
    """Take all that is due, and do it."""
    taken = []
    while (key := queue.get(timeout=0)) is not None:
        taken.append(key)
        queue.done(key)
    return taken


def test_each_once(queue: Queue) -> None:
    """A key that is called five times is worked on once, and keys come in the order of their first call."""
    for key in (A, B, A, A, C, B, A):
        queue.add(key)
    assert len(queue) == 3
    assert due(queue) == [A, B, C]
    assert len(queue) == 0


def test_called_while_worked_on(queue: Queue) -> None:
    """A key that is called during its work is given to nobody else, and comes back afterwards."""
    queue.add(A)
    assert queue.get(timeout=0) == A
    queue.add(A)
    queue.add(A)
    assert queue.get(timeout=0) is None
    queue.done(A)
    assert due(queue) == [A]


def test_later(queue: Queue, clock: Clock) -> None:
    """A delayed key comes at its time, once, however many delays were asked for: the earliest counts."""
    queue.add_after(A, 10)
    queue.add_after(A, 5)
    queue.add_after(A, 20)
    clock.now += 4.9
    assert due(queue) == []
    clock.now += 0.1
    assert due(queue) == [A]
    clock.now += 100
    assert due(queue) == []


def test_now_instead_of_later(queue: Queue, clock: Clock) -> None:
    """Who works on a key decides anew when it is due: an old delay does not call it once more."""
    queue.add_after(A, 5)
    queue.add(A)
    assert due(queue) == [A]
    clock.now += 60
    assert due(queue) == []


def test_delay_during_work(queue: Queue, clock: Clock) -> None:
    """A delay that is asked for during the work is kept."""
    queue.add(A)
    assert queue.get(timeout=0) == A
    queue.add_after(A, 2)
    clock.now += 3
    assert queue.get(timeout=0) is None  # still worked on
    queue.done(A)
    assert due(queue) == [A]


def test_back_off(queue: Queue, clock: Clock) -> None:
    """Each failure doubles the wait from half a second to five minutes; doing well once begins anew."""
    waits = []
    for _ in range(14):
        waits.append(queue.retry(A))
        clock.now += waits[-1]
        assert due(queue) == [A]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST
    assert waits == sorted(waits)
    assert queue.failures(A) == 14
    queue.forget(A)
    assert queue.retry(A) == FIRST
    assert queue.retry(B) == FIRST


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_jitter(clock: Clock, chance: float) -> None:
    """Waits differ by chance, and stay within half a second and five minutes."""
    queue = Queue(clock, lambda: chance)
    waits = [queue.retry(A) for _ in range(20)]
    assert waits[3] == pytest.approx(4.0 * (0.75 + 0.5 * chance))
    assert min(waits) >= FIRST
    assert max(waits) <= LONGEST


def test_fair(queue: Queue) -> None:
    """A key that is called again and again during its work waits its turn behind the others."""
    for key in (A, B, C):
        queue.add(key)
    seen = []
    for _ in range(6):
        key = queue.get(timeout=0)
        assert key is not None
        queue.add(key)
        queue.done(key)
        seen.append(key)
    assert seen == [A, B, C, A, B, C]


def test_stop_wakes_who_waits() -> None:
    """Workers that wait for a key go at once when the queue stops, and adds after that are nothing."""
    queue = Queue()
    queue.add_after(A, 60)
    got: list[Key | None] = []
    threads = [threading.Thread(target=lambda: got.append(queue.get())) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    begin = time.monotonic()
    queue.stop()
    for thread in threads:
        thread.join(30)
    assert got == [None] * 4
    assert time.monotonic() - begin < 20
    queue.add(B)
    assert queue.get() is None


def test_nobody_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for a key is woken by time or by a call, and does not look in between."""
    queue = Queue()
    moves = 0
    original = queue._move

    def counted(now: float) -> None:
        nonlocal moves
        moves += 1
        original(now)

    monkeypatch.setattr(queue, "_move", counted)
    queue.add_after(A, 0.4)
    begin = time.monotonic()
    assert queue.get() == A
    assert 0.39 < time.monotonic() - begin < 10
    assert moves <= 4


def test_many_threads() -> None:
    """Eight workers and four callers: no key is worked on twice at a time, none is lost, the last call is seen."""
    queue = Queue()
    keys = [Key("shop", str(number)) for number in range(50)]
    lock = threading.Lock()
    value: Counter[Key] = Counter()
    seen: dict[Key, int] = {}
    busy: set[Key] = set()
    wrong: list[Key] = []

    def work() -> None:
        while (key := queue.get()) is not None:
            with lock:
                if key in busy:
                    wrong.append(key)
                busy.add(key)
                looked = value[key]
            time.sleep(0.0005)
            with lock:
                seen[key] = looked
                busy.discard(key)
            queue.done(key)

    def call(seed: int) -> None:
        for turn in range(300):
            key = keys[(turn * 7 + seed * 13) % len(keys)]
            with lock:
                value[key] += 1
            if turn % 5:
                queue.add(key)
            else:
                queue.add_after(key, 0.01)

    workers = [threading.Thread(target=work) for _ in range(8)]
    callers = [threading.Thread(target=call, args=(seed,)) for seed in range(4)]
    for thread in (*workers, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    deadline = time.monotonic() + 60
    while seen != dict(value) and time.monotonic() < deadline:
        time.sleep(0.01)
    queue.stop()
    for thread in workers:
        thread.join(5)
    assert wrong == []
    assert seen == dict(value)


def test_times_that_are_over_are_forgotten(clock: Clock, queue: Queue) -> None:
    """Keys that are called again and again before their time, for months, take the room of their last time only."""
    for turn in range(1000):
        for key in (A, B, C):
            queue.add_after(key, 600.0 - turn / 10)
    assert len(queue._times) <= 2 * 3 + 1
    assert due(queue) == []
    for _ in range(1000):
        queue.add_after(A, 600.0)
        queue.add(A)
        assert due(queue) == [A]
    assert len(queue._times) <= 2 * 3 + 1
    clock.now += 601
    assert due(queue) == [B, C]
