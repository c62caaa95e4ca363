"""An object of one kind takes another's place: the one before goes when pods and proxies run the new one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import modules
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxies import Proxy, discovered, plugin, rbac, wasm
from tests.kubernetes.meshes import USER_VOLUME, Mesh

_NODE = "succession-node"


@pytest.fixture
def image(docker_registry: DockerRegistry) -> meshes.Pushed:
    return meshes.push(docker_registry, layout="compat")


@pytest.fixture
def sidecar(
    mesh: Mesh, image: meshes.Pushed, proxy: Callable[..., Proxy], kubelet: Kubelet, nodes: Any, pods: Any,
    tmp_path: Path,
) -> Proxy:  # fmt: skip
    """The proxy of the one pod of a workload that runs the filter by an EnvoyFilter; a real Envoy."""
    nodes(_NODE)
    kubelet.serve(_NODE)
    mesh.workload("web")
    mesh.deploy(image.name, "--cache-timeout=0")
    (tmp_path / ("ab" * 32)).write_bytes(modules.minimal())
    running = proxy(wasm("test", tmp_path / ("ab" * 32)))
    (pod,) = pods(mesh.get("web"), _NODE)
    kubelet.lead(pod, running)
    return running


@pytest.fixture
def istiod(mesh: Mesh, sidecar: Proxy) -> Iterator[Callable[..., None]]:
    """``istiod(*filters)`` sends the proxy these when the WasmPlugin is stored and the command has looked once."""
    stop = threading.Event()
    running: list[threading.Thread] = []

    def call(*filters: dict[str, Any]) -> None:
        mark = mesh.plane.mark()

        def run() -> None:
            while not stop.wait(0.05):
                # Whoever lists the pods again has done with the first look.
                if _looks(mesh, mark, "/wasmplugins/") > 1:
                    sidecar.change(*filters)
                    return

        running.append(threading.Thread(target=run, daemon=True))
        running[-1].start()

    yield call
    stop.set()
    for each in running:
        each.join(10)


def _looks(mesh: Mesh, mark: int, kind: str) -> int:
    """How often the pods were listed since objects of a kind were written last."""
    events = [each for each in mesh.plane.audit(mark) if mesh.namespace in each["requestURI"]]
    written = [number for number, each in enumerate(events) if each["verb"] == "patch" and kind in each["requestURI"]]
    after = events[written[-1] + 1 :] if written else []
    return sum(each["verb"] == "list" and "/pods?" in each["requestURI"] for each in after)


def _place(mesh: Mesh) -> str:
    """How Istio calls the filter of a WasmPlugin in a proxy."""
    return f"extensions.istio.io/wasmplugin/{mesh.namespace}.web-test"


def test_the_one_before_goes_when_proxies_run_the_new_one(
    mesh: Mesh, image: meshes.Pushed, sidecar: Proxy, istiod: Callable[..., None], tmp_path: Path
) -> None:
    """An EnvoyFilter that becomes a WasmPlugin goes, and its volume with it, when the pod's proxy has the new filter
    with the image's module; until then it stands, and the command says what it waits for."""
    file = tmp_path / f"{image.manifest.removeprefix('sha256:')}.wasm"
    file.write_bytes(modules.minimal())
    name = _place(mesh)
    istiod(wasm("test", tmp_path / ("ab" * 32)), discovered(name, tmp_path / "ecds", plugin(name, file)))
    told = mesh.deploy(image.name, "--as", "wasmplugin")
    assert "waiting before the objects of before are deleted" in told.stderr
    assert "it is in no listener's filter chain" in told.stderr, "the filter of before is not taken for the new one"
    assert "nobody can tell" not in told.stderr
    assert (mesh.filters(), set(mesh.filters("wasmplugins"))) == ({}, {"web-test"})
    assert USER_VOLUME not in mesh.annotations("web")


