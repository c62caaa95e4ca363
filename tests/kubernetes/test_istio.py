"""``deploy istio`` and ``undeploy istio`` on a real API server: the main path, as the original's users know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster import crds
from tests.kubernetes.meshes import MOUNT, USER_MOUNT, USER_VOLUME, VOLUME, Mesh, lines
from wasme.deploy.cache.image import IMAGE
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import connect
from wasme.deploy.istio.facts import Facts
from wasme.deploy.istio.order import Caching, Order
from wasme.deploy.istio.order import Mesh as MeshOptions
from wasme.deploy.istio.provider import Istio
from wasme.deploy.istio.target import IstioTarget
from wasme.deploy.istio.workloads import Selection
from wasme.deploy.provider import Provider
from wasme.deploy.resolved import resolve
from wasme.deploy.spec import FilterSpec
from wasme.registry.session import Session

TYPED = "webassemblyhub.io/hxpmark/auth:0.01"
SHOWN = f'filter="id:\\"test\\" image:\\"{TYPED}\\" rootID:\\"add_header\\" patchContext:\\"inbound\\" "'


@pytest.fixture
def golden(mesh: Mesh, bookinfo: Any, docker_registry: DockerRegistry, home: Path) -> Mesh:
    """The cluster of the transcripts: bookinfo in the namespace istio, the cache in wasme, istiod in istio-system."""
    for name in ("istio", "wasme", "istio-system"):
        mesh.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    (home / ".wasme").mkdir(exist_ok=True)
    (home / ".wasme" / "config.yaml").write_text(f"registryMap: {{webassemblyhub.io: {docker_registry.host}}}\n")
    meshes.push(docker_registry, TYPED)
    made = Mesh(mesh.api, mesh.plane, mesh.run, "istio", "wasme", "istio-system")
    made.istiod("1.30.3")
    if made.get("productpage-v1") is None:
        bookinfo("istio")
    return made


def bookinfo_template() -> dict[str, Any]:
    """The metadata of productpage's pods in Istio's sample."""
    (found,) = (
        each for each in crds.sample("bookinfo.yaml")
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "productpage-v1"
    )  # fmt: skip
    metadata: dict[str, Any] = found["spec"]["template"]["metadata"]
    return metadata


def test_the_transcripts_of_a_user(golden: Mesh) -> None:
    """stderr of both commands is the user's transcript, byte by byte: seconds masked, our cache's image in place."""
    words = ("--id=test", "--labels", "app=productpage", "--namespace=istio", "--log-format=text")
    first = golden.run("deploy", "istio", TYPED, *words, "--as", "envoyfilter")
    assert first.stdout == ""
    again = golden.run("deploy", "istio", TYPED, *words, "--as", "envoyfilter")
    cache = f'cache=wasme-cache.wasme image="{IMAGE}"'
    assert lines(again.stderr) == [
        f"INFO[0000] cache namespace already exists                {cache}",
        f"INFO[0000] cache configmap already exists                {cache}",
        f"INFO[0000] cache service account already exists          {cache}",
        f"INFO[0000] cache role updated                            {cache}",
        f"INFO[0000] cache rolebinding updated                     {cache}",
        f"INFO[0000] cache daemonset updated                       {cache}",
        f'INFO[0000] image is already cached                       cache="{{wasme-cache wasme}}" image="{TYPED}"',
        f"INFO[0000] updated workload sidecar annotations          {SHOWN} workload=productpage-v1",
        "INFO[0000] created Istio EnvoyFilter resource            "
        f"envoy_filter_resource=productpage-v1-test.istio {SHOWN} workload=productpage-v1",
    ]
    gone = golden.run("undeploy", "istio", "--id=test", "--labels", "app=productpage", "--namespace=istio",
                      "--log-format=text")  # fmt: skip
    assert lines(gone.stderr) == [
        "INFO[0000] removing filter from one or more workloads...  filter=test "
        'params="{map[app:productpage] istio deployment}"',
        "INFO[0000] removing sidecar annotations from workload    filter=test workload=productpage-v1",
        "INFO[0000] deleted Istio EnvoyFilter resource            filter=productpage-v1-test",
    ]
    assert golden.filters() == {}
    assert golden.template("productpage-v1") == bookinfo_template()


def test_what_is_stored(mesh: Mesh, docker_registry: DockerRegistry) -> None:
    """One workload: the original's annotations (criterion 7), a selector of all its pods' labels, one patch by the
    names that today's Istio has, the image in the cache's ConfigMap, and marks by which all of it is found."""
    image = meshes.push(docker_registry)
    mesh.workload("web", pod_labels={"app": "web", "version": "v1"})
    mesh.deploy(image.name, "--cache-gate=false", "--config", "world")
    assert {key: mesh.annotations("web")[key] for key in (USER_VOLUME, USER_MOUNT)} == {
        USER_VOLUME: VOLUME,
        USER_MOUNT: MOUNT,
    }
    assert mesh.template("web")["labels"] == {"app": "web", "version": "v1", "wasme.io/cache": "wasme-cache"}
    (found,) = mesh.filters().values()
    assert found["metadata"]["name"] == "web-test"
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "wasme", "wasme.io/filter": "test"}
    assert found["metadata"]["annotations"]["wasme.io/workload"] == "Deployment/web"
    assert found["metadata"]["annotations"]["wasme.io/digest"] == image.module
    assert found["spec"]["workloadSelector"]["labels"] == mesh.template("web")["labels"]
    (patch,) = found["spec"]["configPatches"]
    assert patch["match"]["context"] == "SIDECAR_INBOUND"
    assert patch["match"]["listener"]["filterChain"]["filter"] == {
        "name": "envoy.filters.network.http_connection_manager",
        "subFilter": {"name": "envoy.filters.http.router"},
    }
    plugin = patch["patch"]["value"]["typedConfig"]["value"]["config"]
    assert plugin["rootId"] == "add_header"
    assert plugin["configuration"]["value"] == "world"
    assert plugin["vmConfig"]["code"]["local"]["filename"].endswith(image.module.removeprefix("sha256:"))
    data = mesh.cache_data()
    assert data["images"] == image.name
    assert data["filters"] == f"{mesh.namespace}/test {image.name} {image.manifest} {image.module}"


def test_no_labels_means_all(mesh: Mesh, docker_registry: DockerRegistry) -> None:
    """Without labels every Deployment of the namespace gets the filter, and nothing else does (criterion 8)."""
    image = meshes.push(docker_registry)
    for name in ("a", "b"):
        mesh.workload(name)
    mesh.workload("c", kind="StatefulSet")
    mesh.deploy(image.name)
    assert set(mesh.filters()) == {"a-test", "b-test"}
    assert USER_VOLUME not in (mesh.template("c", "statefulsets").get("annotations") or {})


def test_the_protocol(mesh: Mesh, docker_registry: DockerRegistry) -> None:
    """As a library: facts are read, render is pure and gives what apply stores, status tells it, remove takes it."""
    image = meshes.push(docker_registry, layout="compat")
    mesh.workload("web")
    order = Order(
        Selection((mesh.namespace,)),
        IstioTarget("wasmplugin"),
        MeshOptions(mesh.istio),
        Caching(CacheOptions(namespace=mesh.cache)),
    )
    with connect(mesh.plane.kubeconfig) as cluster, Session() as session:
        provider: Provider[Facts] = Istio(cluster, order, lambda typed: resolve(typed, session))
        assert provider.status("test").phase == "absent"
        spec = FilterSpec("test", image.name)
        mark = mesh.plane.mark()
        facts = provider.facts(spec)
        objects = provider.render(spec, facts)
        assert objects == provider.render(spec, facts)
        assert mesh.writes(mark) == []
        provider.apply(objects)
        (stored,) = mesh.filters("wasmplugins").values()
        assert stored["spec"] == objects[-1]["spec"]
        assert provider.status("test").phase == "ready"
        provider.remove("test")
        provider.remove("test")
        assert provider.status("test").phase == "absent"
        assert mesh.filters("wasmplugins") == {}
