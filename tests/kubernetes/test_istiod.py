"""What wasme stores, through a real istiod and a real istio-agent into a real Envoy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.istiods import Istiod, Pods
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import CACHE, Pushed, Stage, push
from wasme.deploy.istio.target import IstioTarget
from wasme.deploy.spec import FilterSpec, PluginSettings

_PLUGINS = ["WasmPlugin", "TrafficExtension"]


@pytest.fixture
def pushed(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry.host, "proof/hello:v1")


@pytest.fixture
def stage(
    istiod: Istiod, control_plane: ControlPlane, api: Api, namespace: str,
    bookinfo: Callable[[str], dict[str, dict[str, Any]]], pushed: Pushed, tmp_path: Path,
) -> Stage:  # fmt: skip
    """bookinfo in a mesh."""
    workload = bookinfo(namespace)["productpage-v1"]
    return Stage(control_plane, api, namespace, None, pushed, tmp_path / "agent", workload)


def _spec(config: str = "world", **settings: Any) -> FilterSpec:
    return FilterSpec("hello", "image", "add_header", config, PluginSettings(**settings))


@pytest.mark.parametrize("kind", _PLUGINS)
@pytest.mark.parametrize("context", ["inbound", "outbound", "gateway"])
def test_a_plugin_runs_in_its_context(stage: Stage, mesh_pods: Pods, kind: str, context: str) -> None:
    """istiod hands it out, the agent fetches the image by digest, Envoy runs it; the other side has none."""
    stage.plugin(kind, _spec('{"a":1}'), IstioTarget(patch_context=context))
    sidecar = mesh_pods.start(stage.workload, context)
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == '{"a":1}')


def test_an_envoyfilter_runs_from_the_nodes_file(stage: Stage, mesh_pods: Pods) -> None:
    """The injector mounts the cache's folder, istiod hands the filter to the pod, Envoy finds the file there."""
    stage.mount()
    stage.filter(_spec())
    sidecar = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == "world")
