"""Whether a workload is well, from its objects."""

from __future__ import annotations

from typing import Any

import pytest

from wasme.deploy.rollout.health import WELL, Before, before, health

NOTHING = Before({})


def deployment(**status: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 3},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
                       **status}}  # fmt: skip


def pod(
    *, ready: bool = True, restarts: int = 0, waiting: str = "", name: str = "p", message: str = ""
) -> dict[str, Any]:
    state = {"waiting": {"reason": waiting, "message": message}} if waiting else {"running": {}}
    container = {"name": "app", "ready": ready, "restartCount": restarts, "state": state}
    if restarts:
        container["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    return {
        "metadata": {"name": name, "uid": name},
        "status": {"conditions": conditions, "containerStatuses": [container]},
    }


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"observedGeneration": 1}, "its controller has not seen the change"),
        ({"updatedReplicas": 1}, "1 of 3 pods are new"),
        ({"replicas": 4}, "1 old pods have not ended"),
        ({"availableReplicas": None}, "0 of 3 pods are available"),
    ],
)
def test_deployment_on_its_way(status: dict[str, Any], reason: str) -> None:
    """A Deployment is well when its controller has seen the change and all its pods are new and available."""
    assert health(deployment(), [pod()], NOTHING) == WELL
    found = health(deployment(**status), [pod()], NOTHING)
    assert (found.state, found.reason) == ("coming", reason)


def test_deployment_given_up() -> None:
    """What the controller has given up, and what is paused, is not waited for."""
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    given_up = health(deployment(conditions=[condition]), [], NOTHING)
    assert (given_up.state, given_up.reason) == ("failed", "its controller gave up: timed out")
    paused = deployment()
    paused["spec"]["paused"] = True
    assert health(paused, [], NOTHING).state == "failed"


def test_scaled_to_nothing() -> None:
    """A Deployment without pods is well."""
    nothing = {"kind": "Deployment", "metadata": {"generation": 1}, "spec": {"replicas": 0},
               "status": {"observedGeneration": 1}}  # fmt: skip
    assert health(nothing, [], NOTHING) == WELL


def test_daemon_set() -> None:
    """A DaemonSet is well with a new and available pod on each node; with OnDelete nobody makes them new."""
    status = {"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3}
    obj: dict[str, Any] = {"kind": "DaemonSet", "metadata": {"generation": 1}, "spec": {}, "status": status}
    assert health(obj, [], NOTHING).reason == "1 of 3 pods are new"
    obj["spec"] = {"updateStrategy": {"type": "OnDelete"}}
    assert health(obj, [], NOTHING) == WELL
    status["numberAvailable"] = 2
    assert health(obj, [], NOTHING).reason == "2 of 3 pods are available"
    on_dead = {**pod(ready=False), "spec": {"nodeName": "n3"}}
    assert health(obj, [on_dead], NOTHING, {"n3"}) == WELL, "nobody waits for a node that is not ready"


def test_stateful_set() -> None:
    """A StatefulSet is well with all pods ready and new, but for those below its partition."""
    status = {"observedGeneration": 1, "readyReplicas": 3, "updatedReplicas": 1}
    obj: dict[str, Any] = {
        "kind": "StatefulSet",
        "metadata": {"generation": 1},
        "spec": {"replicas": 3},
        "status": status,
    }
    assert health(obj, [], NOTHING).reason == "1 of 3 pods are new"
    obj["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}
    assert health(obj, [], NOTHING) == WELL
    status["readyReplicas"] = 2
    assert health(obj, [], NOTHING).reason == "2 of 3 pods are ready"


def test_crash_loop() -> None:
    """A new pod that crashes fails its workload at once, with container, exit code and reason."""
    crashing = pod(ready=False, restarts=3, waiting="CrashLoopBackOff", message="back-off 40s")
    found = health(deployment(availableReplicas=2), [pod(name="old"), crashing], NOTHING)
    assert found.state == "failed"
    assert found.reason == "pod p: container app is in CrashLoopBackOff, exit code 137: back-off 40s"


def test_crashed_before() -> None:
    """A container that had crashed before the rollout, and did not since, is not held against it."""
    crashing = pod(ready=False, restarts=3, waiting="CrashLoopBackOff")
    earlier = before([crashing])
    assert health(deployment(availableReplicas=2), [crashing], earlier).state == "coming"
    again = pod(ready=False, restarts=4, waiting="CrashLoopBackOff")
    assert health(deployment(availableReplicas=2), [again], earlier).state == "failed"


def test_image_that_cannot_be_pulled() -> None:
    """A pod whose image cannot be pulled is not waited for."""
    assert health(deployment(), [pod(ready=False, waiting="ImagePullBackOff")], NOTHING).state == "failed"


def test_why_it_waits() -> None:
    """Of pods that are not ready it is told what they wait for: a node, a volume."""
    starting = pod(ready=False, waiting="ContainerCreating")
    found = health(deployment(availableReplicas=2), [starting], NOTHING)
    assert found.reason == "2 of 3 pods are available; pod p is not ready (container app is in ContainerCreating)"
    starting["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    ]
    assert (
        "no node takes it: 0/3 nodes are available"
        in health(deployment(availableReplicas=2), [starting], NOTHING).reason
    )
