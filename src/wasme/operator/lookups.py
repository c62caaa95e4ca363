"""Looking things up at registries without holding up those who ask.

Work for one registry runs in a few threads of its own. Who asks waits a moment; where the answer takes longer he goes
on without it and is called when it has come. A registry that did not answer is left alone for some seconds, whoever
asks; so one that is slow or dead holds up nobody but its own images.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from wasme.errors import RegistryError, Throttled, Unreachable, WasmeError

log = logging.getLogger(__name__)

T = TypeVar("T")
Call = Callable[[], None]

_WIDTH = 3
"""Lookups at one registry at a time."""
_MOMENT = 1.0
"""Seconds that who asks waits."""
_REST, _SHORT_REST = 10.0, 2.0
"""Seconds for which a registry is left alone that did not answer; and one that refused at once."""
_QUICK = 1.0
_ERRORS = 3.0
"""Seconds for which an error is kept for those who went on without it."""


class Unanswered(Unreachable):
    """The answer has not come yet; who asked is called when it has."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One lookup under way."""

    name: Hashable
    work: Callable[[], Any]
    landed: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: WasmeError | None = None
    calls: list[Call] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Host:
    """One registry.

    Attributes:
        waiting: lookups that no thread has taken yet.
        running: threads.
        slow: somebody has waited in vain since it last answered in time: nobody waits any more.
        until: when it may be asked again, of the monotonic clock.
        told: why it is left alone until then.
    """

    waiting: collections.deque[_Flight] = field(default_factory=collections.deque)
    running: int = 0
    slow: bool = False
    until: float = 0.0
    told: str = ""


class Lookups:
    """Runs them. Safe to use from many threads.

    Args:
        width: lookups at one registry at a time.
        moment: seconds that who asks waits.
        rest: seconds for which a registry is left alone that did not answer.
    """

    def __init__(self, *, width: int = _WIDTH, moment: float = _MOMENT, rest: float = _REST) -> None:
        self._width = width
        self._moment = moment
        self._rest = rest
        self._hosts: dict[str, _Host] = {}
        self._flights: dict[Hashable, _Flight] = {}
        self._errors: dict[Hashable, tuple[float, WasmeError]] = {}
        self._lock = threading.Lock()

    def get(self, host: str, name: Hashable, work: Callable[[], T], call: Call) -> T:
        """Look something up.

        Args:
            host: the registry, HOST[:PORT].
            name: of what is looked up; who asks for the same at the same time gets the same answer.
            work: asks the registry; runs in a thread, at most once for all of these.
            call: called when the answer has come for which this did not wait.

        Returns:
            What ``work`` did.

        Raises:
            Unanswered: the answer has not come yet.
            Unreachable: the registry did not answer others a moment ago.
            WasmeError: what ``work`` raised.
        """
        with self._lock:
            known = self._errors.pop(name, None)
            if known is not None and time.monotonic() < known[0]:
                self._errors[name] = known
                raise known[1]
            flight = self._flights.get(name)
            place = self._hosts.setdefault(host, _Host())
            if flight is None:
                if time.monotonic() < place.until:
                    raise Unreachable(place.told, hint="it is asked again in some seconds")
                flight = self._begin(host, place, name, work)
            patience = 0.0 if place.slow else self._moment
        flight.landed.wait(patience)
        with self._lock:
            if not flight.landed.is_set():
                place.slow = True
                flight.calls.append(call)
                raise Unanswered(f"the registry {host} has not answered yet", hint="it is being waited for")
        if flight.error is not None:
            raise flight.error
        result: T = flight.result
        return result

    def _begin(self, host: str, place: _Host, name: Hashable, work: Callable[[], Any]) -> _Flight:
        flight = self._flights[name] = _Flight(name, work)
        place.waiting.append(flight)
        if place.running < self._width:
            place.running += 1
            threading.Thread(target=self._run, args=(host, place), name=f"registry {host}", daemon=True).start()
        return flight

    def _run(self, host: str, place: _Host) -> None:
        while True:
            with self._lock:
                if not place.waiting:
                    place.running -= 1
                    if not place.running and time.monotonic() >= place.until:
                        self._hosts.pop(host, None)
                    return
                flight = place.waiting.popleft()
                away = place.told if time.monotonic() < place.until else ""
            began = time.monotonic()
            try:
                if away:
                    raise Unreachable(away)
                flight.result = flight.work()
            except WasmeError as error:
                flight.error = error
            except Exception as error:
                log.exception("a bug in wasme: an image is not looked up")
                flight.error = RegistryError(f"{host}: a bug in wasme: {type(error).__name__}")
            self._land(place, flight, time.monotonic() - began, asked=not away)

    def _land(self, place: _Host, flight: _Flight, spent: float, *, asked: bool) -> None:
        now = time.monotonic()
        with self._lock:
            self._flights.pop(flight.name, None)
            if asked and isinstance(flight.error, Unreachable | Throttled):
                place.until = now + (self._rest if spent > _QUICK else min(_SHORT_REST, self._rest))
                place.told = flight.error.message
            if asked and spent < self._moment:
                place.slow = False
            if flight.error is not None and flight.calls:
                self._errors = {name: each for name, each in self._errors.items() if now < each[0]}
                self._errors[flight.name] = (now + _ERRORS, flight.error)
            flight.landed.set()
            calls = list(flight.calls)
        for call in calls:
            try:
                call()
            except Exception:
                log.exception("a bug in wasme: nobody is told of an image")
