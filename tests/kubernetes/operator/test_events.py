"""Events on a real API server, as kubectl's users see them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.operator.kubectl import Kubectl
from tests.kubernetes.operator.test_crd import fdep
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.errors import LeadershipLost
from wasme.operator.resources.conditions import Transition
from wasme.operator.resources.events import SILENCE, Recorder

pytestmark = pytest.mark.usefixtures("definition")


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as connected:
        yield connected


def ready(status: str, reason: str, message: str) -> Transition:
    return Transition("Ready", "Unknown", status, reason, message)


def told(api: Api, namespace: str) -> dict[str, dict[str, Any]]:
    return {each["reason"]: each for each in api.list(f"/api/v1/namespaces/{namespace}/events")}


def test_kubectl_describes_them(
    api: Api, control_plane: ControlPlane, cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    """They stand under the object, with age, count, reporter and words; the longest message is taken by the server.

    The same again after the silence, and from another operator, is counted on the one that is there.
    """
    obj = api.create(fdep(namespace))
    now = [0.0]
    first = Recorder(cluster, "pod-1", clock=lambda: now[0])
    first.start()
    first.record(obj, [ready("False", "TargetsFailed", "ü" * 5000)])
    first.record(obj, [ready("True", "Ready", "3 of 3 targets have the filter as wanted")])
    first.record(obj, [ready("True", "Ready", "3 of 3 targets have the filter as wanted")])
    now[0] += SILENCE + 1
    first.record(obj, [ready("True", "Ready", "4 of 4 targets have the filter as wanted")])
    first.stop(60)
    second = Recorder(cluster, "pod-2")
    second.start()
    second.record(obj, [ready("True", "Ready", "5 of 5 targets have the filter as wanted")])
    second.stop(60)
    events = told(api, namespace)
    assert set(events) == {"TargetsFailed", "Ready"}
    assert (events["Ready"]["count"], events["TargetsFailed"]["count"]) == (3, 1)
    assert events["TargetsFailed"]["type"] == "Warning"
    described = Kubectl(control_plane, tmp_path)("describe", "fdep", "auth", "-n", namespace)
    assert "wasme-operator" in described
    assert "5 of 5 targets have the filter as wanted" in described
    assert "(x3 over" in described


def test_a_lease_that_is_lost_and_a_namespace_that_goes(api: Api, cluster: Cluster, namespace: str) -> None:
    """Who does not lead writes no Event; what the server refuses is left out; and the next one is written."""
    obj = api.create(fdep(namespace))
    leads = [False]

    def check() -> None:
        if not leads[0]:
            raise LeadershipLost("somebody else leads")

    recorder = Recorder(cluster.guarded(check))
    recorder.start()
    recorder.tell(obj, "Normal", "First", "not ours")
    recorder.stop(60)
    assert told(api, namespace) == {}
    leads[0] = True
    recorder.start()
    elsewhere = {**obj, "metadata": {**obj["metadata"], "namespace": "not-there"}}
    recorder.tell(elsewhere, "Normal", "Second", "nowhere")
    recorder.tell(obj, "Normal", "Third", "ours")
    recorder.stop(60)
    assert set(told(api, namespace)) == {"Third"}
