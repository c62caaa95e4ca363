"""What is done after the workloads, whatever became of each: an error of it must not hide theirs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from wasme.deploy.cluster import Outcomes
from wasme.errors import WasmeError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
Value = TypeVar("Value")


class Afterwards:
    """Does one thing after the other, and remembers what went wrong."""

    def __init__(self) -> None:
        self._errors: list[WasmeError] = []

    def do(self, work: Callable[[], Value], otherwise: Value) -> Value:
        """Do one thing; ``otherwise`` is what came of it if it failed."""
        try:
            return work()
        except WasmeError as error:
            self._errors.append(error)
            return otherwise

    def require(self, outcomes: Outcomes[Item, Result], name: Callable[[Item], str], doing: str) -> list[Result]:
        """The results of the workloads, if all went well.

        Args:
            outcomes: what became of the workloads.
            name: what the error calls one.
            doing: what was done to them.

        Raises:
            WasmeError: a workload's error, or all of them, before an error of what came after; the others are logged.
        """
        told = self._errors if outcomes.failures else self._errors[1:]
        for each in told:
            log.warning(each.message)
        results = outcomes.require(name, doing)
        if self._errors:
            raise self._errors[0]
        return results
