"""Candidates for one Lease on a real API server: somebody always leads, and never two at once."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.fronts import Front
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.errors import LeadershipLost
from wasme.operator.control.lease import Leadership
from wasme.operator.options import Timing

SHORT = Timing(duration=6.0, deadline=4.5, retry=0.4)
"""Not so short that a machine where all stands still for a moment loses it."""


@dataclass
class Candidate:
    """One in threads of this process; while it leads it does nothing else."""

    leadership: Leadership
    cluster: Cluster
    stop: threading.Event = field(default_factory=threading.Event)
    led: int = 0
    error: BaseException | None = None
    thread: threading.Thread | None = None

    @property
    def guarded(self) -> Cluster:
        return self.cluster.guarded(self.leadership.require)

    def run(self, lead: Callable[[threading.Event], None] | None = None) -> None:
        def work() -> None:
            try:
                self.leadership.run(self.stop, lead or self._lead)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def _lead(self, over: threading.Event) -> None:
        self.led += 1
        over.wait()

    def end(self) -> None:
        self.stop.set()
        assert self.thread
        self.thread.join(15)
        assert not self.thread.is_alive()


@pytest.fixture
def candidate(control_plane: ControlPlane, namespace: str) -> Iterator[Callable[..., Candidate]]:
    """``candidate("a")`` runs one; all of them end with the test."""
    made: list[Candidate] = []

    def start(
        identity: str, by: Path = control_plane.kubeconfig, *, run: bool = True, timing: Timing = SHORT
    ) -> Candidate:
        cluster = connect(by)
        made.append(Candidate(Leadership(cluster, namespace, "operator", identity, timing), cluster))
        if run:
            made[-1].run()
        return made[-1]

    yield start
    for each in made:
        if each.thread:
            each.end()
        each.cluster.close()


@pytest.fixture
def lease(api: Api, namespace: str) -> Callable[[], Any]:
    """The Lease as it is; one that is empty is there, as the manifests bring it."""
    meta = {"name": "operator", "namespace": namespace}
    api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta})
    return lambda: api.find(_path(namespace))


def _path(namespace: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/operator"


def _leads(each: Candidate, seconds: float = 30) -> float:
    began = time.monotonic()
    wait_until(lambda: each.leadership.leading, seconds, "does not lead")
    return time.monotonic() - began


def _renewed(lease: Callable[[], Any]) -> None:
    """Wait until who leads has renewed once more."""
    before = lease()["spec"]["renewTime"]
    wait_until(lambda: lease()["spec"]["renewTime"] != before, 20, "nobody renews")


def test_one_leads_and_the_other_takes_over_at_once(
    candidate: Callable[..., Candidate], lease: Callable[[], Any]
) -> None:
    """Of two one leads; when it ends it gives the Lease back, and the other leads within a try. Each change counts."""
    first = candidate("first")
    assert _leads(first) < SHORT.deadline - 1, "waited though nobody could have led"
    second = candidate("second")
    time.sleep(SHORT.duration + 2)
    assert (first.leadership.leading, second.leadership.leading) == (True, False)
    with pytest.raises(LeadershipLost):
        second.guarded.apply(config_map("default"))
    spec = lease()["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"], spec["leaseDurationSeconds"]) == ("first", 1, 6)
    first.end()
    assert _leads(second) < SHORT.duration - 2, "waited though it was given back"
    assert (lease()["spec"]["holderIdentity"], lease()["spec"]["leaseTransitions"]) == ("second", 2)
    second.end()
    assert lease()["spec"]["holderIdentity"] == ""


def test_a_leader_that_dies(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], door: Front, namespace: str
) -> None:
    """A leader that is heard of no more stops itself, and is replaced after the Lease's duration, not before."""
    first = candidate("first", door.kubeconfig)
    _leads(first)
    second = candidate("second")
    wait_until(lambda: second.leadership.holder == "first", 20, "the second has not seen who leads")
    door.before = lambda _: True  # its writes are lost from here on
    began = time.monotonic()
    wait_until(lambda: not first.leadership.leading, 20, "still leads")
    assert time.monotonic() - began < SHORT.duration, "goes on when others may lead"
    renewed = datetime.datetime.fromisoformat(lease()["spec"]["renewTime"])
    _leads(second)
    spec = lease()["spec"]
    silent = (datetime.datetime.fromisoformat(spec["acquireTime"]) - renewed).total_seconds()
    assert silent > SHORT.duration - 0.1, "taken from a leader that might have been alive"
    assert silent < SHORT.duration + 2 * SHORT.retry + 4
    assert spec["holderIdentity"] == "second"
    door.before = lambda _: False
    time.sleep(1)
    assert (first.leadership.leading, second.leadership.leading) == (False, True)
    second.end()
    _leads(first)
    wait_until(lambda: first.led == 2, 10, "not back in the same process")


