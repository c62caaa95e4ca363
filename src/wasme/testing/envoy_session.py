"""One Envoy's life: it starts with many tests, runs them, and ends.

Tests run side by side, but for what they share: of those that name one cluster only one runs at a time, since the
cluster answers as that test says, and those that look at metrics run alone, since metrics are one set for a whole
Envoy. What still spoils a neighbour's test is noticed and told in ``Outcome.again``: it must be run in an Envoy of its
own before it can be judged.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from wasme.envoy.callouts import RefusedCalls
from wasme.envoy.log import Line
from wasme.envoy.process import Envoy, Ready
from wasme.errors import EnvoyError
from wasme.testing import http1, statistics
from wasme.testing.endpoints import Endpoint
from wasme.testing.expectation import (
    Received,
    Response,
    Seen,
    answer_differences,
    differences,
    log_differences,
)
from wasme.testing.journal import Journal
from wasme.testing.listeners import PROBE, Place, argv, bootstrap, discovered
from wasme.testing.runner import Case, Result
from wasme.testing.scenario import Headers, Request, Step

_SIDE_BY_SIDE = 8
_PROBE_PATIENCE = 2.0
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that are waited.

    Attributes:
        answer: for an answer; 0 is no limit.
        ready: for Envoy to be ready.
        late: after an answer, for calls, log lines and metrics that are expected.
    """

    answer: float = 15.0
    ready: float = 60.0
    late: float = 2.0


@dataclass(slots=True)
class Outcome:
    """What one Envoy brought.

    Attributes:
        results: by the index of the case.
        again: groups of cases to be run anew, each in an Envoy of its own.
        refused_calls: calls to clusters that Envoy refused, where somebody watches for them.
    """

    results: dict[int, Result] = field(default_factory=dict)
    again: list[list[int]] = field(default_factory=list)
    refused_calls: list[str] = field(default_factory=list)


class _Lost(Exception):
    """Envoy has ended, or its worker hangs; the text says which."""


