"""What a Lease says to one candidate, by the candidate's own clock."""

from __future__ import annotations

from typing import Any

import pytest

from wasme.errors import LeadershipLost, UsageError
from wasme.operator.control.lease import LONGEST, Leadership, Observation, Record
from wasme.operator.options import Timing


def lease(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15, **spec}}


def test_a_silent_holder_is_waited_for() -> None:
    """From when it last changed, by the observer's clock and for the holder's duration; its own times say nothing."""
    seen = Observation()
    seen.see(Record.of(lease(renewTime="1999-01-01T00:00:00.000000Z")), 100.0)
    assert seen.held("me", 114.9)
    assert not seen.held("me", 115.0)
    seen.see(Record.of(lease(renewTime="1999-01-01T00:00:00.000000Z")), 114.0)
    assert not seen.held("me", 115.0), "the same again is no sign of life"
    seen.see(Record.of(lease(renewTime="1999-01-01T00:00:02.000000Z")), 116.0)
    assert seen.held("me", 130.9)


def test_nobody_and_oneself_are_not_waited_for() -> None:
    """A Lease that was given back, is new, or is one's own is free."""
    seen = Observation()
    assert not seen.held("me", 0.0)
    for holder in ("", "me"):
        seen.see(Record.of(lease(holderIdentity=holder)), 1.0)
        assert not seen.held("me", 1.0)


@pytest.mark.parametrize(
    ("spec", "holder", "seconds"),
    [
        (None, "", 0.0),
        ("words", "", 0.0),
        ({}, "", 15.0),
        ({"holderIdentity": 7, "leaseDurationSeconds": -1, "leaseTransitions": "x"}, "", 15.0),
        ({"holderIdentity": "x", "leaseDurationSeconds": 2**31 - 1, "leaseTransitions": 2**31 - 1}, "x", LONGEST),
        ({"holderIdentity": "x", "leaseTransitions": -5}, "x", 15.0),
    ],
)
def test_garbage(spec: Any, holder: str, seconds: float) -> None:
    """Whatever stands in a Lease, it is read, and nobody is waited for without an end."""
    found = Record.of({"metadata": {}, "spec": spec})
    assert (found.holder, found.duration, found.transitions) == (holder, seconds, 0)


@pytest.mark.parametrize("times", [(10, 15, 2), (15, 10, 10), (15, 10, 0), (301, 10, 2), (2, 2, 1)])
def test_times_that_do_not_go_together(times: tuple[float, float, float]) -> None:
    """A leader that would go on for longer than others wait for it is refused."""
    with pytest.raises(UsageError, match="do not go together"):
        Leadership(None, "n", "x", "me", Timing(*times))  # type: ignore[arg-type]


def test_before_anything_nothing_may_be_written() -> None:
    """A candidate that was never leader may not write."""
    candidate = Leadership(None, "n", "x", "me", Timing())  # type: ignore[arg-type]
    with pytest.raises(LeadershipLost, match="the lease n/x is not held by me, so nothing is written"):
        candidate.require()
