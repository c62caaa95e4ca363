"""``wasme status``, on a real API server: filters deployed by the command, then everything that can happen to them."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.fixtures import modules
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api, place
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxies import Proxy, wasm
from tests.kubernetes.meshes import Pushed, push
from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import ImageStatus, NodeStatus
from wasme.image import layouts
from wasme.image.runtime_config import RuntimeConfig

_NODES = ("status-a", "status-b")


@pytest.fixture
def image(docker_registry: DockerRegistry) -> Pushed:
    return push(docker_registry)


class Scene:
    """bookinfo with the filter ``auth`` on productpage, its pods on two nodes; the test is the nodes' agents."""

    def __init__(
        self, api: Api, namespace: str, run: Callable[..., Result], image: Pushed, pods: Callable[..., Any],
        workload: dict[str, Any],
    ) -> None:  # fmt: skip
        self.api, self.namespace, self.image, self._run, self._pods = api, namespace, image, run, pods
        self.path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{workload['metadata']['name']}"
        self.filter = f"/apis/networking.istio.io/v1alpha3/namespaces/{namespace}/envoyfilters/productpage-v1-auth"

    def deploy(self, *flags: str) -> None:
        words = ("--id=auth", "--namespace", self.namespace, "--labels=app=productpage", "--plain-http")
        cache = ("--cache-namespace", self.namespace, "--ignore-version-check")
        if "--as=envoyfilter" in flags and "--cache-mode=image-volume" not in flags:
            cache = (*cache, "--cache-timeout=0")
        self._run("deploy", "istio", self.image.name, *words, *cache, *flags)

    def deploy_to(self, target: str) -> None:
        words = ("--id=auth", "--namespace", self.namespace, "--plain-http", "--ignore-version-check")
        self._run("deploy", "istio", self.image.name, *words, "--as=trafficextension", "--target", target)

    def pods(self, *nodes: str, **settings: Any) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = self._pods(self.api.get(self.path), *nodes, **settings)
        return made

    def tell(self, node: str, *, held: bool = True, error: str = "") -> None:
        """What the agent of a node tells."""
        config_map = f"/api/v1/namespaces/{self.namespace}/configmaps/wasme-cache"
        uid = self.api.get(config_map)["metadata"]["uid"]
        module = ImageStatus(self.image.name, self.image.manifest, self.image.module, 3, held, error)
        status = NodeStatus(node, "0.1.0", "1", (self.namespace,), (module,))
        self.api.apply(protocol.status_object("wasme-cache", self.namespace, uid, status))

    def status(self, *flags: str, ok: bool = True, id: str = "auth") -> Result:  # noqa: A002
        place = ("--namespace", self.namespace, "--cache-namespace", self.namespace)
        return self._run("status", *([id] if id else []), *place, *flags, ok=ok)

    def json(self, *flags: str) -> dict[str, Any]:
        found: dict[str, Any] = self.status("--output=json", *flags).json["filters"][0]
        return found

    def reasons(self, *flags: str) -> list[str]:
        """All reasons there are, in their order."""
        found = self.json(*flags)
        places = found["places"]
        return [
            *found["reasons"], *(why for place in places for why in place["reasons"]),
            *(why for place in places for pod in place["pods"] for why in pod["reasons"]),
        ]  # fmt: skip


@pytest.fixture
def scene(
    api: Api,
    namespace: str,
    serve: Callable[[str], None],
    nodes: Callable[..., Any],
    pods: Callable[..., Any],
    bookinfo: Callable[[str], dict[str, Any]],
    kube_run: Callable[..., Result],
    image: Pushed,
) -> Scene:
    serve("istio/1.30.3")
    nodes(*_NODES)
    return Scene(api, namespace, kube_run, image, pods, bookinfo(namespace)["productpage-v1"])


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
    scene.pods(*_NODES)
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


def test_edited(scene: Scene) -> None:
    """Foreign edits are told: another module in the object, a selector that no pod fits, a template without volume."""
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.tell("status-a")
    patches = scene.api.get(scene.filter)["spec"]["configPatches"]
    code = patches[0]["patch"]["value"]["typedConfig"]["value"]["config"]["vmConfig"]["code"]
    code["local"]["filename"] = f"{protocol.DIRECTORY}/{'ab' * 32}"
    scene.api.patch(scene.filter, {"spec": {"configPatches": patches}})
    first, second, third = scene.reasons()
    assert first.startswith(
        f"digest differs: it loads sha256:{'ab' * 6}, and was deployed with {scene.image.module[:19]}"
    )
    assert re.fullmatch(r"edited by \S+ \(spec\.configPatches\): deploy again", second)
    assert third == "the node does not hold the module"
    scene.deploy("--as=envoyfilter")
    assert scene.reasons() == []
    scene.api.patch(scene.filter, {"spec": {"workloadSelector": {"labels": {"version": "v9"}}}})
    edited, selects = scene.reasons()
    assert re.fullmatch(r"edited by \S+ \(spec\.workloadSelector\.labels\.version\): deploy again", edited)
    assert selects == "the filter selects pods with version=v9, which this one has not: deploy again"
    scene.deploy("--as=envoyfilter")
    gone = {f"sidecar.istio.io/{name}": None for name in ("userVolume", "userVolumeMount")}
    scene.api.patch(scene.path, {"spec": {"template": {"metadata": {"annotations": gone}}}})
    scene.pods("status-a")
    assert scene.reasons() == ["the workload's template has lost the filter's volume: deploy again"]


