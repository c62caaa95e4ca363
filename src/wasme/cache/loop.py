"""The one thread that decides: calls from other threads and timers, one after the other, so state needs no locks."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

Call = Callable[[], object]
_LONGEST_SLEEP = 5.0
_LATE_AFTER, _DEAD_AFTER = 8.0, 30.0


class Loop:
    """Runs calls in order.

    Args:
        settle: called after each batch of them.
    """

    def __init__(self, settle: Call) -> None:
        self._settle = settle
        self._inbox: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = itertools.count()
        self._stopping = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="loop", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def call(self, call: Call) -> None:
        """Run it soon; from any thread."""
        self._inbox.put(call)

    def later(self, seconds: float, call: Call) -> None:
        """Run it after a time; from the loop's own thread, or before it starts."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call))

    @property
    def alive(self) -> bool:
        """Whether it still comes round."""
        return self._thread.is_alive() and time.monotonic() - self._beat < _DEAD_AFTER

    @property
    def prompt(self) -> bool:
        """Whether it has come round just now: one that hangs on a disk would not notice what it must tell."""
        return self._thread.is_alive() and time.monotonic() - self._beat < _LATE_AFTER

    def stop(self, patience: float) -> None:
        """End after what is there to do, and wait for that, but no longer than ``patience`` seconds."""

        def end() -> None:
            self._stopping = True

        self.call(end)
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._stopping:
            self._beat = now = time.monotonic()
            wait = min(_LONGEST_SLEEP, max(0.0, self._timers[0][0] - now)) if self._timers else _LONGEST_SLEEP
            ran = False
            try:
                call: Call | None = self._inbox.get(timeout=wait)
            except queue.Empty:
                call = None
            while call is not None:
                ran = True
                self._guarded(call)
                try:
                    call = self._inbox.get_nowait()
                except queue.Empty:
                    call = None
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                ran = True
                self._guarded(heapq.heappop(self._timers)[2])
            if ran:
                self._guarded(self._settle)

    @staticmethod
    def _guarded(call: Call) -> None:
        """A fault in one call must not end the agent of a node; it is a bug, and told as one."""
        try:
            call()
        except Exception:
            log.exception("a bug in wasme: the cache goes on without this step")