class Session:
    """One Envoy.

    Args:
        program: Envoy's.
        cases: by index.
        watch: gets every host call.
    """

    def __init__(
        self, program: Path, cases: Mapping[int, Case], limits: Limits, watch: RefusedCalls | None = None
    ) -> None:
        self._watch = watch
        self._program = program
        self._cases = cases
        self._limits = limits
        self._journal = Journal()
        self._upstreams = {index: Endpoint("") for index in cases}
        names = {name for case in cases.values() for name in case.test.clusters}
        self._clusters = {name: Endpoint(name) for name in sorted(names)}
        self._locks = {name: asyncio.Lock() for name in names}
        self._gate = asyncio.Semaphore(_SIDE_BY_SIDE)
        self._flying: set[int] = set()
        self._suspect: set[int] = set()
        self._outcome = Outcome()
        self._ports: dict[str, int] = {}
        self._admin = 0
        self._envoy: Envoy | None = None
        self._hangs = False

    async def run(self) -> Outcome:
        """Start Envoy, run all, end it.

        Raises:
            OSError: the system refuses a port or a file.
        """
        folder = Path(tempfile.mkdtemp(prefix="wasme-test-"))
        try:
            for endpoint in (*self._upstreams.values(), *self._clusters.values()):
                await endpoint.listen()
            try:
                await self._start(folder)
            except EnvoyError as error:
                self._not_started(error)
                return self._outcome
            await self._run_all()
            return self._outcome
        finally:
            if self._envoy is not None:
                self._stop(self._envoy)
            for endpoint in (*self._upstreams.values(), *self._clusters.values()):
                await endpoint.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def _start(self, folder: Path) -> None:
        places = [Place(index, case, self._upstreams[index].port) for index, case in self._cases.items()]
        listeners, config, admin_file = folder / "listeners.json", folder / "bootstrap.json", folder / "admin"
        listeners.write_text(json.dumps(discovered(places)))
        clusters = {name: endpoint.port for name, endpoint in self._clusters.items()}
        config.write_text(json.dumps(bootstrap(places, clusters, listeners)))
        command = argv(self._program, config, admin_file, traced=self._watch is not None)
        self._envoy = Envoy(command, admin_file=admin_file, sink=self._see)
        ready: Ready | None = await asyncio.to_thread(self._envoy.wait_ready, self._limits.ready)
        if ready is None or ready.admin is None:
            raise EnvoyError("Envoy ended before it was ready")
        self._admin = int(ready.admin.rpartition(":")[2])
        _, _, body = await self._ask_admin("/listeners?format=json")
        for status in json.loads(body)["listener_statuses"]:
            self._ports[status["name"]] = status["local_address"]["socket_address"]["port_value"]

    def _see(self, line: Line) -> None:
        """One line of Envoy's log, from a thread of its own."""
        self._journal(line)
        told = self._watch.see(line) if self._watch else None
        if told:
            self._outcome.refused_calls.append(told[0])

    async def _ask_admin(self, path: str) -> tuple[int, Headers, bytes]:
        try:
            return await http1.ask(self._admin, "GET", path, (("host", "admin"),))
        except (OSError, http1.Garbled) as error:
            raise EnvoyError(f"Envoy's admin interface does not answer: {error}") from None

    def _stop(self, envoy: Envoy) -> None:
        """An Envoy that hangs in a filter would not heed the first asking."""
        if self._hangs:
            envoy.ask_to_stop()
            envoy.ask_to_stop()
        envoy.stop()

    def _not_started(self, error: EnvoyError) -> None:
        """Whoever kept Envoy from starting is the one it loaded last, or is found by halves."""
        self._hangs = True
        indexes, begun = list(self._cases), self._journal.begun()
        if len(indexes) == 1:
            self._finish(indexes[0], [f"Envoy does not start with the filter: {error.message}"], 0)
        elif 0 < len(begun) < len(indexes):
            self._outcome.again = [[begun[-1]], [index for index in indexes if index != begun[-1]]]
        else:
            middle = len(indexes) // 2
            self._outcome.again = [indexes[:middle], indexes[middle:]]

    async def _run_all(self) -> None:
        apart = [index for index, case in self._cases.items() if case.test.counts]
        lost: list[str] = []
        try:
            async with asyncio.TaskGroup() as group:
                for index in self._cases:
                    if index not in apart:
                        group.create_task(self._guarded(index))
            for index in apart:
                await self._guarded(index)
        except* _Lost as error:
            lost = [str(each) for each in error.exceptions]
        if lost:
            self._after_loss(lost[0])
        if len(self._cases) > 1:
            for name, endpoint in self._clusters.items():
                if endpoint.strays:
                    self._suspect |= {index for index, case in self._cases.items() if name in case.test.clusters}
            again = sorted(index for index in self._suspect if index in self._outcome.results)
            for index in again:
                del self._outcome.results[index]
            self._outcome.again += [[index] for index in again]

    def _after_loss(self, how: str) -> None:
        if len(self._cases) == 1:
            self._finish(next(iter(self._cases)), [how], 0)
            return
        waiting = [index for index in self._cases if index not in self._outcome.results and index not in self._flying]
        self._outcome.again += [[index] for index in sorted(self._flying)]
        if waiting:
            self._outcome.again.append(waiting)

    async def _guarded(self, index: int) -> None:
        async with self._gate:
            await self._case(index)

    async def _case(self, index: int) -> None:
        case = self._cases[index]
        if Place(index, case, 0).name not in self._ports or case.test.refused:
            self._finish(index, self._judged_at_start(index), 0)
            return
        async with AsyncExitStack() as stack:
            calls: list[Received] = []
            for name, answer in sorted(case.test.clusters.items()):
                await stack.enter_async_context(self._locks[name])
                await stack.enter_async_context(self._clusters[name].answering(answer, calls.append))
            begun = time.monotonic()
            self._flying.add(index)
            before = await self._counted(statistics.settled) if case.test.counts else statistics.Metrics()
            problems: list[str] = []
            for number, step in enumerate(case.test.steps, 1):
                found = await self._step(index, step, calls, before, first=number == 1)
                if found:
                    problems = [f"step {number}: {each}" for each in found] if len(case.test.steps) > 1 else found
                    break
            if self._envoy and not self._envoy.running:
                raise _Lost(self._ending())
            problems = self._traps(index, begun) + problems
            if problems and case.test.counts:
                self._suspect.add(index)
            self._finish(index, problems, time.monotonic() - begun)
            self._flying.discard(index)

    def _judged_at_start(self, index: int) -> list[str]:
        """A filter that was not taken, or should not have been."""
        case = self._cases[index]
        if Place(index, case, 0).name in self._ports:
            return ["the filter takes the configuration, which it was expected to refuse"]
        rejection = self._journal.rejection(index)
        if case.test.refused and rejection.by_filter:
            return list(log_differences(case.test.steps[0].expect.logs, self._journal.said(index)))
        told = rejection.text
        if rejection.by_filter and self._journal.said(index):
            told += f" and said: {self._journal.said(index)[-1]}"
        return [f"expected the filter to refuse its configuration, but {told}" if case.test.refused else told]

    def _traps(self, index: int, begun: float) -> list[str]:
        """A trap is a failure whatever was expected."""
        traps = self._journal.traps(begun)
        if self._journal.failed(index):
            return sorted({str(trap) for trap in traps}) or ["the filter had trapped"]
        if traps and len(self._cases) == 1:
            return sorted({str(trap) for trap in traps})
        if len(traps) > self._journal.claimed(begun):
            self._suspect.add(index)
        return []

    def _finish(self, index: int, problems: Sequence[str], seconds: float) -> None:
        log = self._journal.said(index)
        self._outcome.results[index] = Result(self._cases[index], tuple(problems), seconds, log)

    async def _step(
        self, index: int, step: Step, calls: list[Received], before: statistics.Metrics, *, first: bool
    ) -> list[str]:
        # What comes while it waits is the step's too; and the first one's what came with the start.
        logged = 0 if first else len(self._journal.said(index))
        calls.clear()
        await asyncio.sleep(step.after)
        arrived: list[Received] = []
        response: Response | None = None
        if step.request is not None:
            ended = self._journal.ended(index)
            async with self._upstreams[index].answering(step.upstream, arrived.append):
                got = await self._request(index, step.request, arrived)
            if isinstance(got, str):
                return [got]
            response = got
            # Once Envoy has said that the request is over, the filter's last callbacks are over too.
            await self._until(lambda: self._journal.ended(index) > ended)
        deadline = time.monotonic() + self._limits.late
        while True:
            counted = (await self._counted(statistics.read)).since(before) if step.expect.metrics else {}
            seen = Seen(response, arrived, list(calls), self._journal.said(index)[logged:], counted)
            found = differences(step.expect, seen)
            if not found or answer_differences(step.expect, seen) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_POLL)

    async def _counted(self, read: Callable[[int], Awaitable[statistics.Metrics]]) -> statistics.Metrics:
        try:
            return await read(self._admin)
        except (OSError, ValueError, http1.Garbled):
            await self._check_worker()
            raise _Lost("Envoy's admin interface answers no more") from None

    async def _until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._limits.late
        while not holds() and time.monotonic() < deadline:
            await asyncio.sleep(_POLL)

    async def _request(self, index: int, request: Request, arrived: Sequence[Received]) -> Response | str:
        """The answer, or what is wrong with it."""
        headers = request.headers
        if not any(name.lower() == "host" for name, _ in headers):
            headers = (("host", "localhost"), *headers)
        port = self._ports[Place(index, self._cases[index], 0).name]
        try:
            async with asyncio.timeout(self._limits.answer or None):
                return Response(*await http1.ask(port, request.method, request.path, headers, request.body))
        except TimeoutError:
            await self._check_worker()
            reached = "had been" if arrived else "was not"
            return f"no answer within {self._limits.answer:g} s; the upstream {reached} reached"
        except (OSError, http1.Garbled) as error:
            await self._check_worker()
            return f"no whole answer: {error}"

    async def _check_worker(self) -> None:
        """Whether Envoy is there and its worker answers; a filter in an endless loop holds it for all tests.

        Raises:
            _Lost: it is not, or does not.
        """
        assert self._envoy
        try:
            async with asyncio.timeout(_PROBE_PATIENCE):
                await http1.ask(self._ports[PROBE], "GET", "/", (("host", "localhost"),))
        except TimeoutError:
            self._hangs = True
            raise _Lost("the filter does not come back: it holds Envoy's worker") from None
        except (OSError, http1.Garbled):
            if self._envoy.running:
                await asyncio.sleep(0.1)
            raise _Lost(self._ending()) from None

    def _ending(self) -> str:
        assert self._envoy
        if self._envoy.running:
            return "Envoy answers no more"
        return f"Envoy ended under the filter: {self._envoy.failure().message}"
