"""Several operators: one works, and when it goes another does; never two at once, and never none for long."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.fixtures.agents import soon
from tests.fixtures.fronts import Asked, Front
from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import World, configuration


def _leading(*operators: Operator) -> list[Operator]:
    return [each for each in operators if each.running and each.metric("wasme_operator_leader") == 1]


def _pair(world: World, *, short: bool = True) -> tuple[Operator, Operator]:
    """Two operators, each a user of its own, so that the audit log tells them apart; the first leads, and the second
    could."""
    made = []
    for name in ("op-one", "op-two"):
        kubeconfig = world.plane.kubeconfig_for(name, "system:masters")
        made.append(world.operator(name=name, kubeconfig=kubeconfig, short=short))
        assert soon(lambda: _leading(made[0]) != [], 30)
    assert _stands_by(made[1])
    return made[0], made[1]


def _stands_by(operator: Operator) -> bool:
    """Whether it knows everything, and who leads; or comes to that."""
    return soon(lambda: operator.asked("/readyz") == 200, 30) and operator.logged("another operator leads", 30)


def _writers(world: World, since: int) -> list[str]:
    """Who wrote since a mark, one after the other; leases not, nor requests that were cut before their last bytes."""
    return [
        event["user"]["username"]
        for event in world.plane.audit(since)
        if event["verb"] not in ("get", "list", "watch")
        and "/leases" not in event["requestURI"]
        and event.get("responseStatus", {}).get("code", 0) < 300
    ]


def _change(world: World, image: Pushed, word: str) -> None:
    """One change, done."""
    world.apply("web", image.name, filter={"config": word})
    wait_until(
        lambda: all(word in configuration(each) for each in world.filters().values()) and world.filters(), 60,
        f"{word} is not there",
    )  # fmt: skip


def test_one_works(world: World, image: Pushed) -> None:
    """The second stands by: healthy, its metrics say that it does not lead, and it sends no write."""
    one, two = _pair(world, short=False)
    world.workload("web")
    since = world.plane.mark()
    _change(world, image, "first")
    world.wait("web", "Ready")
    assert set(_writers(world, since)) == {"op-one"}
    assert _leading(one, two) == [one]
    assert two.asked("/healthz") == two.asked("/readyz") == 200


def test_the_standby_takes_over_from_one_that_was_killed(world: World, image: Pushed) -> None:
    """kill -9: after the lease's time and not much more the other works."""
    one, two = _pair(world)
    world.workload("web")
    _change(world, image, "first")
    one.kill()
    killed = time.monotonic()
    assert soon(lambda: _leading(two) == [two], 12)
    print(f"taken over after {time.monotonic() - killed:.1f} s of a lease of 5 s")
    since = world.plane.mark()
    _change(world, image, "second")
    assert set(_writers(world, since)) == {"op-two"}
    before = len(one.log)
    one.start()
    assert soon(lambda: any("another operator leads" in line for line in one.log[before:]), 30)
    time.sleep(1)
    assert _leading(one, two) == [two], "who comes back stands by"


def test_one_that_ends_gives_the_lease_back(world: World, image: Pushed) -> None:
    """SIGTERM, with a lease as long as a cluster's: the other works at once, not after 15 s."""
    kubeconfig = world.plane.kubeconfig
    one = world.operator(name="op-one", short=False, kubeconfig=kubeconfig)
    assert soon(lambda: _leading(one) == [one], 30)
    two = world.operator(name="op-two", short=False, kubeconfig=kubeconfig)
    assert _stands_by(two)
    assert one.stop() == 0
    assert soon(lambda: _leading(two) == [two], 9)
    world.workload("web")
    _change(world, image, "first")


