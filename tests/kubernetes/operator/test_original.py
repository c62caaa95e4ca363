"""The original's own acceptance tests of its operator, on real parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.fixtures.sidecars import Mesh, Sidecar
from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.meshes import deployment
from tests.kubernetes.meshes import push as push_any
from tests.kubernetes.operator.world import World, configuration
from tests.kubernetes.proofs import CACHE, Pushed, push, stored
from wasme.image import layouts
from wasme.image.runtime_config import RuntimeConfig

_NODES = ("kind-a", "kind-b")
_ISTIOD = "/apis/apps/v1/namespaces/istio-system/deployments/istiod"


@pytest.fixture
def hello(docker_registry: DockerRegistry) -> Pushed:
    """A filter that adds the header `hello` with its configuration."""
    return push(docker_registry.host, "original/assemblyscript-test:v1")


@pytest.fixture
def old_istio(world: World) -> Iterator[None]:
    """An istiod of version 1.5.0 in istio-system, where objects that do not say otherwise look for it."""
    for obj in ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}, _istiod("1.5.0")):
        try:
            world.api.apply(obj)
        except ApiRefused as refused:
            if refused.status != 409:
                raise
    yield
    world.api.delete(_ISTIOD)


def _istiod(version: str) -> dict[str, Any]:
    obj = deployment("istiod", "istio-system", labels={"app": "istiod"}, pod_labels={"app": "istiod"})
    obj["spec"]["template"]["spec"]["containers"] = [{"name": "discovery", "image": f"docker.io/istio/pilot:{version}"}]
    return obj


def _details(image: str, namespace: str, value: str) -> dict[str, Any]:
    """The FilterDeployment of the original's end-to-end test."""
    return {
        "apiVersion": "wasme.io/v1", "kind": "FilterDeployment",
        "metadata": {"name": "myfilter", "namespace": namespace},
        "spec": {
            "filter": {
                "image": image,
                "config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": value},
            },
            "deployment": {"istio": {"kind": "Deployment", "labels": {"app": "details"}}},
        },
    }  # fmt: skip


def test_criterion_18_bookinfo(world: World, bookinfo: Any, hello: Pushed, played_mesh: Mesh) -> None:
    """Applied with the value init-jitter, three seconds later with `world`: the proxy of details answers hello: world.

    observedGeneration becomes 2 (a number; [BUG] the original wrote a text). Deleted, the header is gone. Both nodes
    have an agent of their own: [BUG] the original's wait could succeed on one node alone.
    """
    bookinfo(world.namespace)
    agents = world.nodes(*_NODES)
    world.pods("details-v1", *_NODES)
    world.operator()
    world.api.apply(_details(hello.image, world.namespace, "init-jitter"))
    time.sleep(3)
    world.api.apply(_details(hello.image, world.namespace, "world"))
    world.wait("myfilter", "Ready", seconds=60)

    def proxy() -> Sidecar:
        objects = stored(world.plane, "envoyfilters,deployments", "-n", world.namespace)
        where = ["--pod", "Deployment/details-v1", "--namespace", world.namespace]
        return played_mesh.listen(objects, *where, "--host", f"{CACHE}={agents[_NODES[0]].directory}")

    assert proxy().ask().headers["hello"] == "world"
    status = world.status("myfilter")
    assert status["observedGeneration"] == 2
    assert status["workloads"] == {"details-v1": {"state": "Succeeded"}}
    world.delete("myfilter")
    assert "hello" not in proxy().ask().headers
    assert world.leftovers() == []


def test_criterion_13_an_image_that_istio_cannot_run(
    world: World, old_istio: None, docker_registry: DockerRegistry
) -> None:
    """An ABI that this Istio does not support is refused in the status; with ignoreVersionCheck it is deployed.

    The original's operator could not be told to ignore it. Nothing is changed while it is refused.
    """
    from tests.fixtures.modules import sized

    config = RuntimeConfig(type="envoy_proxy", abi_versions=("invalid_abiversion",), root_ids=("add_header",))
    pushed = push_any(docker_registry, draft=layouts.build("oci", sized(20_000, 5), config))
    world.workload("web")
    world.operator()
    world.apply("web", pushed.name, istio={"ignoreVersionCheck": False})
    world.wait("web", "Accepted=False", "Ready=False")
    told = world.condition("web", "Accepted")["message"]
    assert "invalid_abiversion" in told or "not supported by istio version" in told, told
    assert world.leftovers() == []
    world.apply("web", pushed.name, istio={"ignoreVersionCheck": True})
    world.wait("web", "Accepted", "Ready")
    assert pushed.module.removeprefix("sha256:") in configuration(next(iter(world.filters().values())))


def test_criterion_13_what_fits_passes(world: World, old_istio: None, docker_registry: DockerRegistry) -> None:
    """The same image and the same object with an Istio that has what the module needs: it passes, without a change.

    The upgrade of istiod alone has it looked at again.
    """
    from tests.fixtures.modules import sized

    abi = "v0-4689a30309abf31aee9ae36e73d34b1bb182685f"
    config = RuntimeConfig(type="envoy_proxy", abi_versions=(abi,), root_ids=("add_header",))
    pushed = push_any(docker_registry, draft=layouts.build("oci", sized(20_000, 6), config))
    world.workload("web")
    world.operator()
    world.apply("web", pushed.name, istio={"ignoreVersionCheck": False})
    world.wait("web", "Accepted=False", "Ready=False")
    assert world.leftovers() == []
    world.api.apply(_istiod("1.9.1"))
    world.wait("web", "Accepted", "Ready")
