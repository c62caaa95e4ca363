"""Following a real API server, and what the client survives: restarts, standing still, forgotten places."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from wasme.deploy.cluster import Cluster, Served, connect, lists, parallel
from wasme.deploy.cluster.answers import Answer
from wasme.deploy.cluster.kinds import CONFIG_MAP, ENVOY_FILTER, WASM_PLUGIN, Kind
from wasme.deploy.cluster.wire import Ask
from wasme.errors import DeployFailed


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


def test_watching(cluster: Cluster, namespace: str) -> None:
    """A watch tells what is there, then each change as it happens, and ends in time."""
    cluster.apply(config_map(namespace, "before"))

    def changes() -> None:
        cluster.apply(config_map(namespace))
        cluster.apply(config_map(namespace, a="2"))
        cluster.delete(CONFIG_MAP, "x", namespace)

    thread = threading.Thread(target=changes)
    began = time.monotonic()
    seen: list[tuple[str, str, str]] = []
    for change, obj in cluster.watch(CONFIG_MAP, namespace, seconds=60):
        if not seen:
            thread.start()  # what was there is told: all that comes is a change
        seen.append((change, obj["metadata"]["name"], obj.get("data", {}).get("a")))
        if change == "DELETED":
            break
    thread.join()
    assert seen == [("ADDED", "before", "1"), ("ADDED", "x", "1"), ("MODIFIED", "x", "2"), ("DELETED", "x", "2")]
    assert time.monotonic() - began < 30
    since = cluster.listing(CONFIG_MAP, namespace).resource_version
    began = time.monotonic()
    assert list(cluster.watch(CONFIG_MAP, namespace, since=since, seconds=1)) == []
    assert 0.9 < time.monotonic() - began < 10


def test_a_watch_from_a_forgotten_place(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """A place that the server has forgotten (410) makes the watch list anew."""
    cluster.apply(config_map(namespace))
    mark = control_plane.mark()
    for change, obj in cluster.watch(CONFIG_MAP, namespace, since="1", seconds=10):
        assert (change, obj["metadata"]["name"]) == ("ADDED", "x")
        break
    else:
        pytest.fail("nothing came")
    assert {event["verb"] for event in control_plane.audit(mark)} == {"watch", "list"}


def test_the_server_restarts_in_the_middle(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """Through a kill and a new start of the server, parallel applies and a watch go on: nothing fails or is lost."""
    control_plane.require_own()
    names = [f"x{each}" for each in range(400)]
    applied = 0
    lock = threading.Lock()

    def apply(name: str) -> None:
        nonlocal applied
        cluster.apply(config_map(namespace, name))
        with lock:
            applied += 1

    def trouble() -> None:
        wait_until(lambda: applied >= 50, 60, "nothing is applied")
        control_plane.kill()
        time.sleep(0.5)
        control_plane.start()

    seen: set[str] = set()

    def follow() -> None:
        for change, obj in cluster.watch(CONFIG_MAP, namespace, seconds=180):
            if change == "ADDED":
                seen.add(obj["metadata"]["name"])
            if len(seen) == len(names):
                return

    threads = [threading.Thread(target=each) for each in (trouble, follow)]
    for thread in threads:
        thread.start()
    parallel(apply, names).require()
    for thread in threads:
        thread.join()
    assert seen == set(names)
    assert {each["metadata"]["name"] for each in cluster.list(CONFIG_MAP, namespace)} == set(names)


def test_kinds_after_a_restart(
    cluster: Cluster, control_plane: ControlPlane, serve: Callable[..., None], namespace: str
) -> None:
    """A server that has just started tells of its CRDs last: a kind is not taken for missing because of that."""
    serve("istio/1.30.3")
    cluster.list(CONFIG_MAP, namespace)
    for _ in range(3):
        control_plane.kill()
        starting = threading.Thread(target=control_plane.start)
        starting.start()
        try:
            assert Served(cluster).has(ENVOY_FILTER)
            assert Served(cluster).schema(WASM_PLUGIN) is not None
        finally:
            starting.join()
    assert not Served(cluster).has(Kind("no.such.group", "v1", "Thing", "things"))


def test_a_server_that_stands_still(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """A server that answers nothing for some seconds costs those seconds, and no error."""
    cluster._wire.attempt = 1.0
    cluster.apply(config_map(namespace))
    control_plane.pause()
    resumer = threading.Timer(2.5, control_plane.resume)
    resumer.start()
    try:
        assert cluster.apply(config_map(namespace, a="2"))["data"] == {"a": "2"}
    finally:
        resumer.join()


def test_failures_of_many_are_told_together(cluster: Cluster, namespace: str, api: Api) -> None:
    """Of many objects those that cannot be applied are told, the others are there."""
    objects = [config_map(namespace, f"x{each}") for each in range(20)]
    objects[3]["metadata"]["name"] = "Not_A_Name"
    objects[7]["metadata"]["namespace"] = "no-such-namespace"
    with pytest.raises(DeployFailed) as failed:
        parallel(cluster.apply, objects).require(lambda obj: obj["metadata"]["name"], doing="deploying auth")
    assert failed.value.message.startswith("deploying auth: 2 of 20 failed: Not_A_Name: apply ConfigMap ")
    assert "x7: apply ConfigMap no-such-namespace/…: there is no namespace no-such-namespace" in failed.value.message
    assert len(cluster.list(CONFIG_MAP, namespace)) == 18
    with pytest.raises(ApiRefused):
        api.get(f"/api/v1/namespaces/{namespace}/configmaps/x7")


def test_a_list_whose_moment_is_compacted_away(
    cluster: Cluster, namespace: str, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd forgets the moment of a list between its pages (410): it is read anew, complete and each object once."""
    monkeypatch.setattr(lists, "PAGE", 10)
    names = {f"x{each:02}" for each in range(35)}
    for name in sorted(names):
        cluster.apply(config_map(namespace, name))
    sent = cluster._wire.send
    asked: list[int] = []

    def compacting(ask: Ask) -> Answer:
        answer = sent(ask)
        asked.append(answer.status)
        if len(asked) == 1:
            cluster_of_its_own.apply(config_map(namespace, "x00", a="2"))
            control_plane.compact()
        return answer

    with connect(control_plane.kubeconfig) as cluster_of_its_own:
        monkeypatch.setattr(cluster._wire, "send", compacting)
        found = cluster.list(CONFIG_MAP, namespace)
    assert 410 in asked
    assert sorted(each["metadata"]["name"] for each in found) == sorted(names)
    assert found[0]["data"] == {"a": "2"}
