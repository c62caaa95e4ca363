"""Looking things up at registries without holding up those who ask.

A few threads do all of it, and of these fewer for one registry. Who asks waits a moment, and only for a registry that
has answered lately; where the answer takes longer, or nobody knows the registry, he goes on without it and is called
when it has come. A registry that did not answer is left alone for some seconds, whoever asks.

Whoever may write a FilterDeployment chooses the hosts, and a wildcard name has as many as he likes. So most of the
threads are for hosts that have answered before: strangers that are silent hold up other strangers, and nobody else.
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
_THREADS, _STRANGERS = 16, 8
"""Lookups at a time, and of these at registries that have not answered yet."""
_MOMENT = 1.0
"""Seconds that who asks waits."""
_GLANCE = 0.05
"""The same where the registry has not answered yet, and others that have not were waited for lately."""
_SPARE, _REFILL = 2.0, 0.1
"""Seconds of waiting for registries that have not answered yet, and how much of it comes back in a second."""
_HOSTS = 1000
"""Registries that are remembered."""
_REST, _SHORT_REST = 10.0, 2.0
"""Seconds for which a registry is left alone that did not answer; and one that refused at once."""
_QUICK = 1.0
_ERRORS = 3.0
"""Seconds for which an error is kept for those who went on without it."""


class Unanswered(Unreachable):
    """The answer has not come yet; who asked is called when it has."""


@dataclass(eq=False, slots=True)
class _Flight:
    """One lookup under way; at a registry that nobody knows it is waited for ``until``, of the monotonic clock."""

    name: Hashable
    work: Callable[[], Any]
    until: float = 0.0
    landed: threading.Event = field(default_factory=threading.Event)
    result: Any = None
    error: WasmeError | None = None
    calls: list[Call] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class _Host:
    """One registry.

    Attributes:
        name: HOST[:PORT].
        waiting: lookups that no thread has taken yet.
        running: lookups under way.
        good: it has answered, and in time: it is waited for.
        bad: it did not answer when it was asked last: those that nobody has asked yet come before it.
        until: when it may be asked again, of the monotonic clock.
        told: why it is left alone until then.
    """

    name: str
    waiting: collections.deque[_Flight] = field(default_factory=collections.deque)
    running: int = 0
    good: bool = False
    bad: bool = False
    until: float = 0.0
    told: str = ""


class Lookups:
    """Runs them. Safe to use from many threads.

    Args:
        width: lookups at one registry at a time.
        moment: seconds that who asks waits.
        rest: seconds for which a registry is left alone that did not answer.
        threads: lookups at a time.
        strangers: and of these at registries that have not answered yet.
    """

    def __init__(
        self,
        *,
        width: int = _WIDTH,
        moment: float = _MOMENT,
        rest: float = _REST,
        threads: int = _THREADS,
        strangers: int = _STRANGERS,
    ) -> None:
        self._width = width
        self._threads = threads
        self._strangers = strangers
        self._running = 0
        self._strange = 0
        self._spare, self._spent = _SPARE, time.monotonic()
        self._moment = moment
        self._rest = rest
        self._hosts: collections.OrderedDict[str, _Host] = collections.OrderedDict()
        self._ready: collections.deque[_Host] = collections.deque()
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
            place = self._place(host)
            if flight is None:
                if time.monotonic() < place.until:
                    raise Unreachable(place.told, hint="it is asked again in some seconds")
                flight = self._begin(place, name, work)
                if not place.good:
                    flight.until = time.monotonic() + self._spend()
            else:
                self._hire()  # it may wait for a thread that could not be started
            patience = self._moment if place.good else max(0.0, flight.until - time.monotonic())
        flight.landed.wait(patience)
        with self._lock:
            if not flight.landed.is_set():
                place.good = False
                flight.calls.append(call)
                raise Unanswered(f"the registry {host} has not answered yet", hint="it is being waited for")
        if flight.error is not None:
            raise flight.error
        result: T = flight.result
        return result

    # All of these but ``_run`` and ``_land`` hold the lock.

    def _place(self, host: str) -> _Host:
        """A registry; those that nobody asked for longest and that are idle are forgotten."""
        place = self._hosts.get(host)
        if place is None:
            now = time.monotonic()
            idle = (name for name, each in self._hosts.items() if not each.running and not each.waiting)
            if len(self._hosts) >= _HOSTS:
                for name in [name for name in idle if now >= self._hosts[name].until][: len(self._hosts) // 4]:
                    del self._hosts[name]
            place = self._hosts[host] = _Host(host)
        self._hosts.move_to_end(host)
        return place

    def _spend(self) -> float:
        """Seconds to wait for a registry that nobody knows: the first of them a moment, many after each other less."""
        now = time.monotonic()
        self._spare = min(_SPARE, self._spare + _REFILL * (now - self._spent))
        self._spent = now
        granted = min(self._moment, max(_GLANCE, self._spare))
        self._spare = max(0.0, self._spare - granted)
        return granted

    def _begin(self, place: _Host, name: Hashable, work: Callable[[], Any]) -> _Flight:
        flight = self._flights[name] = _Flight(name, work)
        if not place.waiting:
            self._ready.append(place)
        place.waiting.append(flight)
        self._hire()
        return flight

    def _hire(self) -> None:
        """Let threads take what may be done now."""
        while self._running < self._threads and (taken := self._take()) is not None:
            try:
                # It takes the lock first.
                threading.Thread(target=self._run, args=taken, name=f"registry {taken[0].name}", daemon=True).start()
            except RuntimeError as error:
                log.warning("an image is looked up later", extra={"fields": {"reason": str(error)}})
                self._give_back(*taken)
                return
            self._running += 1

    def _give_back(self, place: _Host, flight: _Flight, strange: bool) -> None:
        """What was taken is taken by another."""
        place.running -= 1
        self._strange -= strange
        if not place.waiting:
            self._ready.appendleft(place)
        place.waiting.appendleft(flight)

    def _take(self) -> tuple[_Host, _Flight, bool] | None:
        """The next lookup, a registry after the other; whether it is at one that has not answered yet."""
        for _ in range(len(self._ready)):
            place = self._ready.popleft()
            strange = not place.good
            room = self._strangers // 2 if place.bad else self._strangers
            if place.running >= self._width or (strange and self._strange >= room):
                self._ready.append(place)
                continue
            flight = place.waiting.popleft()
            if place.waiting:
                self._ready.append(place)
            place.running += 1
            self._strange += strange
            return place, flight, strange
        return None

    def _run(self, place: _Host, flight: _Flight, strange: bool) -> None:
        taken: tuple[_Host, _Flight, bool] | None = (place, flight, strange)
        while taken is not None:
            place, flight, strange = taken
            with self._lock:
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
                flight.error = RegistryError(f"{place.name}: a bug in wasme: {type(error).__name__}")
            self._land(place, flight, time.monotonic() - began, asked=not away)
            with self._lock:
                place.running -= 1
                self._strange -= strange
                taken = self._take()
                if taken is None:
                    self._running -= 1
                else:
                    self._hire()  # a stranger may have become a friend, and more may be done at a time

    def _land(self, place: _Host, flight: _Flight, spent: float, *, asked: bool) -> None:
        now = time.monotonic()
        with self._lock:
            self._flights.pop(flight.name, None)
            if asked and isinstance(flight.error, Unreachable | Throttled):
                place.until = now + (self._rest if spent > _QUICK else min(_SHORT_REST, self._rest))
                place.told = flight.error.message
            if asked:
                place.bad = isinstance(flight.error, Unreachable)
                if not place.bad and now < flight.until:
                    self._spare += flight.until - now  # it was not waited for so long
                place.good = spent < self._moment and not place.bad
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
