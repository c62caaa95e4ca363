"""Words on the cache's list that were not written: each stays refused for a while, and is not sent all the time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from wasme.errors import LeadershipLost, WasmeError
from wasme.operator.backoff import backoff
from wasme.operator.nodecache.intents import FilterId

FIRST = 3.0
"""Seconds for which what was refused once is not sent again; twice as many after each further time."""
LONGEST = 120.0
_MOST = 16  # words on one filter that are known as refused


@dataclass(slots=True)
class _Refused:
    error: WasmeError
    words: frozenset[Hashable]
    version: str
    until: float
    count: int


class Refusals:
    """Belongs to who holds the lock.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[FilterId, set[Hashable]] = {}
        self._refused: dict[FilterId, _Refused] = {}

    def clear(self) -> None:
        """Nothing was said, and nothing refused."""
        self._said.clear()
        self._refused.clear()

    def forget(self, name: FilterId) -> None:
        """Nobody says anything of a filter any more."""
        self._said.pop(name, None)
        self._refused.pop(name, None)

    def of(self, name: FilterId, word: Hashable) -> WasmeError | None:
        """Why a word on a filter's lines was refused, for as long as it is not known that it is written."""
        found = self._refused.get(name)
        if found is None or word not in found.words:
            return None
        if isinstance(found.error, LeadershipLost):  # told once: it says nothing about the next term
            del self._refused[name]
        return found.error

    def is_due(self, name: FilterId, version: str) -> bool:
        """Whether one is to send what was refused once more: its time is over, or the list is another one.

        Args:
            name: of the filter.
            version: of the list; "" for none.
        """
        found, now = self._refused.get(name), self._clock()
        if found is None or (version == found.version and now < found.until):
            return False
        found.version, found.until = version, now + _wait(found.count)  # until it is known what came of it
        return True

    def sent(self, name: FilterId, word: Hashable) -> None:
        """A word is on its way."""
        self._said.setdefault(name, set()).add(word)

    def came(self, name: FilterId, error: WasmeError | None, version: str) -> bool:
        """What came of the words that were on their way.

        Args:
            name: of the filter.
            error: None for written.
            version: of the list; "" for none.

        Returns:
            Whether that is news.
        """
        words = frozenset(self._said.pop(name, ()))
        before = self._refused.get(name)
        if error is None:
            if before is not None and (not words or words & before.words):
                del self._refused[name]
            return True
        count = before.count if before is not None else 0
        if before is not None and len(before.words) < _MOST:
            words |= before.words
        self._refused[name] = _Refused(error, words, version, self._clock() + _wait(count), count + 1)
        return before is None or before.words != words or before.error.message != error.message


def _wait(count: int) -> float:
    return backoff(count, FIRST, LONGEST) * (1 + 0.25 * random.random())  # noqa: S311
