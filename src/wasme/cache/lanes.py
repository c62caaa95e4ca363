"""Lanes: threads that pull, some for each registry, so that a slow or dead one holds up nobody but itself."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

Job = Callable[[], bool]
"""Work to do; returns whether the registry can be reached, which decides how many are sent there at once."""


class _Lane:
    def __init__(self) -> None:
        self.waiting: collections.deque[Job] = collections.deque()
        self.running = 0
        self.alive = True


class Lanes:
    """Runs jobs by registry; safe from threads.

    Args:
        width: jobs of one registry at a time, while it can be reached; one otherwise.
        idle: seconds that a thread without work stays.
    """

    def __init__(self, width: int = 8, idle: float = 5.0) -> None:
        self._width = width
        self._idle = idle
        self._lanes: dict[str, _Lane] = {}
        self._wake = threading.Condition()
        self._stopping = False

    def submit(self, name: str, job: Job) -> None:
        """Run ``job`` in the lane ``name``, after those that wait there."""
        with self._wake:
            if self._stopping:
                return
            lane = self._lanes.setdefault(name, _Lane())
            lane.waiting.append(job)
            self._widen(name, lane)
            self._wake.notify_all()

    def join(self, patience: float) -> None:
        """Wait until all jobs have ended, but no longer than ``patience`` seconds."""
        with self._wake:
            self._wake.wait_for(lambda: not any(lane.running for lane in self._lanes.values()), patience)

    def stop(self) -> None:
        """Begin nothing any more."""
        with self._wake:
            self._stopping = True
            for lane in self._lanes.values():
                lane.waiting.clear()
            self._wake.notify_all()

    def _widen(self, name: str, lane: _Lane) -> None:
        """More threads, if there is work for them."""
        for _ in range(min(len(lane.waiting), (self._width if lane.alive else 1) - lane.running)):
            lane.running += 1
            threading.Thread(target=self._work, args=(name, lane), name=f"lane {name}", daemon=True).start()

    def _work(self, name: str, lane: _Lane) -> None:
        while (job := self._next(name, lane)) is not None:
            alive = job()
            with self._wake:
                lane.alive = alive
                self._widen(name, lane)

    def _next(self, name: str, lane: _Lane) -> Job | None:
        with self._wake:
            too_many = not lane.alive and lane.running > 1
            if not lane.waiting and not too_many and not self._stopping:
                self._wake.wait_for(lambda: lane.waiting or self._stopping, self._idle)
            if self._stopping or too_many or not lane.waiting:
                lane.running -= 1
                if not lane.running and not lane.waiting:
                    self._lanes.pop(name, None)
                    self._wake.notify_all()
                return None
            return lane.waiting.popleft()
