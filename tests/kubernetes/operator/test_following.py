"""How following ends: threads before connections, and subscribers one by one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from tests.kubernetes.operator.world import World
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


def end(cluster: Cluster, stores: Stores, stop: threading.Event) -> float:
    """Stop, and hang up until nothing is followed; the seconds that took."""
    stop.set()
    began = time.monotonic()
    while not stores.join(0.1):
        assert time.monotonic() - began < 20, "still read from"
        cluster.hang_up()
    return time.monotonic() - began


def test_informers_end_at_once(cluster: Cluster, namespace: str) -> None:
    """Watches on which nothing comes for seconds are hung up, and no thread reads any more when the cluster is closed;
    it is good for other requests."""
    stop = threading.Event()
    stores = Stores(cluster, CacheOptions(namespace=namespace), window=60.0)
    stores.start(stop)
    assert stores.wait_synced(60)
    time.sleep(1)
    assert end(cluster, stores, stop) < 15
    assert "has ended" in stores.wrong()
    assert cluster.get(CONFIG_MAP, "none", namespace) is None


def test_the_operator_ends_soon_and_quietly(world: World) -> None:
    """In the middle of quiet windows, and nothing is told of connections that break."""
    operator = world.operator(short=False)
    assert soon(lambda: operator.metric("wasme_operator_leader") == 1, 30)
    time.sleep(1.5)
    before = len(operator.log)
    began = time.monotonic()
    operator.send(signal.SIGTERM)
    assert operator.wait() == 0
    assert time.monotonic() - began < 8
    words = [each for each in operator.records[before:] if each.get("level") in ("warning", "error")]
    assert words == []


def test_who_has_left_is_not_called(cluster: Cluster, namespace: str) -> None:
    """A subscriber that has unsubscribed is called no more; others are."""
    stop = threading.Event()
    stores = Stores(cluster, CacheOptions(namespace=namespace), window=1.0)
    stays: list[str] = []
    leaves: list[str] = []

    def call(key: Key, _before: ConfigFacts | None, _after: ConfigFacts | None) -> None:
        leaves.append(key.name)

    stores.config.subscribe(call)
    stores.config.subscribe(lambda key, _before, _after: stays.append(key.name))
    stores.start(stop)
    try:
        cluster.apply(config_map(namespace, "wasme-cache"), manager="others")
        wait_until(lambda: stays == leaves == ["wasme-cache"], 30, lambda: f"{stays} {leaves}")
        stores.config.unsubscribe(call)
        cluster.apply(config_map(namespace, "wasme-cache", a="2"), manager="others")
        wait_until(lambda: len(stays) == 2, 30, lambda: str(stays))
        assert len(leaves) == 1
    finally:
        end(cluster, stores, stop)
