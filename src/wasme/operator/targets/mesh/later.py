"""What is put off: places that could not be tidied, and litter that may be the beginning of somebody's work."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable

from wasme.deploy.istio.annotations import BACKUP, USER_VOLUME, USER_VOLUME_MOUNT
from wasme.deploy.istio.workloads import Workload
from wasme.operator.backoff import backoff
from wasme.operator.targets.mesh.shapes import Place

SETTLING = 10.0
"""Seconds for which marks that nothing needs must lie before they are litter: ``wasme deploy`` writes them first, and
the object that needs them a moment later."""
FIRST = 5.0
LONGEST = 300.0
_MOST = 10_000
_OURS = ("wasme.io/", BACKUP)
_VOLUMES = (USER_VOLUME, USER_VOLUME_MOUNT)


class Later:
    """Places of which each is tried again alone, the more seldom the more often it failed. Safe to use from many
    threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[str, dict[Place, float]] = {}
        self._failures: dict[Place, int] = {}

    def add(self, places: Iterable[Place], after: float = 0.0) -> None:
        """These are to be tried, after some seconds."""
        with self._lock:
            for each in places:
                self._due.setdefault(each.namespace, {})[each] = self._clock() + after

    def take(self, namespace: str, only: Place | None = None) -> list[Place]:
        """Those of a namespace that are due; each is given to one caller only.

        Args:
            only: no others than this.
        """
        with self._lock:
            waiting = self._due.get(namespace, {})
            due = sorted(each for each, at in waiting.items() if at <= self._clock() and only in (None, each))
            for each in due:
                del waiting[each]
            if not waiting:
                self._due.pop(namespace, None)
            return due

    def failed(self, place: Place) -> float:
        """It did not go: it is due again after the seconds that are returned."""
        with self._lock:
            count = self._failures.get(place, 0)
            self._failures[place] = count + 1
            seconds = backoff(count, FIRST, LONGEST) * (0.75 + 0.25 * random.random())  # noqa: S311
            self._due.setdefault(place.namespace, {})[place] = self._clock() + seconds
            return seconds

    def went(self, place: Place) -> None:
        """It is as it should be."""
        with self._lock:
            self._failures.pop(place, None)


class Litter:
    """Marks that nothing needs, and since when they lie there. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[Place, tuple[Hashable, float]] = {}

    def lies(self, workload: Workload, *, found: bool) -> bool:
        """Whether a pod template has litter that has lain there long enough.

        Args:
            workload: as it is now; with other marks it is another find, however many pods it has.
            found: whether it has marks that nothing needs now.
        """
        place = Place(workload.kind.kind, workload.namespace, workload.name)
        shown = (workload.uid, _marks(workload))
        now = self._clock()
        with self._lock:
            before = self._seen.get(place)
            if not found:
                self._seen.pop(place, None)
                return False
            if before is None or before[0] != shown:
                if len(self._seen) >= _MOST:
                    self._seen.clear()
                self._seen[place] = (shown, now)
                return False
            return now - before[1] >= SETTLING

    def forget(self, place: Place) -> None:
        """There is none any more."""
        with self._lock:
            self._seen.pop(place, None)

    def left(self, place: Place) -> float | None:
        """Seconds until what may be litter at a place has lain there long enough; None for nothing to wait for."""
        with self._lock:
            seen = self._seen.get(place)
        seconds = seen[1] + SETTLING - self._clock() if seen is not None else 0.0
        return seconds if seconds > 0 else None

    def waits(self, namespace: str) -> float | None:
        """The same for the first of a namespace's places."""
        with self._lock:
            places = [each for each in self._seen if each.namespace == namespace]
        return min((left for each in places if (left := self.left(each)) is not None), default=None)


def _marks(workload: Workload) -> Hashable:
    """What may be ours of a pod template."""
    labels, annotations = workload.template_labels, workload.template_annotations
    kept = {key: value for key, value in labels.items() if key.startswith(_OURS)}
    kept |= {key: value for key, value in annotations.items() if key.startswith(_OURS) or key in _VOLUMES}
    return tuple(sorted(kept.items()))
