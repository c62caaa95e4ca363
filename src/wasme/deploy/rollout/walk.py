"""Going through a deployment in steps: change some workloads, see that they are well and stay so, then the next ones.

When a step is not well in time, or somebody interrupts, everything that this run has changed is turned back, the last
step first. What is changed is known before it is: a step that was begun counts as changed, however it ended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from wasme.deploy.cluster import Outcomes, parallel
from wasme.deploy.rollout.health import Health
from wasme.deploy.rollout.plan import Pace, grouped
from wasme.errors import DeployFailed, WasmeError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Seen_contra = TypeVar("Seen_contra", contravariant=True)
Result = TypeVar("Result")
Finish = Callable[[Outcomes[Item, Result]], Outcomes[Item, Result]]

_ENDING = 20.0  # seconds that changes under way get to end, before they are turned back
_SLOWEST = 3.0  # seconds between two looks
_TOLD_EVERY = 15.0
_MOST = 5


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a rollout, which has been turned back since."""


class Patient(Protocol[Seen_contra]):
    """How items are changed back, and how they are."""

    def name(self, item: Seen_contra) -> str:
        """As messages call it."""
        ...

    def examine(self, items: Sequence[Seen_contra], *, changed: bool) -> list[Health]:
        """How they are now, in their order; before anything is changed, or when all of these have been."""
        ...

    def turn_back(self, item: Seen_contra) -> None:
        """Make an item be as it was before the run, whatever of it has been changed.

        Raises:
            WasmeError: it could not be.
        """
        ...


@dataclass
class Rollout(Generic[Item, Result]):
    """One rollout.

    Attributes:
        pace: how fast.
        patient: what it is done to.
        clock, sleep: the time, in seconds.
        tell: is told the number of each step that begins, and how many there are.

    What any of these raises that is no ``WasmeError`` ends the run, and turns nothing back.
    """

    pace: Pace
    patient: Patient[Item]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    tell: Callable[[int, int], None] | None = None
    _begun: list[Item] = field(default_factory=list)
    _running: int = 0
    _ended: threading.Condition = field(default_factory=threading.Condition)

    def __call__(
        self, work: Callable[[Item], Result], items: Sequence[Item], finish: Finish[Item, Result] | None = None
    ) -> Outcomes[Item, Result]:
        """Change all items, step by step.

        Args:
            work: changes one.
            items: all of them.
            finish: does what is done for all items of a step together, when each was changed.

        Returns:
            How each ended: all well.

        Raises:
            DeployFailed: an item was not well before, and nothing was changed; or a step was not well, and everything
                was turned back. The message names the item and its reason, and what could not be turned back.
            Interrupted: somebody interrupted, and everything was turned back.
        """
        self._require_well(items)
        steps = grouped(items, self.pace.shares)
        done: list[Outcomes[Item, Result]] = []
        changed = 0
        try:
            for number, step in enumerate(steps, 1):
                changed += len(step)
                if self.tell is not None:
                    self.tell(number, len(steps))
                fields = {"step": f"{number} of {len(steps)}", "workloads": f"{changed} of {len(items)}"}
                log.info("rolling out", extra={"fields": fields})
                done.append(self._change(work, step, finish))
                self._require_healthy([each for part in steps[:number] for each in part])
        except WasmeError as error:
            where = f"the rollout stopped at step {number} of {len(steps)}"
            raise DeployFailed(
                f"{where}: {error.message}; {self._turn_back(steps)}", hint=error.hint or "mend it, then deploy again"
            ) from error
        except KeyboardInterrupt as interrupt:
            log.warning("interrupted: turning back", extra={"fields": {"workloads": len(self._begun)}})
            names = [self.patient.name(each) for each in self._begun]
            try:
                log.warning(self._turn_back(steps))
            except KeyboardInterrupt:
                log.warning("interrupted again; these may be changed still: deploy again, or undeploy",
                            extra={"fields": {"workloads": ", ".join(names)}})  # fmt: skip
                raise
            raise Interrupted from interrupt
        return Outcomes(tuple(each for part in done for each in part))

    def _require_well(self, items: Sequence[Item]) -> None:
        ill = [
            f"{self.patient.name(item)}: {health.reason}"
            for item, health in zip(items, self.patient.examine(items, changed=False), strict=True)
            if health.state != "well"
        ]
        if ill:
            raise DeployFailed(
                f"{len(ill)} of {len(items)} workloads are not well even before the rollout: {_listed(ill)}",
                hint="nothing was changed; mend them first, or deploy to the others by --name or --labels",
            )

    def _change(
        self, work: Callable[[Item], Result], step: Sequence[Item], finish: Finish[Item, Result] | None
    ) -> Outcomes[Item, Result]:
        def recorded(item: Item) -> Result:
            with self._ended:
                self._begun.append(item)
                self._running += 1
            try:
                return work(item)
            finally:
                with self._ended:
                    self._running -= 1
                    self._ended.notify_all()

        outcomes = parallel(recorded, step)
        if finish is not None and not outcomes.failures:
            outcomes = finish(outcomes)
        outcomes.require(self.patient.name)
        return outcomes

    def _require_healthy(self, items: Sequence[Item]) -> None:
        """Wait until all items are well, and stay so for the pause.

        Raises:
            DeployFailed: one is not, in time or at all.
        """
        started = told = self.clock()
        well_since: float | None = None
        look = 0.2
        while True:
            states = self.patient.examine(items, changed=True)
            now = self.clock()
            ill = [
                (self.patient.name(item), each)
                for item, each in zip(items, states, strict=True)
                if each.state != "well"
            ]
            failed = [f"{name}: {each.reason}" for name, each in ill if each.state == "failed"]
            if failed:
                raise DeployFailed(_listed(failed))
            waiting = [f"{name}: {each.reason}" for name, each in ill]
            if waiting and well_since is not None and now - started > self.pace.timeout:
                raise DeployFailed(f"{_listed(waiting)} (after it had been well)")
            if waiting and now - started > self.pace.timeout:
                raise DeployFailed(f"not well within {self.pace.timeout:g} s: {_listed(waiting)}")
            if waiting:
                well_since = None
                if now - told >= _TOLD_EVERY:
                    told = now
                    log.info("waiting for workloads", extra={"fields": {"reason": _listed(waiting)}})
            else:
                well_since = now if well_since is None else well_since
                if now - well_since >= self.pace.pause:
                    return
            self.sleep(look)
            look = min(look * 1.5, _SLOWEST, max(0.2, self.pace.pause))

    def _turn_back(self, steps: Sequence[Sequence[Item]]) -> str:
        """Make everything that was begun be as it was; says how that went."""
        with self._ended:
            self._ended.wait_for(lambda: self._running == 0, _ENDING)
            begun = set(map(id, self._begun))
        failures: list[str] = []
        changed = [[each for each in step if id(each) in begun] for step in steps]
        count = sum(map(len, changed))
        for step in reversed(changed):
            for each in parallel(self.patient.turn_back, step[::-1]).failures:
                assert each.error
                failures.append(f"{self.patient.name(each.item)}: {each.error.message}")
        self._begun.clear()
        if failures:
            return f"{len(failures)} of {count} changed workloads could not be turned back: {_listed(failures)}"
        if not count:
            return "nothing was changed"
        many = "workloads are" if count > 1 else "workload is"
        return f"the {count} changed {many} as before"


def _listed(reasons: Sequence[str]) -> str:
    more = len(reasons) - _MOST
    return "; ".join(reasons[:_MOST]) + (f"; and {more} more" if more > 0 else "")
