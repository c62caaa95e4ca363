"""Cases on the real Envoy: one Envoy for as many as possible.

All cases begin in one Envoy. A case that keeps it from starting, ends it or holds its worker is found, gets the blame,
and the others go on in another; and what could not be judged beside others is judged alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from wasme.envoy.binary import find_envoy
from wasme.testing.envoy_session import Limits, Session
from wasme.testing.runner import Case, Result
from wasme.testing.unknown_clusters import worth_a_look


class EnvoyLeg:
    """Runs cases on the Envoy of this machine."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()

    def run(self, cases: Sequence[Case]) -> list[Result]:
        """Run cases; one result for each, in their order.

        To be called where no event loop runs. Ctrl-C ends Envoy before KeyboardInterrupt goes on.

        Raises:
            MissingExtra, ToolMissing: there is no Envoy.
        """
        program = find_envoy().path
        results: dict[int, Result] = {}
        groups = deque([list(range(len(cases)))] if cases else [])
        with asyncio.Runner() as runner:
            while groups:
                group = groups.popleft()
                session = Session(program, {index: cases[index] for index in group}, self._limits)
                outcome = runner.run(session.run())
                results |= outcome.results
                groups += outcome.again
            found = [results[index] for index in range(len(cases))]
            for result, watch in worth_a_look(found):
                traced = Session(program, {0: result.case}, Limits(min(self._limits.answer or 2, 2), late=0), watch)
                told = runner.run(traced.run()).refused_calls
                problems = (*result.problems, *(f"{each}; the clusters of a test say who answers" for each in told))
                found[found.index(result)] = replace(result, problems=problems)
        return found
