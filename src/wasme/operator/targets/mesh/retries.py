"""Changes that failed: each is tried again by itself, the more seldom the more often it failed, whoever looks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable
from typing import NamedTuple

from wasme.errors import WasmeError
from wasme.operator.backoff import backoff

FIRST = 0.5
"""Seconds until a change that failed once is tried again; twice as long after each further time."""
LONGEST = 300.0
_MOST = 10_000


class _Failure(NamedTuple):
    """What failed last at a place.

    Attributes:
        change: what was to be written, and over what.
        times: how often that failed.
        at: when it did last, of the clock.
        until: when it may be tried again, of the clock.
        error: why it failed.
    """

    change: Hashable
    times: int
    at: float
    until: float
    error: WasmeError


class Retries:
    """Counts failures. Safe to use from many threads.

    Args:
        clock: seconds that only grow.
        chance: a number from 0 to 1, anew with each call; changes that failed together do not come back together.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._lock = threading.Lock()
        self._failures: dict[Hashable, _Failure] = {}

    def failed(self, place: Hashable, change: Hashable, error: WasmeError) -> None:
        """A change was tried and failed; another one than that which failed before is its place's first."""
        now = self._clock()
        with self._lock:
            before = self._failures.get(place)
            if before is None and len(self._failures) >= _MOST:
                self._failures.clear()
            times = before.times + 1 if before is not None and before.change == change else 1
            seconds = backoff(times - 1, FIRST, LONGEST) * (0.75 + 0.25 * self._chance())
            self._failures[place] = _Failure(change, times, now, now + seconds, error)

    def went(self, place: Hashable) -> None:
        """A change was made: the next failure there is the first."""
        with self._lock:
            self._failures.pop(place, None)

    def resting(self, place: Hashable, change: Hashable) -> tuple[WasmeError, float] | None:
        """Why a change failed that is not to be tried yet, and the seconds until then; None for one that is due."""
        with self._lock:
            found = self._failures.get(place)
        if found is None or found.change != change:
            return None
        seconds = found.until - self._clock()
        return (found.error, seconds) if seconds > 0 else None

    def last(self, place: Hashable) -> float:
        """When a place failed last, of the clock; 0 for one that did not."""
        with self._lock:
            found = self._failures.get(place)
        return found.at if found is not None else 0.0
