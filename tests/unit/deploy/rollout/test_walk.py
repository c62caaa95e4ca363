"""The order of a rollout: steps, waiting, turning back. Time is told, not waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from wasme.deploy.rollout.health import WELL, Health
from wasme.deploy.rollout.plan import Pace, parse
from wasme.deploy.rollout.walk import Interrupted, Rollout
from wasme.errors import ClusterError, DeployFailed


@dataclass
class Ward:
    """Workloads that are numbers; what happens to them in order."""

    ill: Callable[[int, float], Health] = lambda _item, _now: WELL
    now: float = 0.0
    acts: list[str] = field(default_factory=list)
    stubborn: frozenset[int] = frozenset()
    changed: set[int] = field(default_factory=set)

    def name(self, item: int) -> str:
        return f"w{item}"

    def examine(self, items: Sequence[int], *, changed: bool) -> list[Health]:
        return [self.ill(each, self.now) if each in self.changed or not changed else WELL for each in items]

    def turn_back(self, item: int) -> None:
        self.acts.append(f"-{item}")
        if item in self.stubborn:
            raise ClusterError("the server said no")

    def change(self, item: int) -> int:
        self.acts.append(f"+{item}")
        self.changed.add(item)
        return item

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def rollout(self, steps: str = "1,50%", pause: float = 10, timeout: float = 60) -> Rollout[int, int]:
        return Rollout(Pace(parse(steps), pause, timeout), self, clock=lambda: self.now, sleep=self.sleep)


def test_all_well() -> None:
    """Each step is changed, stays well for the pause, and is followed by the next; all outcomes come back."""
    ward = Ward()
    outcomes = ward.rollout()(ward.change, range(4))
    assert [each.item for each in outcomes] == [0, 1, 2, 3]
    assert ward.acts[:2] == ["+0", "+1"]
    assert ward.now >= 30, "three steps of ten seconds"


def test_failing_canary() -> None:
    """When the first workload fails, no other is touched, and it alone is turned back; item and reason are told."""
    ward = Ward(ill=lambda item, now: Health("failed", "pod x crashes") if now > 2 else WELL)
    with pytest.raises(DeployFailed) as caught:
        ward.rollout()(ward.change, range(10))
    assert ward.acts == ["+0", "-0"]
    assert caught.value.message == (
        "the rollout stopped at step 1 of 3: w0: pod x crashes; the 1 changed workload is as before"
    )


def test_later_step_fails() -> None:
    """A workload of an earlier step that becomes ill stops the rollout too; the last step is turned back first."""
    ward = Ward(ill=lambda item, now: Health("failed", "no") if item == 0 and now > 15 else WELL)
    with pytest.raises(DeployFailed, match=r"step 2 of 3: w0: no; the 2 changed workloads are as before"):
        ward.rollout()(ward.change, range(4))
    assert ward.acts == ["+0", "+1", "-1", "-0"]


def test_too_slow() -> None:
    """What is not well in time is told with what it waits for."""
    ward = Ward(ill=lambda item, now: Health("coming", "1 of 2 pods are new") if now > 0 else WELL)
    with pytest.raises(DeployFailed, match="not well within 60 s: w0: 1 of 2 pods are new"):
        ward.rollout()(ward.change, range(4))
    assert 60 <= ward.now < 70


def test_flapping_is_not_well() -> None:
    """A workload that is well for less than the pause at a time never passes."""
    ward = Ward(ill=lambda item, now: Health("coming", "not ready") if int(now / 4) % 2 else WELL)
    with pytest.raises(DeployFailed, match="not ready"):
        ward.rollout()(ward.change, range(2))
    assert ward.acts == ["+0", "-0"]


def test_ill_before() -> None:
    """Workloads that are not well before the rollout are told, and nothing is changed."""
    ward = Ward(ill=lambda item, now: Health("coming", "0 of 1 pods are available") if item == 3 else WELL)
    with pytest.raises(DeployFailed, match="1 of 4 workloads are not well even before the rollout: w3: 0 of 1"):
        ward.rollout()(ward.change, range(4))
    assert ward.acts == []


def test_refused_change() -> None:
    """A change that the server refuses stops the rollout; what was begun is turned back, that one too."""
    ward = Ward()

    def change(item: int) -> int:
        ward.change(item)
        if item == 2:
            raise ClusterError("admission says no")
        return item

    with pytest.raises(DeployFailed, match=r"step 3 of 3: 1 of 2 failed: w2: admission says no; the 4 changed"):
        ward.rollout()(change, range(4))
    assert sorted(ward.acts[4:6]) == ["-2", "-3"]
    assert ward.acts[6:] == ["-1", "-0"]


def test_interrupted() -> None:
    """Ctrl-C turns everything back, and is still an interrupt."""
    ward = Ward()

    def sleep(seconds: float) -> None:
        ward.sleep(seconds)
        if ward.now > 16:
            raise KeyboardInterrupt

    rollout = ward.rollout()
    rollout.sleep = sleep
    with pytest.raises(Interrupted):
        rollout(ward.change, range(4))
    assert ward.acts == ["+0", "+1", "-1", "-0"]


def test_interrupted_twice(caplog: pytest.LogCaptureFixture) -> None:
    """Ctrl-C while it turns back leaves at once, and names what may be changed still."""
    ward = Ward()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    rollout = ward.rollout()
    rollout.sleep = interrupt
    ward.turn_back = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        rollout(ward.change, range(4))
    assert not isinstance(caught.value, Interrupted), "nothing may be concluded from it"
    (told,) = [each for each in caplog.records if "interrupted again" in each.message]
    assert told.__dict__["fields"] == {"workloads": "w0"}


def test_what_cannot_be_turned_back() -> None:
    """Where turning back fails, the message says for what, with the reason; the others are turned back."""
    ward = Ward(ill=lambda item, now: Health("failed", "no") if now > 25 else WELL, stubborn=frozenset({1}))
    with pytest.raises(DeployFailed) as caught:
        ward.rollout()(ward.change, range(4))
    assert "1 of 4 changed workloads could not be turned back: w1: the server said no" in caught.value.message
    assert set(ward.acts[4:]) == {"-0", "-1", "-2", "-3"}
