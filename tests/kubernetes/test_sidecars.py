"""The proxies that run, which may be older than istiod: they are asked what they can do, not istiod alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.meshes import Mesh
from wasme.deploy.cluster import connect
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.istio import sidecars
from wasme.deploy.istio.workloads import Workload

Pods = Callable[..., list[dict[str, Any]]]
Bookinfo = Callable[[str], dict[str, dict[str, Any]]]


def _plugin(objects: str) -> dict[str, Any]:
    """The PluginConfig of the EnvoyFilter among objects in YAML."""
    (made,) = (each for each in yaml.safe_load_all(objects) if each["kind"] == "EnvoyFilter")
    value = made["spec"]["configPatches"][0]["patch"]["value"]
    found: dict[str, Any] = value["typedConfig"]["value"]["config"]
    return found


@pytest.fixture
def workloads(bookinfo: Bookinfo, namespace: str) -> dict[str, Workload]:
    """bookinfo, by name."""
    return {name: Workload(DEPLOYMENT, each) for name, each in bookinfo(namespace).items()}


def test_versions(
    control_plane: ControlPlane, workloads: dict[str, Workload], nodes: Callable[..., Any], pods: Pods, api: Api
) -> None:
    """Only pods of the workloads count that have not ended, in one namespace or alone."""
    nodes("sidecars-a")
    reviews, ratings = workloads["reviews-v1"], workloads["ratings-v1"]
    pods(reviews.object, "sidecars-a", proxy="docker.io/istio/proxyv2:1.28.10-distroless")
    pods(reviews.object, "sidecars-a")
    (ended,) = pods(reviews.object, "sidecars-a", proxy="docker.io/istio/proxyv2:1.9.9")
    place = f"/api/v1/namespaces/{reviews.namespace}/pods/{ended['metadata']['name']}/status"
    api.patch(place, {"status": {"phase": "Succeeded"}})
    pods(ratings.object, "sidecars-a", proxy="docker.io/istio/proxyv2:1.24.6")
    with connect(control_plane.kubeconfig) as cluster:
        assert sidecars.versions(cluster, [reviews]) == {"1.28.10-distroless", "1.30.3"}
        assert sidecars.versions(cluster, [ratings]) == {"1.24.6"}
        assert sidecars.versions(cluster, [reviews, ratings]) == {"1.28.10-distroless", "1.30.3", "1.24.6"}
        assert sidecars.versions(cluster, [workloads["details-v1"], workloads["reviews-v2"]]) == frozenset()
        assert sidecars.versions(cluster, []) == frozenset()


def test_without_the_right_to_list_pods(
    control_plane: ControlPlane, workloads: dict[str, Workload], caplog: pytest.LogCaptureFixture
) -> None:
    """Who may not list pods goes by istiod alone, and is told so."""
    with (
        connect(control_plane.kubeconfig_for("nobody-lists-pods")) as cluster,
        caplog.at_level(logging.WARNING),
    ):
        assert sidecars.versions(cluster, workloads.values()) == frozenset()
    assert "pods may not be listed, going by istiod alone" in caplog.text


def test_an_older_proxy_decides(
    mesh: Mesh, docker_registry: DockerRegistry, nodes: Callable[..., Any], pods: Pods
) -> None:
    """Where pods still have an older proxy than istiod, a setting that it lacks is refused before anything is written,
    and one that it has under another name is written so; when the pods are new, both are as the new one has them."""
    nodes("sidecars-b")
    image = meshes.push(docker_registry).name
    workload = mesh.workload("shop")
    (old,) = pods(workload, "sidecars-b", proxy="docker.io/istio/proxyv2:1.24.6")
    refused = mesh.deploy(image, "--fail-policy=reload", "--dry-run=server", ok=False)
    assert "a proxy of Istio 1.24 cannot have fail policy reload" in refused.stderr
    assert mesh.filters() == {}

    shown = mesh.deploy(image, "--fail-policy=open", "--dry-run", "--output=yaml").stdout
    assert _plugin(shown)["failOpen"] is True
    mesh.api.delete(f"/api/v1/namespaces/{mesh.namespace}/pods/{old['metadata']['name']}")
    shown = mesh.deploy(image, "--fail-policy=open", "--dry-run", "--output=yaml").stdout
    assert _plugin(shown)["failurePolicy"] == "FAIL_OPEN"
