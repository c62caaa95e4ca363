"""The tools of the tests here do what they say: a check that stands on a broken one would prove nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.fixtures.agents import Agent, soon
from tests.fixtures.fronts import Front
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.cluster.samples import config_map
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.errors import ClusterError


@pytest.fixture
def door(front: Callable[[Any], Front], control_plane: ControlPlane) -> Front:
    return front(control_plane)


@pytest.fixture
def cluster(door: Front) -> Iterator[Cluster]:
    with connect(door.kubeconfig) as found:
        yield found


def test_a_frozen_watch_brings_nothing_and_stays(api: Api, namespace: str, door: Front, cluster: Cluster) -> None:
    """Changes come through; not while it is frozen, though its connection is open; and all of them afterwards."""
    seen: list[str] = []

    def follow() -> None:
        for _, obj in cluster.watch(kinds.CONFIG_MAP, namespace, seconds=120, window=120):
            seen.append(obj["metadata"]["name"])
            if obj["metadata"]["name"] == "last":
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    assert soon(lambda: door.watching(namespace), 30)
    api.create(config_map(namespace, "first"))
    assert soon(lambda: "first" in seen, 30)
    assert door.freeze(f"{namespace}/configmaps") == 1
    api.create(config_map(namespace, "second"))
    assert not soon(lambda: "second" in seen, 1)
    assert door.watching(namespace)
    door.thaw()
    assert soon(lambda: "second" in seen, 30)
    api.create(config_map(namespace, "last"))
    thread.join(30)
    assert not thread.is_alive()


def test_an_answer_is_another(api: Api, namespace: str, door: Front, cluster: Cluster) -> None:
    """One request is answered 403 by the door, and the server never hears of it; the next goes through."""
    door.answer(f"{namespace}/configmaps", 403, method="PATCH", reason="Forbidden")
    with pytest.raises(ClusterError):
        cluster.apply(config_map(namespace, "a"))
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a") is None
    cluster.apply(config_map(namespace, "a"))
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a")
    assert [each.number for each in door.asked if each.method == "PATCH"] == [1, 2]


def test_a_write_is_lost_on_its_way(api: Api, namespace: str, door: Front, cluster: Cluster) -> None:
    """Lost before the server, or its answer after it: the client tries again, and the object is there."""
    lost: list[str] = []

    def once(word: str) -> Callable[[Any], bool]:
        return lambda asked: not lost.append(word) if lost.count(word) == 0 else False  # type: ignore[func-returns-value]

    door.before, door.after = once("before"), once("after")
    cluster.apply(config_map(namespace, "a"))
    assert lost == ["before", "after"]
    assert len([each for each in door.asked if each.method == "PATCH"]) == 3
    assert api.find(f"/api/v1/namespaces/{namespace}/configmaps/a")


def test_the_probe_tells_what_the_agent_says(
    api: Api, namespace: str, control_plane: ControlPlane, nodes: Callable[..., Any], start_agent: Callable[..., Agent]
) -> None:
    """The pod is ready as the agent is; stopped or killed it is told within seconds, and when it is back again."""
    with connect(control_plane.kubeconfig) as cluster:
        ensure(cluster, CacheOptions(namespace=namespace))
    nodes("probed")
    kubelets = NodeAgents(api, start_agent, control_plane.kubeconfig, namespace)
    try:
        (agent,) = kubelets.run("probed")
        agent.send(signal.SIGSTOP)
        assert soon(lambda: not kubelets.ready("probed"), 15)
        agent.send(signal.SIGCONT)
        assert soon(lambda: kubelets.ready("probed"), 15)
        agent.kill()
        assert soon(lambda: not kubelets.ready("probed"), 15)
        agent.start()
        assert soon(lambda: kubelets.ready("probed"), 15)
    finally:
        kubelets.stop()
