"""Workloads whose pod template somebody else resets again and again: each of our writes makes their pods anew."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from wasme.deploy.cluster.client import MANAGER
from wasme.operator.targets.mesh.shapes import Place

WINDOW = 300.0
"""Seconds in which writes are counted."""
MOST = 3
"""So many are made at once; each further one waits longer."""
FIRST = 30.0
LONGEST = 300.0


class Damping:
    """Counts. Safe to use from many threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[Place, tuple[str, list[float], float, int]] = {}

    def written(self, place: Place, marks: str) -> None:
        """Marks were written on a workload's pods; other marks than before begin anew."""
        now = self._clock()
        with self._lock:
            self._forget_old(now)
            known, times, until, level = self._written.pop(place, (marks, [], 0.0, 0))
            if known != marks:
                times, until = [], 0.0
            times = [*(each for each in times if now - each < WINDOW), now]
            again = until > 0 and now - until < WINDOW
            level = min(level + 1, 10) if again else 0
            if again or len(times) >= MOST:
                until = now + min(LONGEST, FIRST * 2.0**level)
            self._written[place] = (marks, times, until, level)

    def forget(self, place: Place) -> None:
        """Marks were taken away by ourselves: when they come again, nobody has reset them."""
        with self._lock:
            self._written.pop(place, None)

    def wait(self, place: Place, marks: str) -> float:
        """Seconds until these marks may be written again; 0 for now."""
        with self._lock:
            known, _, until, _ = self._written.get(place, ("", [], 0.0, 0))
            return max(0.0, until - self._clock()) if known == marks else 0.0

    def _forget_old(self, now: float) -> None:
        """Forget workloads whose last write is so long ago that it counts no more; they may be gone."""
        ordered = self._written.items()  # by their last write
        old = list(itertools.takewhile(lambda each: now - each[1][1][-1] >= LONGEST + WINDOW, ordered))
        for place, _ in old:
            del self._written[place]


def others(obj: Mapping[str, Any]) -> str:
    """Who wrote a workload's pod template last, beside us: the name of the field manager; "" for nobody known."""
    found = ""
    newest = ""
    for each in obj["metadata"].get("managedFields") or ():
        fields = each.get("fieldsV1") or {}
        if each.get("manager") == MANAGER or "f:template" not in (fields.get("f:spec") or {}):
            continue
        when = str(each.get("time", ""))
        if not found or when >= newest:
            found, newest = str(each.get("manager", "")), when
    return found
