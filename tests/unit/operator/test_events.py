"""Transitions as Events, and that they never stand in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from wasme.errors import ClusterUnreachable, Conflict
from wasme.operator.resources.conditions import Transition
from wasme.operator.resources.events import SILENCE, WAITING, Recorder, worth_telling

OBJ = {
    "apiVersion": "wasme.io/v1",
    "kind": "FilterDeployment",
    "metadata": {"name": "auth", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"},
}


class Written:
    """Keeps Events as an API server would, by name; ``gate`` holds it up, ``failing`` makes it fail."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.failing: Exception | None = None
        self.asked = 0

    def create(self, obj: dict[str, Any]) -> dict[str, Any]:
        self.gate.wait(60)
        self.asked += 1
        if self.failing:
            raise self.failing
        name = obj["metadata"]["name"]
        if name in self.events:
            raise Conflict("it exists already")
        self.events[name] = dict(obj)
        return obj

    def patch(self, _kind: object, name: str, _namespace: str, change: dict[str, Any]) -> dict[str, Any]:
        self.events[name] |= change
        return self.events[name]


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def recorder(written: Written, clock: list[float]) -> Recorder:
    made = Recorder(written, "pod-1", clock=lambda: clock[0])  # type: ignore[arg-type]
    made.start()
    return made


def ready(status: str, reason: str, message: str = "m", was: str = "False") -> Transition:
    return Transition("Ready", was, status, reason, message)


def test_an_event(recorder: Recorder, written: Written) -> None:
    """It names the object, its reporter, and says what the condition says, in at most 1,024 bytes."""
    recorder.record(OBJ, [ready("False", "TargetsFailed", "ü" * 2000)])
    recorder.stop()
    (event,) = written.events.values()
    assert event["involvedObject"] == {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "namespace": "shop",
                                       "name": "auth", "uid": "u-1", "resourceVersion": "7"}  # fmt: skip
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "TargetsFailed", 1)
    assert (event["source"], event["reportingComponent"]) == ({"component": "wasme-operator"}, "wasme-operator")
    assert event["reportingInstance"] == "pod-1"
    assert len(event["message"].encode()) <= 1024
    assert event["message"].startswith("üü")
    assert event["metadata"]["namespace"] == "shop"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([ready("True", "Ready")], [("Normal", "Ready")]),
        ([ready("False", "RollingOut")], [("Normal", "RollingOut")]),
        ([ready("False", "InvalidSpec")], [("Warning", "InvalidSpec")]),
        ([ready("False", "TargetsPending", was="")], []),
        ([ready("False", "InvalidSpec", was="")], [("Warning", "InvalidSpec")]),
        ([Transition("Accepted", "", "True", "Accepted", "")], []),
        ([ready("False", "NodesMissing"), Transition("Degraded", "False", "True", "Lost", "it worked before: m")],
         [("Warning", "NodesMissing")]),
        ([Transition("Degraded", "False", "True", "ImageNotChecked", "down")], [("Warning", "ImageNotChecked")]),
        ([Transition("Degraded", "False", "True", "Retrying", "down")], []),
        ([Transition("Degraded", "True", "False", "AsWanted", "")], [("Normal", "Recovered")]),
        ([ready("True", "Ready"), Transition("Degraded", "True", "False", "AsWanted", "")], [("Normal", "Ready")]),
    ],
)  # fmt: skip
def test_one_change_is_one_event(changes: list[Transition], told: list[tuple[str, str]]) -> None:
    """Ready speaks for what it is made of; faults are warnings; a new object that is not ready yet is no news."""
    assert [each[:2] for each in worth_telling(changes)] == told


def test_the_same_again_is_counted(recorder: Recorder, written: Written, clock: list[float]) -> None:
    """Within ten minutes it is not told again; after that it is the same Event with another count, and so it is for
    an operator that comes after this one.
    """
    for _ in range(5):
        recorder.record(OBJ, [ready("False", "TargetsFailed", "first")])
    clock[0] += SILENCE + 1
    recorder.record(OBJ, [ready("False", "TargetsFailed", "second")])
    recorder.stop()
    (event,) = written.events.values()
    assert (event["count"], event["message"]) == (2, "second")
    other = Recorder(written)  # type: ignore[arg-type]
    other.start()
    other.record(
        OBJ,
        [
            ready("False", "TargetsFailed", "third"),
        ],
    )
    other.record(OBJ, [ready("True", "Ready")])
    other.stop()
    assert sorted((each["reason"], each["count"]) for each in written.events.values()) == [
        ("Ready", 1), ("TargetsFailed", 3),
    ]  # fmt: skip


def test_it_never_blocks_nor_raises(recorder: Recorder, written: Written) -> None:
    """Where the API server hangs, thousands of Events cost no time, and no more than so many wait; where it fails, the
    next one is tried.
    """
    written.gate.clear()
    begun = time.monotonic()
    for index in range(WAITING + 500):
        recorder.record({**OBJ, "metadata": {**OBJ["metadata"], "uid": f"u-{index}"}}, [ready("True", "Ready")])  # type: ignore[dict-item]
    assert time.monotonic() - begun < 30
    written.failing = ClusterUnreachable("no answer")
    written.gate.set()
    _wait(lambda: written.asked >= WAITING)
    written.failing = None
    recorder.record({**OBJ, "metadata": {**OBJ["metadata"], "uid": "last"}}, [ready("True", "Ready")])  # type: ignore[dict-item]
    recorder.stop()
    assert [each["involvedObject"]["uid"] for each in written.events.values()] == ["last"]
    assert written.asked <= WAITING + 2


def test_objects_that_are_none(recorder: Recorder, written: Written) -> None:
    """What has no uid or namespace is left out."""
    recorder.record({}, [ready("True", "Ready")])
    recorder.record({"metadata": {"name": "x"}}, [ready("True", "Ready")])
    recorder.stop()
    assert written.events == {}


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
