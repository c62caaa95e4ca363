"""A Lease that is deleted, and made anew by whoever is faster: there are never two leaders."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.fixtures.agents import soon
from tests.unit.deploy.cluster.scripted import Handler, opened, scripted, status
from wasme.operator.control.lease import Leadership
from wasme.operator.options import Timing

TIMING = Timing(duration=4.0, deadline=3.0, retry=0.1)


def lease(holder: str, version: int = 1, seconds: int = 60) -> dict[str, Any]:
    """A Lease as another wasme has made it."""
    meta = {"name": "x", "namespace": "n", "resourceVersion": str(version)}
    fields = [{"manager": "wasme", "operation": "Update", "fieldsV1": {}}]
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {**meta, "managedFields": fields},
        "spec": spec,
    }


@dataclass
class Server:
    """Has one Lease, or none.

    Attributes:
        lease: it.
        faster: another's; it is there right after the first try of whoever creates one, which is lost.
    """

    lease: dict[str, Any] | None
    faster: dict[str, Any] | None = None
    version: int = 1
    wrote: list[str] = field(default_factory=list)

    def __call__(self, ask: Handler, _: int) -> None:
        if ask.command == "GET":
            self._give(ask, self.lease)
            return
        if ask.command == "POST" and self.faster is not None:
            self.lease, self.faster = self.faster, None
            ask.give(503, status(503, "later"))
            return
        sent = json.loads(ask.body)
        now = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if ask.command == "PUT" and now is None:
            self._give(ask, None)
        elif sent["metadata"].get("resourceVersion") != now:
            ask.give(409, status(409, "somebody else wrote it"))
        else:
            self.version += 1
            self.lease = {**sent, "metadata": {**sent["metadata"], "resourceVersion": str(self.version)}}
            self.wrote.append(ask.command)
            ask.give(200, self.lease)

    def _give(self, ask: Handler, found: dict[str, Any] | None) -> None:
        if found is None:
            ask.give(404, status(404, "not found", name="x", kind="leases"))
        else:
            ask.give(200, found)


@contextlib.contextmanager
def candidate(server: Server) -> Iterator[Leadership]:
    """Tries for the Lease until the end."""
    stop = threading.Event()
    with scripted(server) as at, opened(at.url) as cluster:
        leadership = Leadership(cluster, "n", "x", "me", TIMING)
        thread = threading.Thread(target=leadership.run, args=(stop, threading.Event.wait))
        thread.start()
        try:
            yield leadership
        finally:
            stop.set()
            thread.join(10)


def test_anothers_lease_is_not_taken_for_ones_own() -> None:
    """Of a try to make the Lease no answer comes, and the next one finds another's: that one leads, alone."""
    server = Server(lease("other", seconds=1))
    with candidate(server) as me:
        assert soon(lambda: me.holder == "other", 5)
        server.faster, server.lease = lease("faster", 50), None
        assert soon(lambda: server.faster is None, 5)
        assert not soon(lambda: me.leading or bool(server.wrote), 0.8)
        assert me.holder == "faster"


def test_a_leader_that_makes_its_lease_anew_finds_anothers() -> None:
    """It stops at once, though the last renewal would last for longer."""
    server = Server(lease(""))
    with candidate(server) as me:
        assert soon(lambda: me.leading, 5)
        server.faster, server.lease = lease("faster", 50), None
        assert soon(lambda: not me.leading, TIMING.deadline / 2)
        assert me.holder == "faster"


def test_who_makes_the_lease_waits_although_it_knew_one() -> None:
    """Since it last saw one, another may have taken it, and still lead."""
    server = Server(lease("other", seconds=1))
    with candidate(server) as me:
        assert soon(lambda: me.holder == "other", 5)
        server.lease = None
        made = time.monotonic()
        assert soon(lambda: "POST" in server.wrote, 5)
        assert soon(lambda: me.leading, 8)
        assert time.monotonic() - made > TIMING.deadline
