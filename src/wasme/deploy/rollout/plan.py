"""Which workloads belong to which step. Pure.

``1,25%,100%`` is: one workload first, the canary; then as many as make a quarter; then all. The numbers count from the
start, so each step adds what its number says more than the one before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from wasme.errors import UsageError

Item = TypeVar("Item")

DEFAULT = "1,25%,100%"
_WORD = re.compile(r"([0-9]{1,9})(%?)")
_HINT = f"such as --rollout={DEFAULT}: numbers or percentages that grow"


@dataclass(frozen=True, slots=True)
class Share:
    """How many are changed when a step is over.

    Attributes:
        number: of workloads, or percent.
        percent: which of both.
    """

    number: int
    percent: bool = False

    def of(self, count: int) -> int:
        """As a number of workloads; a percentage is rounded up, so that it is never none."""
        return min(count, -(-count * self.number // 100) if self.percent else self.number)

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a rollout goes.

    Attributes:
        shares: of the steps; after the last one come all others, if it does not name all.
        pause: seconds for which a step must stay healthy before the next begins.
        timeout: seconds within which a step must become healthy.
    """

    shares: tuple[Share, ...]
    pause: float = 10.0
    timeout: float = 300.0


def parse(text: str) -> tuple[Share, ...]:
    """Read the value of ``--rollout``.

    Raises:
        UsageError: it is no list of growing numbers and percentages.
    """
    shares: list[Share] = []
    for word in text.split(","):
        match = _WORD.fullmatch(word.strip())
        if match is None:
            raise UsageError(f"--rollout: {word.strip()[:50]!r} is no step", hint=_HINT)
        share = Share(int(match[1]), bool(match[2]))
        if share.number == 0:
            raise UsageError("--rollout: a step of none changes nothing", hint=_HINT)
        if share.percent and share.number > 100:
            raise UsageError(f"--rollout: {share} is more than all", hint=_HINT)
        earlier = [each for each in shares if each.percent == share.percent]
        if earlier and earlier[-1].number >= share.number:
            raise UsageError(f"--rollout: {share} after {earlier[-1]} does not grow", hint=_HINT)
        shares.append(share)
    return tuple(shares)


def grouped(items: Sequence[Item], shares: Sequence[Share]) -> list[list[Item]]:
    """The items of each step, in their order; all of them, and no step is empty.

    Args:
        items: what is changed.
        shares: of the steps; one that adds nothing to those before is left out.
    """
    ends = [0]
    for share in shares:
        if (end := share.of(len(items))) > ends[-1]:
            ends.append(end)
    if ends[-1] < len(items):
        ends.append(len(items))
    return [list(items[start:end]) for start, end in itertools.pairwise(ends)]