def test_the_one_before_stays_when_proxies_refuse_the_new_one(
    mesh: Mesh, image: meshes.Pushed, sidecar: Proxy, istiod: Callable[..., None], tmp_path: Path
) -> None:
    """Where the agent cannot get the module the command fails, says so, and the EnvoyFilter and its volume stay; the
    way back that it names works."""
    template = mesh.template("web")
    name = _place(mesh)
    istiod(wasm("test", tmp_path / ("ab" * 32)), discovered(name, tmp_path / "ecds", rbac(allow=False)))
    refused = mesh.deploy(image.name, "--as", "wasmplugin", ok=False)
    assert "does not run the WasmPlugin, so EnvoyFilter/web-test stays: the proxy of web-" in refused.stderr
    assert "stand-in" in refused.stderr
    assert "with --as=envoyfilter to go back" in refused.stderr
    assert (set(mesh.filters()), set(mesh.filters("wasmplugins"))) == ({"web-test"}, {"web-test"})
    assert mesh.template("web") == template
    assert mesh.cache_data()["filters"].startswith(f"{mesh.namespace}/test "), "the nodes go on holding the module"
    mesh.deploy(image.name, "--cache-timeout=0")
    assert (set(mesh.filters()), mesh.filters("wasmplugins")) == ({"web-test"}, {})


def test_a_proxy_that_cannot_be_asked_stops_nothing(mesh: Mesh, image: meshes.Pushed, nodes: Any, pods: Any) -> None:
    """Without a pod, or with one that cannot be asked, the change is done at once, with a warning that says why."""
    mesh.workload("web")
    mesh.deploy(image.name, "--cache-timeout=0")
    begun = time.monotonic()
    told = mesh.deploy(image.name, "--as", "wasmplugin")
    assert "nobody can tell whether the new one runs" in told.stderr
    assert "no pod of it runs whose proxy could be asked" in told.stderr
    nodes(_NODE)
    pods(mesh.get("web"), _NODE)
    told = mesh.deploy(image.name, "--as", "trafficextension")
    assert "nobody can tell whether the new one runs" in told.stderr
    assert time.monotonic() - begun < 50
    assert (mesh.filters("wasmplugins"), set(mesh.filters("trafficextensions"))) == ({}, {"web-test"})


def test_many_are_waited_for_together(mesh: Mesh, image: meshes.Pushed, pods: Any) -> None:
    """Five workloads whose pods are not made anew are waited for together: once the time that was given, with one list
    of pods for each look, after all objects are written; one line says what for."""
    names = [f"web-{number}" for number in range(5)]
    for name in names:
        pods(mesh.workload(name), "nowhere")
    mesh.deploy(image.name, "--as", "wasmplugin")
    mark, begun = mesh.plane.mark(), time.monotonic()
    told = mesh.deploy(image.name, "--cache-timeout=5s", "--cache-mode=image-volume")
    assert time.monotonic() - begun < 5 * 4
    assert told.stderr.count("waiting before the objects of before are deleted") == 1
    assert told.stderr.count("stays until the workload's pods are made anew") == 5
    assert set(mesh.filters()) == set(mesh.filters("wasmplugins")) == {f"{name}-test" for name in names}
    assert 1 < _looks(mesh, mark, "") < 8


@pytest.mark.parametrize("spec", [{"paused": True}, {"updateStrategy": {"type": "OnDelete"}}])
def test_nobody_waits_for_pods_that_nothing_makes_anew(
    mesh: Mesh, image: meshes.Pushed, pods: Any, spec: dict[str, Any]
) -> None:
    """Paused workloads, and those that update on delete, are not waited for; it is told why the object before stays."""
    kind = "Deployment" if "paused" in spec else "DaemonSet"
    web = mesh.workload("web", kind=kind)
    plural = f"{kind.lower()}s"
    mesh.api.patch(f"/apis/apps/v1/namespaces/{mesh.namespace}/{plural}/web", {"spec": spec})
    mesh.deploy(image.name, "--as", "wasmplugin", "--workload-type", kind.lower())
    pods(web, "nowhere")
    begun = time.monotonic()
    told = mesh.deploy(image.name, "--cache-timeout=60s", "--cache-mode=image-volume", "--workload-type", kind.lower())
    assert time.monotonic() - begun < 45
    assert "stays until the workload's pods are made anew" in told.stderr
    assert "waiting before" not in told.stderr
    assert (set(mesh.filters()), set(mesh.filters("wasmplugins"))) == ({"web-test"}, {"web-test"})
