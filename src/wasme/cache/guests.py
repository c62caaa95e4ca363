"""Guests: images that somebody asks for over HTTP and that are not on the list.

Anybody who reaches the port may ask, so there are bounds: no credential of the agent's goes with it (unless the agent
was told so), a few pulls at a time, nothing on this very machine for those who are not, and no room beyond the size
limit. What a guest brought is a file that no image needs, and goes like any other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from wasme.cache.folder import Folder
from wasme.cache.holdings import Holdings, give
from wasme.cache.lanes import Lanes
from wasme.cache.loop import Loop
from wasme.cache.memory import Memory
from wasme.cache.pulling import LARGEST, Found, Puller, Stopped
from wasme.errors import CacheError, InvalidReference, WasmeError
from wasme.image.reference import Reference

MOST_AT_ONCE = 4
MOST_WAITING = 64
_FRESH_SECONDS = 15.0
_MOST_REMEMBERED = 1000

Asked = tuple[Reference, bool]
"""An image, and whether somebody on this machine asks for it."""


class Busy(CacheError):
    """Too many ask for images that are not on the list."""


class _Known(NamedTuple):
    found: Found
    until: float


class Guests:
    """Answers who asks by name; runs on the loop's thread but for `fetch`.

    Args:
        loop, lanes, puller, folder, memory, holdings: the agent's.
        policy: ``anonymous``; ``credentials``: the agent's go along; ``off``: nothing is pulled for guests.
        room: tells how many bytes there are for more.
    """

    def __init__(
        self,
        loop: Loop,
        lanes: Lanes,
        puller: Puller,
        folder: Folder,
        memory: Memory,
        holdings: Holdings,
        *,
        policy: str,
        room: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._lanes = lanes
        self._puller = puller
        self._folder = folder
        self._memory = memory
        self._holdings = holdings
        self._policy = policy
        self._room = room
        self._flights: dict[Asked, list[Future[Found]]] = {}
        self._promised: dict[Asked, int] = {}
        self._known: dict[Asked, _Known] = {}

    def fetch(self, text: str, *, local: bool = False) -> Future[Found]:
        """The module of an image, once it is here; from any thread.

        Args:
            text: the reference as it was asked for.
            local: whether the asker is on this machine.
        """
        waiter: Future[Found] = Future()
        self._loop.call(functools.partial(self._fetch, text, waiter, local=local))
        return waiter

    def _fetch(self, text: str, waiter: Future[Found], *, local: bool) -> None:
        try:
            reference = Reference.parse(text)
            item = self._holdings.of(text, reference)
            if item is not None:
                if item.held and item.found is not None:
                    give(waiter, item.found)
                elif item.error and item.failures:
                    give(waiter, CacheError(item.error))
                else:
                    item.waiters.append(waiter)
                return
            known = self._known.get((reference, local))
            if known and known.until > time.monotonic() and self._folder.unchanged(known.found.module):
                give(waiter, known.found)
                return
            self._pull(reference, waiter, local=local)
        except WasmeError as error:
            give(waiter, error)

    def _pull(self, reference: Reference, waiter: Future[Found], *, local: bool) -> None:
        if self._policy == "off":
            raise InvalidReference(f"{reference} is not on the list of this cache, and nothing else is pulled")
        asked = (reference, local)
        flight = self._flights.get(asked)
        if flight is not None:
            if len(flight) >= MOST_WAITING:
                raise Busy(f"too many wait for {reference}")
            flight.append(waiter)
            return
        if len(self._flights) >= MOST_AT_ONCE:
            raise Busy(f"{len(self._flights)} images that are not on the list are being pulled already")
        # What others were promised may still be on its way; nobody knows how much of it will come.
        room = min(LARGEST, self._room() - sum(self._promised.values()))
        if room <= 0:
            raise Busy("there is no room for images that are not on the list")
        self._flights[asked] = [waiter]
        self._promised[asked] = room
        # Lanes of their own: what strangers ask for never holds up what the node must have.
        self._lanes.submit(f"guest {reference.domain}", functools.partial(self._try, asked, room))

    def _try(self, asked: Asked, room: int) -> bool:
        """Runs in a lane."""
        reference, local = asked
        result: Found | WasmeError
        try:
            anonymous = self._policy == "anonymous"
            result = self._puller.pull(
                reference, self._memory.modules.get, anonymous=anonymous, outside=not local, largest=room
            )
        except Stopped:
            result = Busy("the cache is stopping")
        except WasmeError as error:
            result = error
        except Exception as error:
            result = CacheError(f"{reference}: a bug in wasme: {type(error).__name__}")
        self._loop.call(functools.partial(self._tried, asked, result))
        return True

    def _tried(self, asked: Asked, result: Found | WasmeError) -> None:
        self._promised.pop(asked, None)
        if isinstance(result, Found):
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            self._known[asked] = _Known(result, time.monotonic() + _FRESH_SECONDS)
            self._memory.modules[result.manifest] = (result.module, result.size)
        for waiter in self._flights.pop(asked, []):
            give(waiter, result)
