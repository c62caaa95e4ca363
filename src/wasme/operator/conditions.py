"""What one look found out, as ``status``: conditions, the original's map of workloads, targets, image and nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasme.operator.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition whose status word or reason is another one than before.

    Attributes:
        type: of the condition.
        was: the status word before; "" where there was no such condition.
        status: the status word now.
        reason: now.
        message: now.
    """

    type: str
    was: str
    status: str
    reason: str
    message: str


def status(before: Mapping[str, Any] | None, obj: Mapping[str, Any], outcome: Outcome, *, now: str = "") -> dict[str, Any]:
    """The status that tells an outcome; the same as ``before`` where it tells the same.

    Args:
        before: the object's status as it is stored, of whatever version.
        obj: the object.
        outcome: what one look found out.
        now: the time as RFC 3339; "" takes the clock's.
    """
    raise NotImplementedError


def transitions(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Transition]:
    """The conditions whose status word or reason changed."""
    raise NotImplementedError
