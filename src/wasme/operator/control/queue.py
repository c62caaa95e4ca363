"""Which FilterDeployments are to be looked at, and when.

A key is in here once, however often it is called. One that is being worked on and is called again comes back when its
work is done, so no two workers ever have the same key and no call is lost. A key has one time at which it is due: the
earliest that anybody asked for. Taking it forgets that time, since whoever works on it decides anew.

Keys that are due stand in a line: one that comes back goes to its end, so a key that always fails or always changes
takes no turn from another.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable

from wasme.operator.backoff import backoff
from wasme.operator.resources.wanted import Key

FIRST = 0.5
"""Seconds until a key that failed once is tried again; twice as long after each further time."""
LONGEST = 300.0


class Queue:
    """Safe to use from many threads.

    Args:
        clock: seconds that only grow.
        chance: a number from 0 to 1, anew with each call; keys that failed together do not come back together.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._changed = threading.Condition()
        self._line: deque[Key] = deque()
        self._waiting: set[Key] = set()  # in the line, or due after the work that is under way
        self._working: set[Key] = set()
        self._due: dict[Key, float] = {}
        self._times: list[tuple[float, int, Key]] = []  # a heap; entries that _due does not name are over
        self._numbers = itertools.count()
        self._failures: dict[Key, int] = {}
        self._stopped = False
        self.added = 0
        self.retried = 0

    def add(self, key: Key) -> None:
        """The key is due now."""
        with self._changed:
            self._add(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """The key is due in some seconds, unless it is sooner already."""
        if seconds <= 0:
            self.add(key)
            return
        with self._changed:
            due = self._clock() + seconds
            if self._stopped or key in self._waiting or self._due.get(key, due + 1) <= due:
                return
            self._due[key] = due
            heapq.heappush(self._times, (due, next(self._numbers), key))
            if len(self._times) > 2 * len(self._due):
                # Most are over: keys that were called before their time.
                self._times = [(when, next(self._numbers), each) for each, when in self._due.items()]
                heapq.heapify(self._times)
            if self._times[0][2] == key:
                self._changed.notify()

    def retry(self, key: Key) -> float:
        """The key failed: it is due after a time that grows with each failure.

        Returns: seconds until then, from half a second to five minutes.
        """
        with self._changed:
            count = self._failures.get(key, 0)
            self._failures[key] = count + 1
            self.retried += 1
        seconds = backoff(count, FIRST, LONGEST) * (0.75 + 0.5 * self._chance())
        seconds = min(LONGEST, max(FIRST, seconds))
        self.add_after(key, seconds)
        return seconds

    def forget(self, key: Key) -> None:
        """The key did well: its next failure is its first."""
        with self._changed:
            self._failures.pop(key, None)

    def failures(self, key: Key) -> int:
        """How often the key failed since it last did well."""
        with self._changed:
            return self._failures.get(key, 0)

    def get(self, timeout: float | None = None) -> Key | None:
        """Take the first key that is due; ``done`` must follow.

        Args:
            timeout: seconds to wait for one; None for as long as it takes.

        Returns: None where the queue was stopped, or the time is over.
        """
        with self._changed:
            until = None if timeout is None else self._clock() + timeout
            while True:
                if self._stopped:
                    return None
                now = self._clock()
                self._move(now)
                if self._line:
                    key = self._line.popleft()
                    self._waiting.discard(key)
                    self._working.add(key)
                    self._due.pop(key, None)
                    if self._line:
                        self._changed.notify()
                    return key
                if until is not None and now >= until:
                    self._changed.notify()  # what this one was woken for is another's
                    return None
                times = [each for each in (self._next(), until) if each is not None]
                self._changed.wait(min(times) - now if times else None)

    def done(self, key: Key) -> None:
        """The work on a key is over; it is due now if it was called meanwhile."""
        with self._changed:
            self._working.discard(key)
            if key in self._waiting and not self._stopped:
                self._line.append(key)
                self._changed.notify()

    def stop(self) -> None:
        """Nobody gets anything any more, and who waits goes."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """How many keys are due and not worked on."""
        with self._changed:
            self._move(self._clock())
            return len(self._waiting)

    @property
    def delayed(self) -> int:
        """How many keys are due later."""
        with self._changed:
            return len(self._due)

    def _add(self, key: Key) -> None:
        if self._stopped or key in self._waiting:
            return
        self.added += 1
        self._waiting.add(key)
        self._due.pop(key, None)
        if key not in self._working:
            self._line.append(key)
            self._changed.notify()

    def _move(self, now: float) -> None:
        """Into the line with what is due by now."""
        while self._next() is not None and self._times[0][0] <= now:
            self._add(heapq.heappop(self._times)[2])

    def _next(self) -> float | None:
        """When the next key is due."""
        while self._times:
            due, _, key = self._times[0]
            if self._due.get(key) == due:
                return due
            heapq.heappop(self._times)
        return None
