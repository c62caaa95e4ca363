"""What the agent tells the cluster: its node's status, when that changes, and one Event for each change."""

from __future__ import annotations

import collections
import logging
import random
import threading
import time

import msgspec

from wasme.cache.holdings import Change
from wasme.cache.kube import Kube
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import NodeStatus
from wasme.errors import ClusterError, ClusterUnreachable

log = logging.getLogger(__name__)

_BETWEEN = 0.2
"""Seconds between two writes of the status: while many images arrive, one object is not written for each."""
_LONGEST_PAUSE = 60.0
_AGAIN = 3600.0
"""Seconds, more or less, after which the status is written even so: somebody may have deleted it."""
_MOST_EVENTS = 10_000
_LARGEST_STATUS = 900_000
"""Bytes; an object may have a little more than a million."""
_SHORT_ERROR = 60
_LINGER = 0.5


class Reporter:
    """Writes in a thread of its own, so that nothing waits for the API server.

    Args:
        kube: a client for this thread alone.
        namespace, cache: of the cache's ConfigMap.
        node: the node's name; without one no status is written.
    """

    def __init__(self, kube: Kube, namespace: str, cache: str, node: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._cache = cache
        self._node = node
        self._status: tuple[str, NodeStatus] | None = None
        self._last: tuple[str, NodeStatus] | None = None
        self._written = ""
        self._again = float("inf")
        self._next_write = float("-inf")
        self._refusals = 0
        self._events: collections.deque[Change] = collections.deque(maxlen=_MOST_EVENTS)
        self._wake = threading.Condition()
        self._stopping = False
        self._told: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def status(self, status: NodeStatus, owner: str) -> None:
        """The node's status is this now; ``owner`` is the uid of the cache's ConfigMap."""
        with self._wake:
            self._status = (owner, status)
            self._wake.notify()

    def event(self, change: Change) -> None:
        """Something has changed."""
        with self._wake:
            self._events.append(change)
            self._wake.notify()

    def stop(self) -> None:
        """End at once; what is not told by then will be by the next agent's status."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._kube.interrupt()
        self._thread.join(_LINGER)

    def _run(self) -> None:
        failures = 0
        while True:
            with self._wake:
                if failures:
                    self._wake.wait_for(lambda: self._stopping, min(_LONGEST_PAUSE, 0.25 * 2.0**failures))
                else:
                    rest = min(self._again - time.monotonic(), threading.TIMEOUT_MAX)
                    self._wake.wait_for(lambda: self._stopping or self._status or self._events, max(0.0, rest))
                    if time.monotonic() >= self._again:
                        self._status, self._written = self._status or self._last, ""
                    if self._status and not self._events:
                        rest = self._next_write - time.monotonic()
                        self._wake.wait_for(lambda: self._stopping or self._events, max(0.0, rest))
                if self._stopping:
                    return
            failures = failures + 1 if self._step() else 0

    def _step(self) -> bool:
        """Write what is most urgent; whether the server could not be reached."""
        try:
            if self._status and time.monotonic() >= self._next_write:
                self._write_status(*self._status)
            elif self._events:
                self._write_event()
        except ClusterUnreachable as error:
            self._tell_once("unreachable", error)
            return True
        self._told.pop("unreachable", None)
        return False

    def _write_status(self, owner: str, status: NodeStatus) -> None:
        fits = fitting(status)
        text = f"{owner} {protocol.encode_status(fits)}"
        if text != self._written and self._node and owner:
            obj = protocol.status_object(self._cache, self._namespace, owner, fits)
            path = f"/api/v1/namespaces/{self._namespace}/configmaps/{obj['metadata']['name']}"
            try:
                self._kube.apply(path, obj)
            except ClusterUnreachable:
                raise
            except ClusterError as error:
                # A right that is missing may come; until then Events are written all the same.
                self._tell_once("status", error)
                self._refusals += 1
                self._next_write = time.monotonic() + min(_LONGEST_PAUSE, 0.5 * 2.0 ** min(self._refusals, 10))
                return
            self._told.pop("status", None)
            self._refusals = 0
            self._written, self._last = text, (owner, status)
            # Spread, so that the nodes of a cluster do not all write at once.
            self._again = time.monotonic() + _AGAIN * random.uniform(0.75, 1.25)  # noqa: S311
        self._next_write = time.monotonic() + _BETWEEN
        with self._wake:
            if self._status == (owner, status):
                self._status = None

    def _write_event(self) -> None:
        change = self._events[0]
        obj = protocol.event_object(
            self._cache, self._namespace, self._node, change.ref, module=change.module, error=change.error
        )
        try:
            self._kube.create(f"/api/v1/namespaces/{self._namespace}/events", obj)
            self._told.pop("event", None)
        except ClusterUnreachable:
            raise
        except ClusterError as error:
            self._tell_once("event", error)  # an Event is news, and no news is worth waiting for
        self._events.popleft()

    def _tell_once(self, what: str, error: ClusterError) -> None:
        if self._told.get(what) != error.message:
            self._told[what] = error.message
            words = {"event": "event cannot be written", "status": "the node's status cannot be written"}
            told = words.get(what, "the API server cannot be told")
            log.warning(told, extra={"fields": {"reason": error.message}})


def fitting(status: NodeStatus, largest: int = _LARGEST_STATUS) -> NodeStatus:
    """A status that is small enough to be stored: with thousands of images errors are cut, then images left out.

    Args:
        status: its images in order of weight: those of filters, for which deployments wait, come first.
        largest: bytes.
    """
    size = len(protocol.encode_status(status))
    if size <= largest:
        return status
    cut = tuple(msgspec.structs.replace(each, error=each.error[:_SHORT_ERROR]) for each in status.images)
    status = msgspec.structs.replace(status, images=cut)
    whole, kept = status, len(cut)
    while kept and (size := len(protocol.encode_status(status))) > largest:
        kept = min(kept - 1, int(kept * largest / size))
        told = f"{len(cut) - kept} images are left out here, since the status would be too large"
        status = msgspec.structs.replace(whole, images=cut[:kept], problems=(*whole.problems, told))
    return status
