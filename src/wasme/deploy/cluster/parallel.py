"""Many pieces of work at once: bounded, all run, failures told together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from wasme.errors import DeployFailed, WasmeError

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

BOUND = 16
TOLD = 20  # failures that one message names


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Item, Result]):
    """How one piece of work ended: with a result, or with an error."""

    item: Item
    result: Result | None = None
    error: WasmeError | None = None


@dataclass(frozen=True, slots=True)
class Outcomes(Generic[Item, Result]):
    """How all of them ended, in the order of the items."""

    all: tuple[Outcome[Item, Result], ...]

    @property
    def failures(self) -> tuple[Outcome[Item, Result], ...]:
        """Those that ended with an error."""
        return tuple(each for each in self.all if each.error is not None)

    @property
    def results(self) -> list[Result]:
        """The results of those that did not fail; ``None`` results included."""
        return [each.result for each in self.all if each.error is None]  # type: ignore[misc]

    def __iter__(self) -> Iterator[Outcome[Item, Result]]:
        return iter(self.all)

    def require(self, name: Callable[[Item], str] = str, doing: str = "") -> list[Result]:
        """The results, if nothing failed.

        Args:
            name: what a message calls an item.
            doing: what the work was: ``deploying the filter auth``.

        Raises:
            WasmeError: the one failure of one item, as it is.
            DeployFailed: some of several items failed; the message gives the reasons, one that many share once;
                the log all of them, with every item.
        """
        failed = self.failures
        if not failed:
            return self.results
        first = failed[0].error
        assert first is not None
        if len(self.all) == 1:
            raise first
        reasons: dict[str, list[str]] = {}
        for each in failed:
            item, message = name(each.item), each.error.message if each.error else ""
            # Reasons differ in the object's name only where one cause stopped many.
            reasons.setdefault(message.replace(item, "…"), []).append(item)
        for reason, items in reasons.items():
            log.warning("failed", extra={"fields": {"objects": ", ".join(items), "reason": reason}})
        told = [f"{_names(items)}: {reason}" for reason, items in list(reasons.items())[:TOLD]]
        if len(reasons) > TOLD:
            told.append(f"and {len(reasons) - TOLD} other reasons")
        start = f"{doing}: " if doing else ""
        raise DeployFailed(
            f"{start}{len(failed)} of {len(self.all)} failed: {'; '.join(told)}",
            hint=first.hint if len(reasons) == 1 else "the others are done; run it again when the reasons are gone",
        ) from first


def parallel(work: Callable[[Item], Result], items: Iterable[Item], bound: int = BOUND) -> Outcomes[Item, Result]:
    """Do the work for every item, ``bound`` at a time; one failure stops no other.

    Ctrl-C (any exception in the waiting thread) leaves at once: what was not begun is not begun, and what runs is not
    waited for. An exception of the work that is no ``WasmeError`` is a fault of the program: it is raised when the
    running pieces have ended, and nothing more is begun.

    Args:
        work: called from several threads.
        items: what to call it with.
        bound: how many at a time.
    """
    todo = list(items)
    outcomes: list[Outcome[Item, Result] | None] = [None] * len(todo)
    if len(todo) <= 1 or bound <= 1:
        return Outcomes(tuple(_one(work, each) for each in todo))
    queue: SimpleQueue[int] = SimpleQueue()
    for number in range(len(todo)):
        queue.put(number)
    stop = threading.Event()
    faults: list[BaseException] = []

    def run() -> None:
        while not stop.is_set():
            try:
                number = queue.get_nowait()
            except Empty:
                return
            try:
                outcomes[number] = _one(work, todo[number])
            except BaseException as error:
                faults.append(error)
                stop.set()

    # Daemons, not an executor: an executor's threads are joined when the program ends, and Ctrl-C must not wait.
    threads = [
        threading.Thread(target=run, name=f"parallel-{each}", daemon=True) for each in range(min(bound, len(todo)))
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    if faults:
        raise faults[0]
    return Outcomes(tuple(each for each in outcomes if each is not None))


def _one(work: Callable[[Item], Result], item: Item) -> Outcome[Item, Result]:
    try:
        return Outcome(item, work(item))
    except WasmeError as error:
        return Outcome(item, error=error)


def _names(items: list[str]) -> str:
    shown = ", ".join(items[:5])
    return f"{shown} and {len(items) - 5} more" if len(items) > 5 else shown
