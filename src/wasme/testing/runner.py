"""What is run, and what came of it. A leg runs cases; which host it runs them on is its own affair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wasme.testing.scenario import Test


@dataclass(frozen=True, slots=True)
class Filter:
    """A module that is tested.

    Attributes:
        name: as the user knows it: an image or a file.
        path: the module's file.
        root_id: which of the module's filters; "" for modules that do not care.
    """

    name: str
    path: Path
    root_id: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One test on one filter.

    Attributes:
        file: the scenario's name.
    """

    filter: Filter
    test: Test
    file: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case.

    Attributes:
        problems: what was not as expected, in words; none if it passed.
        seconds: how long it ran, without the host's start.
        log: what the filter logged.
    """

    case: Case
    problems: tuple[str, ...]
    seconds: float
    log: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.problems


class Leg(Protocol):
    """A host that cases run on."""

    def run(self, cases: Sequence[Case]) -> list[Result]:
        """Run cases; one result for each, in their order."""
        ...
