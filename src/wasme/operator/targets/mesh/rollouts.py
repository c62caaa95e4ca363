"""Rollouts: each in a thread of its own, so that no worker waits for pods.

A run ends in one of three ways. All steps are done, or one is not well and everything is turned back: both are its own
end, and are remembered for as long as the same is wanted; that it was turned back stands in the status, too, for the
operator after this one. Or it is ended from without: something else is wanted by
now, the lease is lost, the process ends, or the API server is away. Then nothing is turned back, since whoever looks
next takes it up where it stands: what is changed already is as wanted, and is no step of the next run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from wasme.deploy.cluster import Outcomes
from wasme.deploy.istio.apply import Done, Step
from wasme.deploy.rollout.health import Health
from wasme.deploy.rollout.plan import Pace
from wasme.deploy.rollout.walk import Patient, Rollout
from wasme.errors import ClusterUnreachable, DeployFailed, LeadershipLost, RolledBack, WasmeError
from wasme.operator.resources.remembered import HINT
from wasme.operator.resources.wanted import Key

log = logging.getLogger(__name__)

PAUSE = 10.0
"""Seconds until workloads that were not well are looked at again."""
_ENDING = 10.0  # seconds that changes under way get to end


class Aim(NamedTuple):
    """What a rollout brings about; another image or another spec is another one.

    Attributes:
        uid, generation: of the FilterDeployment.
        manifest: digest of the image.
    """

    uid: str
    generation: int
    manifest: str


class Ended(Exception):
    """A run was ended from without. Not a ``WasmeError``: nothing is turned back."""


@dataclass
class Run:
    """One rollout, running or over.

    Attributes:
        aim: what it brings about.
        progress: ``step 1 of 3``; "" once it is over.
        error: why it was turned back; None for anything else.
        over: it does nothing any more.
        done: all steps were done.
        unwell: why it did not begin: a workload was not well, so nothing was changed. It is tried again after a while.
        until: monotonic time until which that is waited for.
    """

    aim: Aim
    progress: str = "it begins"
    error: WasmeError | None = None
    over: bool = False
    done: bool = False
    unwell: WasmeError | None = None
    until: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None


class Rollouts:
    """All rollouts of this process.

    Args:
        call: called with the key when a run has come further, or is over.
    """

    def __init__(self, call: Callable[[Key], None]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._runs: dict[Key, Run] = {}
        self._closed = False

    def of(self, key: Key) -> Run | None:
        """The last run of a FilterDeployment."""
        with self._lock:
            return self._runs.get(key)

    def remember(self, key: Key, aim: Aim, error: RolledBack) -> None:
        """An operator before this one has turned it back."""
        with self._lock:
            self._runs.setdefault(key, Run(aim, "", error=error, over=True))

    def settled(self, key: Key, aim: Aim) -> None:
        """All is as this wants it: what changes from now on is mended at once, and not in steps."""
        with self._lock:
            run = self._runs.get(key)
            if run is None or run.over:
                self._runs[key] = Run(aim, "", over=True, done=True)

    def begin(
        self,
        key: Key,
        aim: Aim,
        pace: Pace,
        patient: Patient[Step],
        steps: Sequence[Step],
        work: Callable[[Step], Done],
        finish: Callable[[Outcomes[Step, Done]], Outcomes[Step, Done]],
    ) -> Run:
        """Begin a run; none may be under way for the key."""
        run = Run(aim)
        with self._lock:
            if self._closed:
                run.over = True
                return run
            before = self._runs.get(key)
            assert before is None or before.over
            self._runs[key] = run
            args = (key, run, pace, patient, steps, work, finish)
            run._thread = threading.Thread(target=self._run, args=args, name=f"rollout {key}", daemon=True)
            run._thread.start()
        return run

    def end(self, key: Key, *, wait: float = 0.0) -> bool:
        """End a run without turning it back; whether it is over after so many seconds."""
        with self._lock:
            run = self._runs.get(key)
        if run is None or run.over:
            return True
        run._stop.set()
        if run._thread is not None and wait:
            run._thread.join(wait)
        return run.over

    def forget(self, key: Key) -> None:
        """The FilterDeployment is gone."""
        self.end(key)
        with self._lock:
            self._runs.pop(key, None)

    def close(self) -> None:
        """End all runs, without turning them back: another operator, or this one later, takes them up again."""
        with self._lock:
            self._closed = True
            runs = list(self._runs.values())
        for each in runs:
            each._stop.set()
        until = time.monotonic() + _ENDING
        for each in runs:
            if each._thread is not None:
                each._thread.join(max(0.0, until - time.monotonic()))

    def _run(
        self,
        key: Key,
        run: Run,
        pace: Pace,
        patient: Patient[Step],
        steps: Sequence[Step],
        work: Callable[[Step], Done],
        finish: Callable[[Outcomes[Step, Done]], Outcomes[Step, Done]],
    ) -> None:
        def change(step: Step) -> Done:
            with _from_without(run._stop):
                return work(step)

        def ended(outcomes: Outcomes[Step, Done]) -> Outcomes[Step, Done]:
            with _from_without(run._stop):
                return finish(outcomes)

        begun: list[int] = []

        def tell(number: int, count: int) -> None:
            begun.append(number)
            run.progress = f"step {number} of {count}"
            self._call(key)

        def sleep(seconds: float) -> None:
            if run._stop.wait(seconds):
                raise Ended

        fields = {"filterdeployment": str(key)}
        rollout: Rollout[Step, Done] = Rollout(pace, _Careful(patient, run._stop), sleep=sleep, tell=tell)
        try:
            rollout(change, steps, ended)
            run.done = True
            log.info("rolled out", extra={"fields": fields})
        except Ended:
            log.info("a rollout was ended; it is taken up again", extra={"fields": fields})
        except WasmeError as error:
            if not begun:
                run.unwell, run.until = error, time.monotonic() + PAUSE
                log.info("a rollout waits", extra={"fields": {**fields, "reason": error.message}})
                return
            run.error = RolledBack(error.message, hint=HINT)
            log.warning("a rollout was turned back", extra={"fields": {**fields, "reason": error.message}})
        except Exception as error:
            log.exception("a bug in wasme: a rollout failed", extra={"fields": fields})
            run.error = DeployFailed(f"the rollout failed: a bug in wasme ({type(error).__name__})")
        finally:
            run.progress = ""
            run.over = True
            self._call(key)


class _Careful:
    """A patient of a run that may be ended from without, and that outlasts an API server that is away."""

    def __init__(self, patient: Patient[Step], stop: threading.Event) -> None:
        self._patient = patient
        self._stop = stop

    def name(self, item: Step) -> str:
        return self._patient.name(item)

    def examine(self, items: Sequence[Step], *, changed: bool) -> list[Health]:
        with _from_without(self._stop):
            return self._patient.examine(items, changed=changed)

    def turn_back(self, item: Step) -> None:
        # Not begun where the lease is lost: each write would be refused, and the next operator takes it up.
        with _from_without(self._stop):
            self._patient.turn_back(item)


@contextmanager
def _from_without(stop: threading.Event) -> Iterator[None]:
    """Turn what ends a run from without into ``Ended``."""
    if stop.is_set():
        raise Ended
    try:
        yield
    except (LeadershipLost, ClusterUnreachable) as error:
        raise Ended from error