def test_the_server_is_away(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], control_plane: ControlPlane
) -> None:
    """The leader goes on through a short restart of the API server; through a long one nobody leads, then one does."""
    first = candidate("first")
    _leads(first)
    second = candidate("second")
    wait_until(lambda: second.leadership.holder == "first", 20, "the second has not seen who leads")
    for seconds, leads in ((1.0, True), (SHORT.deadline + 0.7, False)):
        control_plane.pause()
        try:
            time.sleep(seconds)
            assert first.leadership.leading is leads
            assert not second.leadership.leading
        finally:
            control_plane.resume()
        if leads:
            _renewed(lease)
            assert (first.leadership.leading, first.led) == (True, 1)
    wait_until(lambda: first.leadership.leading or second.leadership.leading, 40, "nobody leads")
    assert not (first.leadership.leading and second.leadership.leading)


def test_somebody_deletes_the_lease(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], api: Api, namespace: str
) -> None:
    """A Lease that is deleted is made anew by its holder, who goes on; a candidate that waits does not take it."""
    first = candidate("first")
    _leads(first)
    second = candidate("second")
    # Who has never seen it held would make it, and wait until that cannot be any more.
    wait_until(lambda: second.leadership.holder == "first", 20, "the second has not seen who leads")
    for _ in range(3):
        api.delete(_path(namespace))
        wait_until(lambda: (lease() or {}).get("spec", {}).get("holderIdentity"), 20, "nobody makes it anew")
        assert lease()["spec"]["holderIdentity"] == "first"
        assert first.led == 1
        assert not second.leadership.leading
        time.sleep(0.5)


def test_a_lease_that_is_not_there(candidate: Callable[..., Candidate], api: Api, namespace: str) -> None:
    """Who makes the Lease waits as long as a leader might go on whose Lease was deleted; of two that do, one leads."""
    began = time.monotonic()
    first, second = candidate("first"), candidate("second")
    wait_until(lambda: first.leadership.leading or second.leadership.leading, 30, "nobody leads")
    assert time.monotonic() - began > SHORT.deadline - 0.2
    assert not (first.leadership.leading and second.leadership.leading)
    assert api.get(_path(namespace))["spec"]["leaseTransitions"] == 0


@pytest.mark.parametrize(
    "spec",
    [
        {"holderIdentity": "somebody", "leaseDurationSeconds": 3, "renewTime": "2199-01-01T00:00:00.000000Z"},
        {"holderIdentity": "", "leaseTransitions": 2**31 - 1},
        {"holderIdentity": "", "leaseDurationSeconds": 2**31 - 1},
    ],
    ids=["a time to come", "many changes", "a long time"],
)
def test_a_lease_that_lies(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], api: Api, namespace: str, spec: dict[str, Any]
) -> None:
    """Whatever somebody wrote into the Lease, it keeps nobody from leading for longer than it may."""
    lease()
    api.patch(_path(namespace), {"spec": spec})
    assert _leads(candidate("first")) < 20


def test_somebody_else_writes_the_lease(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], api: Api, namespace: str
) -> None:
    """A leader that finds another name in its Lease stops within a try, and its writes are refused."""
    first = candidate("first")
    _leads(first)
    api.patch(_path(namespace), {"spec": {"holderIdentity": "kubectl"}})
    wait_until(lambda: not first.leadership.leading, SHORT.deadline - 1.0, "still leads")
    with pytest.raises(LeadershipLost):
        first.guarded.apply(config_map(namespace))
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/x") is None
    _leads(first)  # that holder is silent


