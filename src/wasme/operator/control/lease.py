"""Who works: one operator of several, decided by a Lease of coordination.k8s.io, by the rules of client-go.

The leader writes its name into the Lease and renews it every two seconds. Whoever else looks at it does not believe
its times, as clocks differ: he notes by his own clock when he last saw it change, and only where that was longer ago
than the Lease's duration he takes it. The leader stops earlier, when it could not renew for less than that duration.

Two never work at once:

- Every write is guarded by ``require``, asked just before its first and before its last byte goes. It goes by a clock
  that also counts while the process, or the machine, is stopped; and from the moment before a renewal was *sent*.
- A conflict while the Lease is renewed means that somebody else wrote it. Who finds another name in it stops at once.
- A Lease that is not there tells nothing. Who misses one that was held waits for its duration; who makes one then
  waits as long as a leader goes on without renewing, for there may be one whose Lease somebody deleted. (The manifests
  bring an empty Lease, so installing them costs no such wait.)
"""

from __future__ import annotations

import datetime
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import LEASE
from wasme.errors import ClusterError, Conflict, LeadershipLost, ObjectRefused, UsageError
from wasme.operator.options import Timing

log = logging.getLogger(__name__)

Object = dict[str, Any]
Lead = Callable[[threading.Event], None]

LONGEST = 300.0
"""Seconds that a silent holder is waited for at most, whatever it wrote; no leader may be so slow to renew."""
STUBBORN = 60.0
"""Seconds that workers have to end when the lease is lost."""
_MOST = 2**31 - 1  # the API's int32


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says.

    Attributes:
        holder: the name of its holder; "" for nobody.
        duration: seconds that a silent holder is waited for.
        transitions: how often the holder has changed.
        spec: all of it, to tell whether it changed.
    """

    holder: str = ""
    duration: float = 0.0
    transitions: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, lease: Mapping[str, Any]) -> Record:
        """Of an object, however odd: a Lease that nobody can read must not keep everybody from working for ever."""
        spec = lease.get("spec")
        if not isinstance(spec, dict):
            return cls()
        holder, duration, transitions = (
            spec.get(name) for name in ("holderIdentity", "leaseDurationSeconds", "leaseTransitions")
        )
        seconds = float(duration) if isinstance(duration, int) and duration > 0 else Timing().duration
        return cls(
            holder if isinstance(holder, str) else "",
            min(seconds, LONGEST),
            transitions if isinstance(transitions, int) and 0 <= transitions < _MOST else 0,
            spec,
        )


class Observation:
    """A Lease as one candidate sees it: what it says, and since when it says that, by the candidate's own clock."""

    def __init__(self) -> None:
        self.record: Record | None = None
        self._since = -math.inf

    def see(self, record: Record, now: float) -> None:
        """Note what it says now."""
        if self.record is None or self.record.spec != record.spec:
            self.record, self._since = record, now

    def held(self, identity: str, now: float) -> bool:
        """Whether somebody else may still rely on it."""
        if self.record is None or self.record.holder in ("", identity):
            return False
        return now < self._since + self.record.duration


