"""What tests of the operator share: a served FilterDeployment, an installed cache, and operators as processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.agents import Agent
from tests.fixtures.fronts import Front
from tests.fixtures.operators import Operator
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.node_agents import NodeAgents
from tests.kubernetes.cluster.programs import helm
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.operator.cache_place import Place as CachePlace
from tests.kubernetes.operator.installed import clear
from tests.kubernetes.operator.places import Place
from tests.kubernetes.operator.world import GROUP, World, remove_all


@pytest.fixture
def definition(api: Api) -> Iterator[None]:
    """FilterDeployment is served; those that a test leaves go with it."""
    from wasme.operator.resources.schema import crd

    api.apply(crd(), manager="wasme")
    wait_until(lambda: api.find(f"{GROUP}/filterdeployments"), 30, "FilterDeployment is not served")
    yield
    remove_all(api)


@pytest.fixture
def world(
    api: Api, control_plane: ControlPlane, definition: None, serve: Callable[[str], None],
    nodes: Callable[..., Any], pods: Callable[..., Any], start_agent: Callable[..., Agent],
    start_operator: Callable[..., Operator],
) -> Iterator[World]:  # fmt: skip
    """A mesh's kinds, an installed node cache, and two namespaces."""
    from wasme.deploy.cache.ensure import ensure
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.cluster.connect import connect

    serve("istio/1.30.3")
    own = new_namespace(api, "wasme")
    # Empty, as the manifests bring it: who finds none waits for a leader whose Lease somebody may have deleted.
    meta = {"name": "wasme-operator", "namespace": own}
    api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta})
    with connect(control_plane.kubeconfig) as cluster:
        ensure(cluster, CacheOptions(namespace=own))
    kubelets = NodeAgents(api, start_agent, control_plane.kubeconfig, own)
    yield World(api, control_plane, new_namespace(api, "shop"), own, kubelets, nodes, pods, start_operator)
    kubelets.stop()


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    """A filter on a registry."""
    return push(docker_registry)


@pytest.fixture
def door(front: Callable[[Any], Front], control_plane: ControlPlane) -> Front:
    """A way to the API server that can be told to misbehave."""
    return front(control_plane)


@pytest.fixture
def compat(docker_registry: DockerRegistry) -> Pushed:
    """One that Istio's agent and the kubelet can pull."""
    return push(docker_registry, layout="compat")


@pytest.fixture
def place(world: World, control_plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The operator's part for meshes, without the rest of it; marks that nothing needs are litter after a second."""
    from wasme.deploy.cluster.connect import connect
    from wasme.operator.targets.mesh import later

    monkeypatch.setattr(later, "SETTLING", 1.0)
    with connect(control_plane.kubeconfig) as cluster:
        made = Place(world, cluster)
        yield made
        made.close()


@pytest.fixture
def run_helm(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., str]:
    """``run_helm("template", …)``; the cluster is the tests' where a test uses one."""
    program = helm()
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path), "HELM_NAMESPACE": "wasme"}
    if "control_plane" in request.fixturenames:
        environment["KUBECONFIG"] = str(request.getfixturevalue("control_plane").kubeconfig)

    def call(*words: str | Path, ok: bool = True) -> str:
        done = subprocess.run([program, *words], capture_output=True, text=True, env=environment, timeout=120)
        assert (done.returncode == 0) is ok, done.stderr
        return done.stdout if ok else done.stderr

    return call


@pytest.fixture(scope="module")
def cache_places() -> Iterator[list[CachePlace]]:
    """All that were made here, which are closed together."""
    made: list[CachePlace] = []
    yield made
    for each in made:
        each.close()


@pytest.fixture
def cache_place(
    api: Api, control_plane: ControlPlane, cache_places: list[CachePlace]
) -> Iterator[Callable[..., CachePlace]]:
    """``cache_place(install=False)``."""
    mine: list[CachePlace] = []

    def make(**settings: Any) -> CachePlace:
        mine.append(CachePlace(api, control_plane, **settings))
        cache_places.append(mine[-1])
        return mine[-1]

    yield make
    for each in mine:
        each.stop.set()


@pytest.fixture
def cleared(api: Api, control_plane: ControlPlane) -> Iterator[None]:
    """No install before and after the test: a cluster has one."""
    control_plane.require_own()
    clear(api)
    yield
    clear(api)


@pytest.fixture
def own(api: Api) -> str:
    """A namespace for one install."""
    return new_namespace(api, "op")
