"""Events that may be echoes of our own writes: held back for a moment, until the write itself has told.

The watch mostly tells of a write before the thread that sent it has read its answer. So a change that was made under
our name, or a deletion, which is under nobody's, waits for a third of a second. If it was ours, nobody is called.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from wasme.deploy.cluster.client import MANAGER
from wasme.operator.informers.store import Change
from wasme.operator.resources.wanted import Key

T = TypeVar("T")

PATIENCE = 0.3
"""Seconds in which a write is told by who made it."""


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """What is to be told of one object, and the events that are in it, of which each may be ours."""

    due: float
    change: Change[T]
    marks: set[str] = field(default_factory=set)


class Echoes(Generic[T]):
    """Tells changes, some of them a moment later, in a thread of its own.

    Args:
        tell: called with each change that is not an echo.
    """

    def __init__(self, tell: Callable[[Change[T]], None]) -> None:
        self._tell = tell
        self._changed = threading.Condition()
        self._waiting: dict[Key, _Waiting[T]] = {}
        self._thread: threading.Thread | None = None
        self._closed = False

    def tell(self, change: Change[T], mark: str, *, suspect: bool) -> None:
        """Tell a change, later if it may be an echo; together with what waits of the same object.

        Args:
            change: what happened.
            mark: by which a write of ours would be known: a resourceVersion, or ``gone UID``.
            suspect: it may be ours.
        """
        with self._changed:
            before = self._waiting.get(change.key)
            if before is not None:
                change = Change(change.key, before.change.before, change.after)
            if suspect and not self._closed:
                due = before.due if before else time.monotonic() + PATIENCE
                marks = before.marks if before else set()
                idle = not self._waiting
                self._waiting[change.key] = _Waiting(due, change, marks | {mark})
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="echoes", daemon=True)
                    self._thread.start()
                if idle:  # else it waits for one that is due before
                    self._changed.notify()
                return
            self._waiting.pop(change.key, None)
        self._tell(change)

    def ours(self, key: Key, mark: str) -> None:
        """That was us: it is told to nobody, where nothing else happened to the object."""
        with self._changed:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.marks.discard(mark)
                if not waiting.marks:
                    del self._waiting[key]

    def close(self) -> None:
        """Tell nothing more."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                # What comes later is due later, and what is told anew of an object keeps its place.
                first = next(iter(self._waiting.values()), None)
                left = None if first is None else first.due - time.monotonic()
                if first is None or (left is not None and left > 0):
                    self._changed.wait(left)
                    continue
                del self._waiting[first.change.key]
            self._tell(first.change)


def written_by_us(obj: Mapping[str, Any]) -> bool:
    """Whether the last who wrote an object did it under our name, as far as seconds can tell."""
    fields = [each for each in obj["metadata"].get("managedFields") or () if isinstance(each, dict)]
    last = max((str(each.get("time", "")) for each in fields), default="")
    return any(each.get("manager") == MANAGER and str(each.get("time", "")) == last for each in fields)