class Leadership:
    """One candidate.

    Args:
        cluster: where; its own connections are used, with less patience.
        namespace, name: of the Lease.
        identity: of this candidate; no other may have the same.
        timing: when what happens.
        clock: seconds that only go on; another for tests.

    Raises:
        UsageError: the times do not go together.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        timing: Timing,
        *,
        clock: Callable[[], float] = _now,
    ) -> None:
        _check(timing)
        self._cluster = cluster
        self._namespace, self._name = namespace, name
        self.identity = identity
        self._timing = timing
        self._clock = clock
        self._observed = Observation()
        self._lease: Object | None = None
        self._until = -math.inf
        self._leading = False
        self._problem = ""

    @property
    def leading(self) -> bool:
        """Whether this candidate may write now."""
        return self._leading and self._clock() < self._until

    @property
    def holder(self) -> str:
        """Who has the Lease, as last seen; "" for nobody."""
        record = self._observed.record
        return record.holder if record else ""

    def require(self) -> None:
        """Go on only where the Lease is certainly held.

        Raises:
            LeadershipLost: it is not.
        """
        if not self.leading:
            raise LeadershipLost(
                f"the lease {self._namespace}/{self._name} is not held by {self.identity}, so nothing is written",
                hint="another operator works, or the API server was away for too long; it goes on by itself",
            )

    def run(self, stop: threading.Event, lead: Lead) -> None:
        """Be a candidate until ``stop`` is set; while the Lease is held, ``lead`` is called in a thread of its own.

        Args:
            stop: ends it: ``lead`` is told and waited for, then the Lease is given back.
            lead: works until the event that it is given is set: the lease is lost, or ``stop`` is set.

        Raises:
            LeadershipLost: ``lead`` did not end in a minute when it was told to; the process is to end.
            Exception: what ``lead`` raised; the Lease was given back.
        """
        while self._acquire(stop):
            self._led(stop, lead)

    # To get it

    def _acquire(self, stop: threading.Event) -> bool:
        """Wait until it is held; False where ``stop`` came before."""
        while not stop.is_set():
            leads_from = self._tried()
            if leads_from is not None and self._outlasted(leads_from, stop):
                fields = {"lease": self._name, "identity": self.identity}
                log.info("leading", extra={"fields": fields})
                self._leading = True
                return True
            stop.wait(self._timing.retry * (1 + random.random() / 5))  # noqa: S311
        return False

    def _tried(self) -> float | None:
        """Try once; the time from which it may be relied on, None where it is not held."""
        try:
            return self._try()
        except (Conflict, LeadershipLost):
            return None
        except ClusterError as error:
            self._told(error)
            return None

    def _try(self) -> float | None:
        began = self._clock()
        cluster = self._quick()
        lease = cluster.get(LEASE, self._name, self._namespace)
        before = self.holder
        if lease is None:
            if self._observed.held(self.identity, began):
                return None
            self._wrote(cluster.create(self._renewed(None, self._observed.record)), began)
            return began + self._timing.deadline
        self._observed.see(Record.of(lease), self._clock())
        if self.holder != before and self.holder not in ("", self.identity):
            log.info("another operator leads", extra={"fields": {"lease": self._name, "holder": self.holder}})
        if self._observed.held(self.identity, self._clock()):
            return None
        began = self._clock()
        self._wrote(cluster.replace(self._renewed(lease, Record.of(lease))), began)
        return began

    def _outlasted(self, leads_from: float, stop: threading.Event) -> bool:
        """Hold what was just got until it may be relied on."""
        if leads_from > self._clock():
            fields = {"lease": self._name, "seconds": round(leads_from - self._clock(), 1)}
            log.info("made the lease, and wait: there may be a leader whose lease is gone", extra={"fields": fields})
        while leads_from > self._clock():
            stop.wait(min(self._timing.retry, leads_from - self._clock()))
            if stop.is_set():
                self._release()
                return False
            if not self._renew():
                return False
        return True

    # To keep it

    def _led(self, stop: threading.Event, lead: Lead) -> None:
        """Have ``lead`` called, and renew for as long as it works."""
        over = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                lead(over)
            except BaseException as error:
                failed.append(error)

        worker = threading.Thread(target=work, name="leading", daemon=True)
        worker.start()
        due = self._clock() + self._timing.retry
        held, patient = True, math.inf
        while worker.is_alive() and self._clock() < patient:
            if not over.is_set() and (stop.is_set() or not held):
                over.set()
                patient = self._clock() + STUBBORN
            worker.join(0.1)
            if held and worker.is_alive() and self._clock() >= due:
                due = self._clock() + self._timing.retry
                held = self._renew()
            if held and self._clock() >= self._until:
                held = False
            if not held and self._leading:
                self._leading = False
                log.warning("the lease is lost", extra={"fields": {"lease": self._name, "holder": self.holder}})
        self._leading = False
        if held:
            self._release()
        if worker.is_alive():
            raise LeadershipLost(
                f"what works by the lease {self._namespace}/{self._name} does not end",
                hint="the process ends, and is started anew",
            )
        if failed:
            raise failed[0]

    def _renew(self) -> bool:
        """Renew; False where it is lost. Where that cannot be told now, it is taken for lost when its time is over."""
        try:
            self._renew_once()
        except LeadershipLost:
            self._until = -math.inf
            return False
        except ClusterError as error:
            self._told(error)
        return self._clock() < self._until

    def _renew_once(self) -> None:
        began = self._clock()
        cluster = self._quick()
        known = self._observed.record or Record()
        if self._lease is not None:
            try:
                self._wrote(cluster.replace(self._renewed(self._lease, known)), began)
                return
            except (Conflict, ObjectRefused):
                self._lease = None  # somebody wrote it, or deleted it: looked at before anything else
        began = self._clock()
        lease = cluster.get(LEASE, self._name, self._namespace)
        if lease is None:
            self._wrote(cluster.create(self._renewed(None, known)), began)
            return
        found = Record.of(lease)
        self._require_ours(found)
        self._wrote(cluster.replace(self._renewed(lease, found)), began)

    def _release(self) -> None:
        """Give it back, so that the next one need not wait."""
        self._until = -math.inf
        if self._lease is None:
            return
        lease = self._renewed(self._lease, Record.of(self._lease))
        lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            self._quick().replace(lease)
            log.info("gave the lease back", extra={"fields": {"lease": self._name}})
        except ClusterError as error:
            log.debug("the lease was not given back", extra={"fields": {"reason": error.message}})
        self._lease = None

    # What is written

    def _renewed(self, lease: Object | None, record: Record | None) -> Object:
        """The Lease with our name in it.

        Args:
            lease: as it was read; None for a new one.
            record: what it says, or said before it went.
        """
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = record or Record()
        own = before.holder == self.identity
        changes = 0 if own or record is None else 1
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._timing.duration),
            "acquireTime": before.spec.get("acquireTime", now) if own else now,
            "renewTime": now,
            "leaseTransitions": min(before.transitions + changes, _MOST),
        }
        meta = {"name": self._name, "namespace": self._namespace}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": lease["metadata"] if lease else meta,
            "spec": spec,
        }

    def _wrote(self, lease: Object, began: float) -> None:
        """The server has it: held from the moment before it was asked to.

        Raises:
            LeadershipLost: it has another's, who made it after a try of ours was lost; for the next one, ``create``
                cannot tell whose that is.
        """
        found = Record.of(lease)
        self._require_ours(found)
        self._lease = lease
        self._observed.see(found, began)
        self._until = began + self._timing.deadline
        self._problem = ""

    def _require_ours(self, found: Record) -> None:
        """Go on only where our name is in it.

        Raises:
            LeadershipLost: it is not. Emptied is as good as taken: another may have had it in between.
        """
        if found.holder != self.identity:
            self._observed.see(found, self._clock())
            raise LeadershipLost(f"{found.holder or 'nobody'} holds the lease")

    def _quick(self) -> Cluster:
        """The cluster, with patience for less than what is left."""
        left = self._until - self._clock() if self._leading else math.inf
        return self._cluster.hasty(max(0.5, min(self._timing.deadline / 2, left)))

    def _told(self, error: ClusterError) -> None:
        log.log(
            logging.DEBUG if error.message == self._problem else logging.WARNING,
            "the lease cannot be read or written",
            extra={"fields": {"lease": self._name, "reason": error.message}},
        )
        self._problem = error.message


def _check(timing: Timing) -> None:
    if not 0 < timing.retry < timing.deadline < timing.duration <= LONGEST:
        raise UsageError(
            f"the times of the lease do not go together: {timing.duration} s duration, {timing.deadline} s deadline, "
            f"{timing.retry} s between tries",
            hint=f"they must grow from tries to deadline to duration, which is at most {LONGEST:.0f} s",
        )
