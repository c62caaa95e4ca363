"""Transitions as core/v1 Events, which ``kubectl describe`` shows and ``kubectl get events`` lists.

An Event is a courtesy: it is written by a thread of its own, behind the work, and where it cannot be written it is
left out. Nothing here ever raises into a reconcile, nor makes it wait.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import EVENT
from wasme.errors import Conflict, WasmeError
from wasme.operator.names import OPERATOR
from wasme.operator.resources import reasons
from wasme.operator.resources.conditions import Transition
from wasme.operator.resources.listed import cut
from wasme.operator.resources.reasons import Reason

log = logging.getLogger(__name__)

COMPONENT = OPERATOR
NOTE = 1024
"""Bytes of a message: what the API server takes."""
SILENCE = 600.0
"""Seconds for which the same Event of the same object is not told again."""
WAITING = 4096
"""Events that wait to be written; more are left out."""
_REMEMBERED = 16_384
_LONGEST_NAME = 253

Severity = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class Told:
    """One Event to be.

    Attributes:
        about: ``involvedObject``.
        severity: its type.
        reason: CamelCase.
        note: its message.
        topic: what tells it apart from others of the same object, beside severity and reason.
    """

    about: Mapping[str, str]
    severity: Severity
    reason: str
    note: str
    topic: str = ""

    @property
    def name(self) -> str:
        """The Event's own name, the same each time: who comes after us counts on where we stopped."""
        words = (self.about["uid"], self.severity, self.reason, self.topic)
        suffix = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
        return f"{self.about['name'][: _LONGEST_NAME - 17].rstrip('.-')}.{suffix}"


def worth_telling(changes: Iterable[Transition]) -> list[tuple[Severity, str, str, str]]:
    """Which Events a change of status is: (severity, reason, message, topic).

    Ready speaks for the conditions that it is made of, so one change is one Event; Degraded is told beside it where
    it says something else. That a new object is not ready yet is no news.
    """
    found: list[tuple[Severity, str, str, str]] = []
    by_type = {each.type: each for each in changes}
    ready, degraded = by_type.get("Ready"), by_type.get("Degraded")
    if ready is not None and not (not ready.was and reasons.coming(ready.reason)):
        severity: Severity = "Normal" if ready.well or reasons.coming(ready.reason) else "Warning"
        found.append((severity, ready.reason, ready.message, "Ready"))
    if degraded is not None and degraded.reason != Reason.RETRYING and not degraded.well:
        if not found or found[0][2] not in degraded.message:
            found.append(("Warning", degraded.reason, degraded.message, "Degraded"))
        elif found[0][0] == "Normal":
            found[0] = ("Warning", *found[0][1:])
    if ready is None and degraded is not None and degraded.well and degraded.was == "True":
        found.append(("Normal", "Recovered", "it is as wanted again", "Degraded"))
    return found


class Recorder:
    """Writes Events.

    Args:
        cluster: where.
        instance: which of several operators this is, such as the pod's name.
        clock: seconds that only grow.
    """

    def __init__(self, cluster: Cluster, instance: str = "", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._instance = instance
        self._clock = clock
        self._queue: queue.Queue[Told | None] = queue.Queue(WAITING)
        self._lock = threading.Lock()
        self._last: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._thread: threading.Thread | None = None
        self._left_out = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._write_all, name="events", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Write what waits, for so long at most."""
        thread = self._thread
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            return
        thread.join(seconds)

    def record(self, obj: Mapping[str, Any], changes: Iterable[Transition]) -> None:
        """Tell a change of status; returns at once, and raises nothing."""
        for severity, reason, message, topic in worth_telling(changes):
            self.tell(obj, severity, reason, message, topic)

    def tell(self, obj: Mapping[str, Any], severity: Severity, reason: str, message: str, topic: str = "") -> None:
        """Tell something of an object, unless the same was told within ``SILENCE``; returns at once, raises nothing."""
        about = _reference(obj)
        if not about.get("uid") or not about.get("namespace"):
            return
        told = Told(about, severity, str(reason), cut(message, NOTE), topic)
        if not self._news(f"{about['namespace']}/{told.name}"):
            return
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            self._left_out += 1
            if self._left_out % WAITING == 1:
                log.warning("too many Events wait, leaving some out", extra={"fields": {"left out": self._left_out}})

    def _news(self, key: str) -> bool:
        now = self._clock()
        with self._lock:
            last = self._last.get(key)
            if last is not None and now - last < SILENCE:
                return False
            self._last[key] = now
            self._last.move_to_end(key)
            while len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
        return True

    def _write_all(self) -> None:
        while (told := self._queue.get()) is not None:
            try:
                self._write(told)
            except WasmeError as error:
                # Whoever lost the lease, lacks the right, or writes into a namespace that goes: the log has it too.
                fields = {"event": told.reason, "object": told.about["name"], "reason": error.message}
                log.debug("an Event was not written", extra={"fields": fields})
            except Exception:
                log.exception("a bug in wasme: an Event was not written")

    def _write(self, told: Told) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": told.name, "namespace": told.about["namespace"]},
            "involvedObject": dict(told.about),
            "type": told.severity,
            "reason": told.reason,
            "message": told.note,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._cluster.create(made)
        except Conflict:
            # It was told before, by us or by who led before us. Reading it would take a right more; a patch reads it.
            name, namespace = told.name, told.about["namespace"]
            again = self._cluster.patch(EVENT, name, namespace, {"lastTimestamp": now, "message": told.note})
            count = again.get("count")
            self._cluster.patch(EVENT, name, namespace, {"count": (count if isinstance(count, int) else 1) + 1})


def _reference(obj: Mapping[str, Any]) -> dict[str, str]:
    metadata = obj.get("metadata") or {}
    found = {
        "apiVersion": obj.get("apiVersion"),
        "kind": obj.get("kind"),
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "uid": metadata.get("uid"),
        "resourceVersion": metadata.get("resourceVersion"),
    }
    return {name: str(value) for name, value in found.items() if value}