def test_what_works_fails(candidate: Callable[..., Candidate], lease: Callable[[], Any]) -> None:
    """Work that fails gives the Lease back and ends the candidate with its error."""

    def lead(_: threading.Event) -> None:
        raise ZeroDivisionError

    lease()
    first = candidate("first", run=False)
    first.run(lead)
    wait_until(lambda: first.error is not None, 20, "goes on")
    assert isinstance(first.error, ZeroDivisionError)
    assert lease()["spec"]["holderIdentity"] == ""


def test_the_guard_is_asked_for_each_try(
    candidate: Callable[..., Candidate], lease: Callable[[], Any], door: Front, namespace: str, api: Api
) -> None:
    """A write that is tried again for seconds is not sent any more once the Lease is lost; reading goes on."""
    first = candidate("first", door.kubeconfig)
    _leads(first)
    door.answer("/configmaps/x", 503, method="PATCH", times=1000, message="later")
    failed: list[BaseException] = []

    def write() -> None:
        try:
            first.guarded.apply(config_map(namespace))
        except LeadershipLost as error:
            failed.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: sum("/configmaps/x" in each.path for each in door.asked) > 2, 20, "not tried again")
    api.patch(_path(namespace), {"spec": {"holderIdentity": "kubectl", "leaseDurationSeconds": 60}})
    writer.join(25)  # less than it is tried for
    assert len(failed) == 1
    door.answered()
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/x") is None
    assert first.guarded.get(CONFIG_MAP, "x", namespace) is None


_PROCESS = """
import sys, threading, time
from pathlib import Path
from wasme.deploy.cluster import connect
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.errors import LeadershipLost
from wasme.operator.control.lease import Leadership
from wasme.operator.options import Timing
kubeconfig, namespace, name = sys.argv[1:]
cluster = connect(Path(kubeconfig))
leadership = Leadership(cluster, namespace, "operator", name, Timing(6.0, 4.5, 0.4))
guarded = cluster.guarded(leadership.require)

def lead(over):
    number = 0
    while not over.is_set():
        number += 1
        try:
            guarded.create({"apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"generateName": f"{name}-", "namespace": namespace}})
        except LeadershipLost:
            print("refused", flush=True)
        time.sleep(0.005)

print("runs", flush=True)
leadership.run(threading.Event(), lead)
"""


def test_a_leader_that_was_stopped_writes_nothing_more(
    control_plane: ControlPlane, lease: Callable[[], Any], namespace: str, api: Api
) -> None:
    """A leader that writes all the time is stopped (SIGSTOP), replaced, and goes on: it writes nothing any more, and
    leads again when the other has ended. Of the writes of both none is between two of the other's term."""
    lease()
    processes: list[subprocess.Popen[str]] = []

    def start(name: str) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", _PROCESS, str(control_plane.kubeconfig), namespace, name],
                stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )  # fmt: skip
        return processes[-1]

    def written(name: str) -> int:
        return sum(each["metadata"]["name"].startswith(f"{name}-") for each in api.list(
            f"/api/v1/namespaces/{namespace}/configmaps"))  # fmt: skip

    try:
        first = start("first")
        wait_until(lambda: written("first") > 20, 60, "the first does not write")
        second = start("second")
        time.sleep(1.5)
        assert written("second") == 0
        first.send_signal(signal.SIGSTOP)
        wait_until(lambda: written("second") > 20, 60, "the second does not write")
        before = written("first")
        first.send_signal(signal.SIGCONT)
        time.sleep(2)
        assert written("first") == before, "it wrote without the lease"
        second.send_signal(signal.SIGKILL)
        wait_until(lambda: written("first") > before, 60, "the first does not lead again")
        assert lease()["spec"]["leaseTransitions"] == 3
    finally:
        for each in processes:
            each.send_signal(signal.SIGCONT)
            each.kill()
            each.wait(10)
            assert each.stdout
            each.stdout.close()
    maps = [each["metadata"] for each in api.list(f"/api/v1/namespaces/{namespace}/configmaps")]
    maps.sort(key=lambda each: int(each["resourceVersion"]))
    terms = [each["name"].partition("-")[0] for each in maps if each.get("generateName")]
    changes = [name for name, after in zip(terms, [*terms[1:], ""], strict=True) if name != after]
    assert changes == ["first", "second", "first"]