def test_the_end_comes_in_the_middle_of_a_look(world: World, image: Pushed, door: Front) -> None:
    """SIGTERM while 200 workloads are being changed, each write slow: nothing more is begun, the operator ends soon and
    has given its lease back; the standby goes on at once and finishes.
    """

    def slow(asked: Asked) -> bool:
        if "/leases" not in asked.path:
            time.sleep(0.5)
        return False

    door.before = slow
    one = world.operator(name="op-one", short=False, kubeconfig=door.kubeconfig)
    assert soon(lambda: _leading(one) == [one], 30)
    two = world.operator(name="op-two", short=False, kubeconfig=world.plane.kubeconfig)
    assert _stands_by(two)
    for number in range(200):
        world.workload(f"web-{number}", labels={"app": "web"})
    world.apply("web", image.name, filter={"config": "first"})
    wait_until(lambda: len(world.filters()) > 8, 60, "nothing is written")
    began = time.monotonic()
    assert one.stop() == 0
    took = time.monotonic() - began
    assert len(world.filters()) < 150, "the test is of a look that was not over"
    assert took < 10, f"it ended after {took:.1f} s"
    assert one.logged("gave the lease back")
    assert soon(lambda: _leading(two) == [two], 9)
    wait_until(lambda: len(world.filters()) == 200, 120, "the standby does not finish")
    world.wait("web", "Ready")


def test_one_that_stood_still_does_not_write_any_more(world: World, image: Pushed) -> None:
    """SIGSTOP in the middle of its work, the other takes over, SIGCONT: not one write of the first after the other's.

    It stands by again, and can lead again.
    """
    one, two = _pair(world)
    for number in range(30):
        world.workload(f"web-{number}", labels={"app": "web"})
    _change(world, image, "first")
    world.wait("web", "Ready")
    since = world.plane.mark()
    world.apply("web", image.name, filter={"config": "second"})
    wait_until(lambda: len(_writers(world, since)) > 3, 60, "nothing is written")
    one.send(signal.SIGSTOP)
    assert soon(lambda: _leading(two) == [two], 15)
    wait_until(lambda: all("second" in configuration(each) for each in world.filters().values()), 60, "not done")
    before = len(one.log)
    one.send(signal.SIGCONT)
    assert soon(lambda: any("the lease is lost" in line for line in one.log[before:]), 30)
    time.sleep(1)
    _change(world, image, "third")
    writers = _writers(world, since)
    assert "op-one" not in writers[writers.index("op-two") :], writers
    assert _leading(one, two) == [two]
    two.kill()
    assert soon(lambda: _leading(one) == [one], 15)
    _change(world, image, "fourth")


def test_nobody_writes_who_cannot_renew(world: World, image: Pushed, door: Front) -> None:
    """The lease cannot be reached and all else can: before its time is over the leader stops, and goes on after."""
    one = world.operator(kubeconfig=door.kubeconfig)
    world.workload("web")
    _change(world, image, "first")
    world.wait("web", "Ready")
    door.answer("/leases", 503, times=10_000)
    assert soon(lambda: _leading(one) == [], 8), "its time is over, and it goes on"
    since = world.plane.mark()
    world.apply("web", image.name, filter={"config": "second"})
    time.sleep(2)
    assert world.writes(since) == []
    door.answered()
    assert soon(lambda: _leading(one) == [one], 20)
    wait_until(lambda: all("second" in configuration(each) for each in world.filters().values()), 60, "not done")


def test_the_lease_is_a_lease(world: World) -> None:
    """As `kubectl get lease` shows it: who, for how long, how often it went over; released when its holder ends."""

    def lease() -> Any:
        found = world.get(f"/apis/coordination.k8s.io/v1/namespaces/{world.own}/leases/wasme-operator")
        return (found or {}).get("spec") or {}

    one, two = _pair(world)
    first = lease()
    assert first["holderIdentity"].startswith("op-one")
    assert first["leaseDurationSeconds"] == 5
    one.stop()
    assert soon(lambda: lease().get("holderIdentity", "").startswith("op-two"), 20)
    assert lease()["leaseTransitions"] > first["leaseTransitions"]
    two.stop()
    assert not lease().get("holderIdentity")
