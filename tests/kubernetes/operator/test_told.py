"""What the operator tells: Events, metrics, health and logs; and nothing where nothing changes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import World

Object = dict[str, Any]


def _settle(world: World) -> None:
    """Wait until nothing more is written: who writes for ever fails here."""
    end = time.monotonic() + 60
    since = world.plane.mark()
    time.sleep(4)
    while written := world.writes(since):
        assert time.monotonic() < end, f"it goes on writing: {written}"
        since = world.plane.mark()
        time.sleep(4)


def test_steady_state_writes_nothing(world: World, image: Pushed) -> None:
    """Ready objects, one whose tag is looked at every 2 s, refused and failing ones and ones that wait: for 15 s no
    operator sends a write, but for its lease."""
    for name in ("one", "two"):
        world.workload(name, labels={"tier": "web", "app": name})
    world.apply("auth", image.name, {"tier": "web"})
    world.apply("none", image.name, {"app": "nobody"})
    world.apply("taken", image.name, {"app": "one"}, filter={"id": f"auth.{world.namespace}"})
    world.apply("always", image.name, {"app": "two"}, filter={"pullPolicy": "Always"})
    world.apply("away", f"{image.name.rpartition('/')[0]}/not-there:v1", {"app": "two"})
    operator = world.operator("--tag-interval=2s")
    world.wait("auth", "Ready")
    world.wait("always", "Ready")
    world.wait("away", "ImageResolved=False")
    world.wait("taken", "Accepted=False")
    world.wait("none", "Ready=False")
    _settle(world)
    since = world.plane.mark()
    time.sleep(15)
    assert world.writes(since) == []
    operator.stop()
    since = world.plane.mark()
    operator.start()
    assert soon(lambda: operator.metric("wasme_operator_reconcile_total") >= 5, 60), "five objects are looked at"
    time.sleep(4)
    assert world.writes(since) == [], "a restart finds everything as it is wanted"


def test_transitions_are_told_as_events(world: World, image: Pushed) -> None:
    """Each transition once, about the object; what fails again and again is no new Event each time."""
    world.workload("web")
    world.apply("web", f"{image.name.rpartition('/')[0]}/not-there:v1")
    world.operator()
    world.wait("web", "ImageResolved=False")
    assert soon(lambda: [each for each in world.events("web") if each["type"] == "Warning"], 30)
    time.sleep(4)  # some tries more
    warnings = [each for each in world.events("web") if each["type"] == "Warning"]
    assert len({each["reason"] for each in warnings}) == len(warnings)
    assert all(each["involvedObject"]["kind"] == "FilterDeployment" for each in warnings)
    assert all(each["source"]["component"] == "wasme-operator" for each in warnings)
    world.apply("web", image.name)
    world.wait("web", "Ready")
    assert soon(lambda: [each for each in world.events("web", "Ready") if each["type"] == "Normal"], 30)
    count = len(world.events("web"))
    time.sleep(2)
    assert len(world.events("web")) == count


def test_metrics_health_and_logs(world: World, image: Pushed) -> None:
    """Prometheus reads conditions, queue and lease; health says yes; each line of the log is JSON, none a secret."""
    world.workload("web")
    world.apply("web", image.name)
    operator = world.operator()
    world.wait("web", "Ready")
    assert soon(lambda: operator.asked("/healthz") == operator.asked("/readyz") == 200)
    assert soon(
        lambda: operator.metric(
            "wasme_filterdeployment_condition", namespace=world.namespace, name="web", type="Ready", status="True"
        ) == 1
    )  # fmt: skip
    assert soon(lambda: operator.metric("wasme_operator_leader") == 1)
    # The status is there a moment before the look is over that wrote it.
    assert soon(lambda: operator.metric("wasme_operator_reconcile_total", result="ok") >= 1)
    assert soon(lambda: operator.metric("wasme_operator_reconcile_seconds_count") >= 1)
    assert soon(lambda: 0 < operator.metric("wasme_operator_watch_silence_seconds", kind="FilterDeployment") < 6)
    assert operator.records
    assert {"level", "msg", "ts"} <= {key for record in operator.records for key in record} | {"ts"}
    assert any("started wasme" in record["msg"] for record in operator.records)
    assert world.plane.token not in "\n".join(operator.log)
    world.delete("web")
    assert soon(lambda: operator.metric("wasme_filterdeployment_condition", name="web") == 0, 30)
    assert operator.stop() == 0


def test_a_new_object_is_told_once(world: World, image: Pushed) -> None:
    """From nothing to ready with one write of the status: that its own line is on its way to the cache is not told.

    Where a machine is so slow that something else is waited for meanwhile, that is told: one object of five will do.
    """
    for name in ("one", "two", "three"):
        world.workload(name, labels={"tier": "web"})
    operator = world.operator(short=False)
    assert soon(lambda: operator.metric("wasme_operator_leader") == 1, 30)
    tried = []
    for number in range(5):
        name, since = f"auth-{number}", world.plane.mark()
        world.apply(name, image.name, {"tier": "web"})
        world.wait(name, "Ready")
        time.sleep(1)
        tried.append(world.writes(since))
        told = [each for each in tried[-1] if each.endswith("/status")]
        # Two writes for each workload, and few for the object.
        if told == [f"update {world.path(name)}/status"] and len(tried[-1]) <= 3 * 2 + 6:
            return
        world.delete(name)
        _settle(world)
    pytest.fail(f"each was told more than once: {tried}")
