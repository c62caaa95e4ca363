"""All of the operator's stores on a real API server: what a reconciler asks, and kinds that come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.samples import config_map
from tests.kubernetes.meshes import deployment
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.cluster.kinds import DEPLOYMENT, ENVOY_FILTER, WASM_PLUGIN
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key

Object = dict[str, Any]


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Callable[[Stores], None]]:
    """``start(stores)`` waits until they know all; they end with the test."""
    stop = threading.Event()
    running: list[Stores] = []

    def call(stores: Stores) -> None:
        stores.start(stop)
        running.append(stores)
        assert stores.wait_synced(40)

    yield call
    stop.set()
    assert all(each.join(15) for each in running)


def theirs(cluster: Cluster, obj: Object) -> Object:
    """Somebody else writes an object."""
    return cluster.apply(obj, manager="others")


def test_a_kind_that_appears_later(
    cluster: Cluster, namespace: str, control_plane: ControlPlane, serve: Callable[..., None], api: Api,
    start: Callable[[Stores], None],
) -> None:  # fmt: skip
    """A kind that is not served counts as read and empty, and does not keep the others waiting; when its CRD comes it
    is followed, and discovery knows it; when it goes, its objects do."""
    serve("istio/1.30.3")
    crds.remove(api, ".istio.io")
    control_plane.served.pop("istio", None)
    stores = Stores(cluster, CacheOptions(), window=1.0)
    told: list[str] = []
    stores.carried["EnvoyFilter"].subscribe(lambda key, _, after: told.append(f"{key.name} {'there' if after else ''}"))
    start(stores)
    assert not stores.carried["EnvoyFilter"].served
    assert not cluster.served().has(ENVOY_FILTER)
    wait_until(lambda: stores.silence() < 5, 20, lambda: f"silent for {stores.silence()} s")
    serve("istio/1.30.3")
    wait_until(lambda: stores.carried["WasmPlugin"].served, 20, "not followed")
    with connect(control_plane.kubeconfig) as fresh:
        wait_until(lambda: api.find("/apis/networking.istio.io/v1alpha3"), 20, "not served")
        theirs(fresh, _envoy_filter(namespace, "a"))
    wait_until(lambda: told == ["a there"], 20, lambda: str(told))
    wait_until(lambda: cluster.served().has(ENVOY_FILTER) and cluster.served().has(WASM_PLUGIN), 20, "not known")
    crds.remove(api, ".istio.io")
    control_plane.served.pop("istio", None)
    wait_until(lambda: told == ["a there", "a "], 30, lambda: str(told))
    wait_until(lambda: not stores.carried["EnvoyFilter"].served, 30, "still followed")
    wait_until(lambda: not cluster.served().has(ENVOY_FILTER), 20, "discovery still knows it")


def test_what_the_stores_know(
    cluster: Cluster, namespace: str, api: Api, serve: Callable[..., None], start: Callable[[Stores], None]
) -> None:
    """Workloads by labels, written objects at once, by kind: what a reconciler asks."""
    serve("istio/1.30.3")
    for name in ("web", "api"):
        api.create(deployment(name, namespace))
    stores = Stores(cluster, CacheOptions(namespace=namespace), window=1.0)
    start(stores)
    labels = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/web")["metadata"].get("labels") or {}
    assert [each.name for each in stores.selected(DEPLOYMENT, namespace, {})] == ["api", "web"]
    assert [each.name for each in stores.selected(DEPLOYMENT, namespace, labels)] == ["web"]
    assert [each.name for each in stores.selected(DEPLOYMENT, namespace, {}, "api")] == ["api"]
    assert stores.selected(DEPLOYMENT, namespace, {"no": "such"}) == []
    made = cluster.apply(_envoy_filter(namespace, "own"))
    stores.put(made)
    assert stores.carriers.find(ENVOY_FILTER, namespace, "own") == made
    cluster.delete(ENVOY_FILTER, "own", namespace)
    stores.drop(made)
    assert stores.carriers.find(ENVOY_FILTER, namespace, "own") is None
    config = cluster.apply(config_map(namespace, "wasme-cache", images="x"))
    stores.put(config)
    found = stores.cache_config()
    assert found is not None
    assert (found.version, found.data["images"]) == (config["metadata"]["resourceVersion"], "x")
    stores.put(cluster.apply(config_map(namespace, "another")))
    assert stores.config.store.keys(None) == [Key(namespace, "wasme-cache")]


def _envoy_filter(namespace: str, name: str) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"workloadSelector": {"labels": {"app": "web"}}},
    }