@pytest.mark.parametrize("field", ["rootId", "filename"])
def test_a_field_of_the_filter_edited(scene: Scene, field: str) -> None:
    """Whoever edits anything in the EnvoyFilter's patches is named, and --check is 1 until it is deployed again; its
    labels and annotations are everybody's.
    """
    scene.deploy("--as=envoyfilter")
    scene.pods("status-a")
    scene.tell("status-a")
    scene.api.patch(scene.filter, {"metadata": {"labels": {"team": "a"}, "annotations": {"example.com/who": "me"}}})
    scene.status("--check")
    patches = scene.api.get(scene.filter)["spec"]["configPatches"]
    config = patches[0]["patch"]["value"]["typedConfig"]["value"]["config"]
    if field == "rootId":
        config["rootId"] = "another"
    else:
        config["vmConfig"]["code"]["local"]["filename"] = "/etc/other.wasm"
    scene.api.patch(scene.filter, {"spec": {"configPatches": patches}})
    result = scene.status("--check", ok=False)
    assert result.exit_code == 1
    assert re.search(
        r"EnvoyFilter/productpage-v1-auth: edited by \S+ \(spec\.configPatches\): deploy again", result.stdout
    )
    assert ("digest differs: it loads /etc/other.wasm, and" in result.stdout) == (field == "filename")
    scene.deploy("--as=envoyfilter")
    scene.status("--check")


def test_a_plugin_edited(scene: Scene) -> None:
    """Another url, another configuration, or no selector any more is told; a deployment mends them all."""
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.pods("status-a")
    scene.status("--check")
    path = scene.filter.replace("networking.istio.io/v1alpha3", "extensions.istio.io/v1alpha1")
    path = path.replace("envoyfilters", "trafficextensions")
    scene.api.patch(path, {"spec": {"wasm": {"url": f"oci://other/filter@sha256:{'ab' * 32}"}}})
    digest, edited = scene.reasons()
    assert digest.startswith(
        f"digest differs: it loads sha256:{'ab' * 6}, and was deployed with {scene.image.manifest[:19]}"
    )
    assert re.fullmatch(r"edited by \S+ \(spec\.wasm\.url\): deploy again", edited)
    assert scene.status("--check", ok=False).exit_code == 1
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.status("--check")
    scene.api.patch(path, {"spec": {"wasm": {"pluginConfig": {"b": 2}}, "selector": None}})
    missing, edited = scene.reasons()
    assert missing == "somebody took away spec.selector or spec.targetRefs: deploy again"
    assert re.fullmatch(r"edited by \S+ \(spec\.wasm\.pluginConfig\.b\): deploy again", edited)
    scene.deploy("--as=trafficextension", '--config={"url":"oci://elsewhere","a":1}')
    scene.status("--check")


def test_applied_by_somebody_else(scene: Scene, kube_run: Callable[..., Result]) -> None:
    """What a dry run printed and kubectl applied is nobody's edit."""
    words = ("--id=auth", "--namespace", scene.namespace, "--labels=app=productpage", "--plain-http")
    more = ("--as=trafficextension", "--ignore-version-check", "--dry-run", "--output=json")
    printed = kube_run("deploy", "istio", scene.image.name, *words, *more).json
    (obj,) = printed["items"]
    scene.api.create(obj)
    scene.pods("status-a")
    scene.status("--check")


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
    kubelet.serve(*_NODES)
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
    kubelet.serve(*_NODES)
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
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]}  # fmt: skip
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
               "metadata": {"name": "reader", "namespace": scene.namespace},
               "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
               "roleRef": {"kind": "Role", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}}  # fmt: skip
    scene.api.create(role)
    scene.api.create(binding)
    result = kube_run(*words, kubeconfig=config)
    (place,) = result.json["filters"][0]["places"]
    assert (place["ready"], place["cached"]) == ("unknown", "unknown")
    assert "nodes may not be read" in result.stderr
