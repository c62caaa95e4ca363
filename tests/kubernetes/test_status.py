"""``wasme status``, on a real API server: filters deployed by the command, then everything that can happen to them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import Result
from tests.fixtures import modules
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.accounts import wait_granted
from tests.kubernetes.cluster.api import place
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxies import Proxy, wasm
from tests.kubernetes.meshes import Pushed, push
from tests.kubernetes.scenes import NODES, Scene, image, scene
from wasme.image import layouts
from wasme.image.runtime_config import RuntimeConfig

__all__ = ["image", "scene"]

_READS = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]


def test_all_is_well(scene: Scene) -> None:
    """By workload and node: image, digest, cached, programmed, ready; with --check exit 0."""
    scene.deploy("--as=envoyfilter")
    first, second, third = scene.pods("status-a", "status-a", "status-b")
    scene.tell("status-a")
    scene.tell("status-b")
    result = scene.status("--check")
    digest = scene.image.module.removeprefix("sha256:")[:12]
    rows = [line.split() for line in result.stdout.splitlines()]
    start = ["auth", scene.namespace, "Deployment/productpage-v1"]
    assert rows == [
        ["ID", "NAMESPACE", "WORKLOAD", "NODE", "IMAGE", "DIGEST", "CACHED", "PROGRAMMED", "READY"],
        [*start, "status-a", scene.image.name, digest, "yes", "2/2", "2/2"],
        [*start, "status-b", scene.image.name, digest, "yes", "1/1", "1/1"],
    ]
    told = scene.json()
    assert told["ready"] is True
    assert told["digest"] == scene.image.module
    assert told["object"] == "EnvoyFilter/productpage-v1-auth"
    names = {pod["name"] for place in told["places"] for pod in place["pods"]}
    assert names == {each["metadata"]["name"] for each in (first, second, third)}


def test_nothing_there(scene: Scene) -> None:
    """Without a filter nothing is printed; it is said where to look, and --check is 1."""
    result = scene.status("--check", ok=False)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"there is no filter auth in the namespace {scene.namespace}; --all-namespaces" in result.stderr


def test_pod_from_before(scene: Scene) -> None:
    """A pod that was there before the deployment has no volume, is not programmed, and must be restarted."""
    scene.pods("status-a")
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.tell("status-a")
    assert scene.reasons() == ["pod started before the filter's volume: restart it"]
    assert sorted(each["programmed"] for each in scene.json()["places"][0]["pods"]) == [False, True]
    assert scene.status("--check", ok=False).exit_code == 1


def test_pod_from_before_with_an_image_volume(scene: Scene, docker_registry: DockerRegistry) -> None:
    """A pod from before the filter came to an image volume must be restarted, whatever volume it had; deploying again
    would not help it. On this server, where the feature ImageVolume is off, a new pod gets no volume.
    """
    scene.image = push(docker_registry, layout="compat")
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.deploy("--as=envoyfilter", "--cache-mode=image-volume")
    assert scene.reasons() == ["pod started before the filter's volume: restart it"]
    scene.pods("status-b")
    empty = "the pod was made without its image volume, which this cluster knows not: use the node cache"
    assert scene.reasons() == ["pod started before the filter's volume: restart it", empty]


def test_pods_that_end(scene: Scene) -> None:
    """During a rollout the old pods, which have been told to end, are not told to be restarted."""
    (old,) = scene.pods("status-a")
    path = f"/api/v1/namespaces/{scene.namespace}/pods/{old['metadata']['name']}"
    scene.api.patch(path, {"metadata": {"finalizers": ["test.wasme.io/slow"]}})
    scene.deploy("--as=envoyfilter")
    scene.api.delete(path)
    scene.pods("status-b")
    scene.tell("status-b")
    try:
        found = scene.json()
        assert (found["ready"], [each["node"] for each in found["places"]]) == (True, ["status-b"])
    finally:
        scene.api.patch(path, {"metadata": {"finalizers": None}})


def test_what_nodes_say(scene: Scene, nodes: Callable[..., Any]) -> None:
    """A node that does not hold the module is told with its agent's reason; one that is not ready, and one whose
    agent is silent, in words.
    """
    scene.deploy("--as=envoyfilter")
    scene.pods(*NODES)
    scene.tell("status-a", held=False, error="registry answers 401")
    nodes("status-b", ready=False)
    assert scene.reasons() == [
        "the node does not hold the module: registry answers 401",
        "the node is not ready",
        "the node's cache has told nothing: wasme cache status",
    ]
    assert [(each["cached"], each["ready"]) for each in scene.json()["places"]] == [("no", "yes"), ("unknown", "no")]


def test_without_its_workload(scene: Scene) -> None:
    """The object of a workload that was deleted is found, and told to be undeployed."""
    scene.deploy("--as=envoyfilter")
    scene.api.delete(scene.path)
    assert scene.reasons() == ["filter object without its workload Deployment/productpage-v1: undeploy it"]


def test_the_originals_filter(scene: Scene) -> None:
    """A filter that the original deployed is found by its shape, without any mark: its names match nothing any more."""
    hexed = scene.image.module.removeprefix("sha256:")
    config = {"name": "auth", "rootId": "add_header", "vmConfig": {
        "vmId": "auth", "runtime": "envoy.wasm.runtime.v8",
        "code": {"local": {"filename": f"/var/local/lib/wasme-cache/{hexed}"}}}}  # fmt: skip
    typed = {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "value": {"config": config},
             "typeUrl": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"}  # fmt: skip
    match = {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {
        "name": "envoy.http_connection_manager", "subFilter": {"name": "envoy.router"}}}}}  # fmt: skip
    patch = {"applyTo": "HTTP_FILTER", "match": match, "patch": {
        "operation": "INSERT_BEFORE", "value": {"name": "envoy.filters.http.wasm", "typedConfig": typed}}}  # fmt: skip
    labels = {"app": "productpage", "version": "v1"}
    scene.api.create({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "productpage-v1-auth", "namespace": scene.namespace},
        "spec": {"workloadSelector": {"labels": labels}, "configPatches": [patch]},
    })  # fmt: skip
    found = scene.json()
    assert (found["workload"], found["digest"]) == ("Deployment/productpage-v1", scene.image.module)
    assert found["reasons"][0].startswith("legacy filter names: ")
    assert "1.19" in found["reasons"][0]


def test_asked_for_and_not_carried(scene: Scene) -> None:
    """A filter whose object somebody deleted is still asked for on the nodes, which is told."""
    scene.deploy("--as=envoyfilter")
    scene.api.delete(scene.filter)
    assert scene.reasons() == ["the nodes hold its module, but no object carries it: deploy it again, or undeploy it"]


def test_two_kinds_at_once(scene: Scene) -> None:
    """A filter that two objects carry runs twice; a kind whose agent pulls needs no cache."""
    scene.deploy("--as=envoyfilter")
    envoy_filter = scene.api.get(scene.filter)
    scene.deploy("--as=wasmplugin")
    meta = {key: envoy_filter["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    scene.api.create({**envoy_filter, "metadata": meta})
    both = scene.status("--output=json").json["filters"]
    assert [each["object"] for each in both] == ["EnvoyFilter/productpage-v1-auth", "WasmPlugin/productpage-v1-auth"]
    assert all("carries it too, so it runs twice: deploy again" in " ".join(each["reasons"]) for each in both)


def test_without_its_target(scene: Scene, serve: Callable[[str], None]) -> None:
    """A filter on a Gateway or a Service that is not there is told, and --check is 1 until it is."""
    serve("gateway-api/v1.6.1")
    service = {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 80}]},
               "metadata": {"name": "reviewer", "namespace": scene.namespace}}  # fmt: skip
    for target, obj in (("Gateway/waypoint", _gateway(scene.namespace)), ("Service/reviewer", service)):
        scene.api.create(obj)
        scene.deploy_to(target)
        scene.api.delete(place(obj))
        result = scene.status("--check", ok=False)
        assert result.exit_code == 1
        assert (
            f"TrafficExtension/auth: its target {target} is not there, so the filter does not run there"
            in result.stdout
        )
        scene.api.create(obj)
        scene.status("--check")


def _gateway(namespace: str) -> dict[str, Any]:
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "waypoint", "namespace": namespace},
            "spec": {"gatewayClassName": "istio-waypoint", "listeners": [listener]}}  # fmt: skip


def test_on_a_waypoint(scene: Scene, serve: Callable[[str], None]) -> None:
    """A filter on a Gateway is told by the pods that Istio runs for it; one on a Service has no pods of its own."""
    serve("gateway-api/v1.6.1")
    scene.api.create(_gateway(scene.namespace))
    scene.deploy_to("Gateway/waypoint")
    scene.api.patch(scene.path, {"spec": {"template": {"metadata": {"labels": {
        "gateway.networking.k8s.io/gateway-name": "waypoint"}}}}})  # fmt: skip
    scene.pods("status-a")
    found = scene.json()
    assert (found["workload"], found["object"], found["ready"]) == ("Gateway/waypoint", "TrafficExtension/auth", True)
    (place,) = found["places"]
    assert (place["node"], place["cached"], [pod["programmed"] for pod in place["pods"]]) == ("status-a", "", [True])


def test_probed(
    scene: Scene, kubelet: Kubelet, proxy: Callable[..., Proxy], image: Pushed, tmp_path: Path
) -> None:  # fmt: skip
    """With --probe the proxies answer for themselves: one runs the filter, one has refused its listener, one is not
    there; --check is 1, and Envoy's own reason is told.
    """
    scene.deploy("--as=envoyfilter")
    kubelet.serve(*NODES)
    one, two, three = scene.pods("status-a", "status-a", "status-b")
    scene.tell("status-a")
    scene.tell("status-b")
    file = tmp_path / image.module.removeprefix("sha256:")
    file.write_bytes(_module(image))
    kubelet.lead(one, proxy(wasm("auth", file)))
    refusing = proxy()
    refusing.change(wasm("auth", tmp_path / "missing"))
    kubelet.lead(two, refusing)
    result = scene.status("--probe", "--check", ok=False)
    assert result.exit_code == 1
    assert [line.split()[-1] for line in result.stdout.splitlines()[:3]] == ["RUNNING", "1/2", "0/1"]
    assert f"pod {two['metadata']['name']}: its proxy: rejected: Envoy refuses" in result.stdout
    assert f"Invalid path: {tmp_path / 'missing'}" in result.stdout
    assert f"pod {three['metadata']['name']}: its proxy: unknown: " in result.stdout


def test_a_vm_that_died_and_was_replaced(
    scene: Scene, kubelet: Kubelet, proxy: Callable[..., Proxy], docker_registry: DockerRegistry, tmp_path: Path
) -> None:
    """With fail policy reload a VM that died is replaced: the filter is ready, and the failure is told all the same."""
    module = modules.assemble(
        modules._MINIMAL.rstrip().removesuffix(")")
        + '(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))'
    )
    config = RuntimeConfig(type="envoy_proxy", abi_versions=("v0.2.1",), root_ids=("add_header",))
    scene.image = push(docker_registry, draft=layouts.build("oci", module, config))
    scene.deploy("--as=envoyfilter", "--fail-policy=reload")
    kubelet.serve(*NODES)
    (pod,) = scene.pods("status-a")
    scene.tell("status-a")
    file = tmp_path / scene.image.module.removeprefix("sha256:")
    file.write_bytes(module)
    backoff = {"backoff": {"base_interval": "0.01s"}}
    running = proxy(wasm("auth", file, failure_policy="FAIL_RELOAD", reload_config=backoff))
    kubelet.lead(pod, running)
    for _ in range(5):
        running.request()
        time.sleep(0.05)
    shown = scene.status("--probe", "--check")
    assert "1/1" in shown.stdout
    assert re.search(r"its proxy: its VM failed and was replaced \d+ times", shown.stdout)


def _module(image: Pushed) -> bytes:
    module = modules.sized(20_000, 0)
    assert f"sha256:{hashlib.sha256(module).hexdigest()}" == image.module
    return module


def test_with_few_rights(scene: Scene, control_plane: ControlPlane, kube_run: Callable[..., Result]) -> None:
    """Who may read only the namespace gets the answer without nodes and caches; who may read nothing is told what."""
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    user = f"reader-{scene.namespace}"
    config = control_plane.kubeconfig_for(user)
    words = ("status", "--namespace", scene.namespace, "--output=json")
    nothing = kube_run(*words, ok=False, kubeconfig=config)
    assert nothing.exit_code == 1
    assert "envoyfilters.networking.istio.io" in nothing.stderr
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": "reader", "namespace": scene.namespace},
            "rules": _READS}  # fmt: skip
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
               "metadata": {"name": "reader", "namespace": scene.namespace},
               "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
               "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}}  # fmt: skip
    scene.api.create(role)
    scene.api.create(binding)
    wait_granted(scene.api, user, scene.namespace, _READS)
    result = kube_run(*words, kubeconfig=config)
    (place,) = result.json["filters"][0]["places"]
    assert (place["ready"], place["cached"]) == ("unknown", "unknown")
    assert "nodes may not be read" in result.stderr
