"""What wasme stores, through a real istiod and a real istio-agent into a real Envoy."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.istiods import Istiod, Pods
from tests.fixtures.registries import DockerRegistry, Run
from tests.fixtures.sidecars import Sidecar
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.proofs import CACHE, Pushed, Stage, push
from wasme.deploy import configuration
from wasme.deploy.istio import annotations
from wasme.deploy.istio.sought import asked
from wasme.deploy.istio.target import IstioTarget, TargetRef
from wasme.deploy.probe.evidence import configured, counted
from wasme.deploy.probe.verdict import Verdict, judge
from wasme.deploy.spec import Backoff, FilterSpec, PluginSettings

_PLUGINS = ["WasmPlugin", "TrafficExtension"]
_LISTS = {
    "EnvoyFilter": "/apis/networking.istio.io/v1alpha3/namespaces/{}/envoyfilters",
    "WasmPlugin": "/apis/extensions.istio.io/v1alpha1/namespaces/{}/wasmplugins",
    "TrafficExtension": "/apis/extensions.istio.io/v1alpha1/namespaces/{}/trafficextensions",
}
_CALLS = ["log", "get_buffer_bytes", "add_header_map_value", "on_vm_start", "on_configure", "on_context_create",
          "on_request_headers", "on_response_headers"]  # fmt: skip


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
    assert sidecar.names()[-2:] == ["envoy.filters.http.wasm", "envoy.filters.http.router"]


def test_the_injector_gives_the_sidecar_every_volume(stage: Stage, istiod: Istiod) -> None:
    """Cache, gate and image volume are the pod's, and mounted in the sidecar alone; the user's own mount stays."""
    own = annotations.Entry(
        "own", {"name": "own", "emptyDir": {}}, {"mountPath": "/own", "name": "own", "readOnly": True}
    )
    pinned = stage.pushed.resolved.pinned
    stage.mount((own, *annotations.cache_entries(stage.namespace), annotations.image_entry("hello", pinned)))
    path = f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/productpage-v1"
    template = stage.api.get(path)["spec"]["template"]
    meta = {**template["metadata"], "namespace": stage.namespace, "name": "pod"}
    pod = istiod.inject({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
    volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
    assert volumes["cache-dir"]["hostPath"] == {"path": CACHE}
    assert volumes["cache-ready"]["hostPath"] == {"path": f"{CACHE}/ready/{stage.namespace}", "type": "File"}
    assert volumes["wasme-hello"]["image"] == {"reference": pinned, "pullPolicy": "IfNotPresent"}
    assert "own" in volumes
    everything = [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]
    mounted = {each["name"]: {mount["mountPath"] for mount in each.get("volumeMounts", [])} for each in everything}
    ours = {"/own", CACHE, "/var/local/lib/wasme-ready", "/var/local/lib/wasme/hello"}
    assert ours <= mounted["istio-proxy"]
    assert not ours & mounted["productpage"]


@pytest.mark.parametrize("context", ["outbound", "gateway", "any"])
def test_an_envoyfilter_runs_in_its_context(stage: Stage, mesh_pods: Pods, context: str) -> None:
    """Istio knows the other patch contexts under these words, too."""
    stage.mount()
    stage.filter(_spec(), IstioTarget(patch_context=context))
    side = "outbound" if context == "any" else context
    sidecar = mesh_pods.start(stage.workload, side, disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == "world")


def test_a_pod_without_the_caches_label_has_no_filter(stage: Stage, mesh_pods: Pods) -> None:
    """The label of the template's is part of the selector: an older pod of the workload is left as it is."""
    old = mesh_pods.start(stage.workload)
    change = {"spec": {"template": {"metadata": {"labels": {"wasme.io/cache": "wasme-cache"}}}}}
    stage.api.patch(f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/productpage-v1", change)
    stage.labels = {**stage.labels, "wasme.io/cache": "wasme-cache"}
    stage.mount()
    stage.filter(_spec())
    new = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    new.wait(lambda proxy: proxy.ask().headers["hello"] == "world")
    assert "hello" not in old.ask().headers
    assert "envoy.filters.http.wasm" not in old.names()


def test_old_names_match_nothing(stage: Stage, mesh_pods: Pods) -> None:
    """[BUG] names: an EnvoyFilter with the original's names is stored, and changes nothing."""
    stage.mount()
    stage.filter(_spec(), minor=7)
    sidecar = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    assert "hello" not in sidecar.ask().headers
    stage.filter(_spec())
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == "world")


_EVERYTHING = {
    "fail_policy": "reload",
    "reload_backoff": Backoff(0.5, 20),
    "env": {"A": "b"},
    "host_env": ("HOME",),
    "vm_id": "shared",
    "vm_config": "for the vm",
    "capabilities": (*(f"proxy_{name}" for name in _CALLS),),
    "allow_precompiled": True,
    "allow_on_headers_stop_iteration": True,
}


@pytest.mark.parametrize("placement", ["daemonset", "none"])
def test_every_setting_goes_all_the_way(stage: Stage, mesh_pods: Pods, placement: Any) -> None:
    """All that Envoy's PluginConfig takes comes through istiod, and through the agent, which makes a message of it."""
    stage.mount()
    stage.filter(_spec(**_EVERYTHING), IstioTarget(placement=placement))
    sidecar = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == "world")
    if placement == "none":
        (found,) = sidecar.extensions().values()
    else:
        (found,) = [each["typed_config"] for each in sidecar.http_filters() if "wasm" in each["name"]]
    plugin = found.get("value", found)["config"]
    machine = plugin["vm_config"]
    assert plugin["failure_policy"] == "FAIL_RELOAD"
    assert plugin["reload_config"] == {"backoff": {"base_interval": "0.500s", "max_interval": "20s"}}
    assert set(plugin["capability_restriction_config"]["allowed_capabilities"]) == set(_EVERYTHING["capabilities"])
    assert plugin["allow_on_headers_stop_iteration"] is True
    assert machine["environment_variables"] == {"key_values": {"A": "b"}, "host_env_keys": ["HOME"]}
    assert (machine["vm_id"], machine["allow_precompiled"]) == ("shared", True)
    assert machine["configuration"]["value"] == "for the vm"


@pytest.mark.parametrize(("policy", "status"), [("", 403), ("closed", 403), ("open", 200)])
@pytest.mark.parametrize("kind", ["EnvoyFilter", *_PLUGINS])
def test_the_fail_policy_stands_in_for_an_image_that_is_gone(
    stage: Stage, mesh_pods: Pods, kind: str, policy: Any, status: int, docker_registry: DockerRegistry
) -> None:
    """Where the agent cannot fetch the module requests are refused, or let through with policy open."""
    gone = replace(stage.pushed.resolved, address=f"{docker_registry.host}/proof/gone")
    stage.pushed = replace(stage.pushed, resolved=gone)
    if kind == "EnvoyFilter":
        stage.filter(_spec(fail_policy=policy), IstioTarget(placement="none"))
    else:
        stage.plugin(kind, _spec("", fail_policy=policy))
    sidecar = mesh_pods.start(stage.workload)
    # What it has from discovery reaches its workers, and the listener's place, a moment later.
    sidecar.wait(lambda proxy: "RBAC" in str(proxy.extensions()) and proxy.ask().status == status)
    assert "hello" not in sidecar.ask().headers


@pytest.mark.parametrize("kind", _PLUGINS)
@pytest.mark.parametrize(
    "config",
    [
        '{"b": 1, "a": [1.5, null, true], "c": {"nested": {}}}',
        '{"html": "<a href=\\"x\\">&</a>", "text": "\u00fc \u2028 \\u0001"}',
        '{"big": 1e21, "small": 1e-7, "whole": 3.0, "long": 9007199254740992}',
    ],
)
def test_the_filter_gets_the_bytes_that_are_shown(stage: Stage, mesh_pods: Pods, kind: str, config: str) -> None:
    """What wasme says the filter will get is what istiod makes of the object, byte by byte."""
    promised = configuration.as_istio_writes(configuration.as_object(config))
    stage.plugin(kind, _spec(config))
    sidecar = mesh_pods.start(stage.workload)
    sidecar.wait(lambda proxy: proxy.extensions())
    (found,) = sidecar.extensions().values()
    assert found["config"]["configuration"]["value"] == promised


@pytest.mark.parametrize("kind", _PLUGINS)
def test_settings_of_a_plugin_reach_envoy(stage: Stage, mesh_pods: Pods, kind: str) -> None:
    """Fail policy, environment and root id of a WasmPlugin and a TrafficExtension are in the proxy's own dump."""
    stage.plugin(kind, _spec("", fail_policy="reload", env={"A": "b"}, host_env=("HOME",)))
    sidecar = mesh_pods.start(stage.workload)
    sidecar.wait(lambda proxy: proxy.extensions())
    (found,) = sidecar.extensions().values()
    plugin = found["config"]
    assert (plugin["root_id"], plugin["failure_policy"]) == ("add_header", "FAIL_RELOAD")
    environment = plugin["vm_config"]["environment_variables"]
    assert environment["host_env_keys"] == ["HOME"]
    assert environment["key_values"]["A"] == "b"


def test_phases_and_priorities_order_plugins(stage: Stage, mesh_pods: Pods) -> None:
    """authn before authz before stats before those without; in one phase the higher priority comes first."""
    for name, phase, priority in (("a", "", 1), ("b", "stats", None), ("c", "authz", None), ("d", "authn", None),
                                  ("e", "", 2)):  # fmt: skip
        target = IstioTarget(phase=phase, priority=priority)  # type: ignore[arg-type]
        stage.plugin("WasmPlugin", replace(_spec(""), id=name), target)
    sidecar = mesh_pods.start(stage.workload)

    def order(proxy: Sidecar) -> str:
        return "".join(re.findall(r"productpage-v1-(\w)", " ".join(proxy.names())))

    sidecar.wait(lambda proxy: len(proxy.extensions()) == len(order(proxy)) == 5)
    assert order(sidecar) == "dcbea"


@pytest.mark.parametrize("kind", ["EnvoyFilter", *_PLUGINS])
def test_a_target_reference_finds_its_gateway(stage: Stage, mesh_pods: Pods, kind: str) -> None:
    """``targetRefs`` of a Gateway: the pods that stand for it have the filter."""
    label = {"gateway.networking.k8s.io/gateway-name": "front"}
    change = {"spec": {"template": {"metadata": {"labels": label}}}}
    stage.api.patch(f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/productpage-v1", change)
    stage.mount()
    target = IstioTarget(patch_context="gateway", target_refs=(TargetRef.parse("gateway/front"),))
    stage.target_refs = target.target_refs
    if kind == "EnvoyFilter":
        stage.filter(_spec(), target)
    else:
        stage.plugin(kind, _spec('{"a":1}'), target)
    sidecar = mesh_pods.start(stage.workload, "gateway", disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] in ("world", '{"a":1}'))


def _deployed(stage: Stage, kube_run: Run, *flags: str) -> Any:
    """`wasme deploy istio` of the filter on productpage."""
    where = ("--id=hello", "--labels=app=productpage", f"--namespace={stage.namespace}")
    # A flag about the cache would ask for an EnvoyFilter.
    cache = (f"--cache-namespace=c-{stage.namespace}",) if "--as=envoyfilter" in flags else ()
    return kube_run("deploy", "istio", stage.pushed.image, *where, *cache, *flags)


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(("--as=wasmplugin",), "WasmPlugin"), (("--as=trafficextension",), "TrafficExtension"), ((), "TrafficExtension"),
     (("--as=envoyfilter", "--cache-timeout=0"), "EnvoyFilter"),
     (("--as=envoyfilter", "--cache-mode=none"), "EnvoyFilter")],
)  # fmt: skip
def test_the_command_line_puts_a_filter_into_the_mesh_and_takes_it_out(
    stage: Stage, mesh_pods: Pods, kube_run: Run, flags: tuple[str, ...], kind: str
) -> None:
    """deploy: pods have the filter; another configuration reaches them as they run; undeploy: they have none."""
    _deployed(stage, kube_run, '--config={"n":1}', *flags)
    (name,) = (each["metadata"]["name"] for each in stage.api.list(_LISTS[kind].format(stage.namespace)))
    assert name == "productpage-v1-hello"
    sidecar = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == '{"n":1}')
    _deployed(stage, kube_run, '--config={"n":2}', *flags)
    sidecar.wait(lambda proxy: proxy.ask().headers["hello"] == '{"n":2}')
    where = ("--id=hello", "--labels=app=productpage", f"--namespace={stage.namespace}")
    kube_run("undeploy", "istio", *where, f"--cache-namespace=c-{stage.namespace}")
    sidecar.wait(lambda proxy: "hello" not in proxy.ask().headers and proxy.ask().status == 200)


def test_a_change_of_kind_leaves_one_filter(stage: Stage, mesh_pods: Pods, kube_run: Run) -> None:
    """From WasmPlugin to TrafficExtension to EnvoyFilter and back: the header is added once, and always."""
    sidecar = None
    for number, kind in enumerate(("wasmplugin", "trafficextension", "envoyfilter", "wasmplugin")):
        extra = ("--cache-mode=none",) if kind == "envoyfilter" else ()
        _deployed(stage, kube_run, f'--config={{"n":{number}}}', f"--as={kind}", *extra)
        sidecar = sidecar or mesh_pods.start(stage.workload)
        # For a moment the proxy may have the one before, too.
        sidecar.wait(
            lambda proxy, told=f'{{"n":{number}}}': (
                proxy.ask().headers["hello"] == mesh_pods.application.seen[-1][2]["hello"] == told
            )
        )


def _verdict(sidecar: Sidecar, stage: Stage, path: str, module: str = "") -> Verdict:
    """What `wasme status --probe` would say of this proxy."""
    carrier = stage.api.get(f"{path}/productpage-v1-hello")
    pod = {"metadata": {"namespace": "n", "name": "p"}}
    question = asked(pod, carrier, "hello", module or stage.pushed.resolved.module.digest)
    wanted = question.sought
    pages = [sidecar.page(f"/config_dump?resource={name}") for name in ("dynamic_listeners", "ecds_filters")]
    listeners, extensions = (content if status == 200 else b"" for status, content in pages)
    found = configured(listeners, extensions, wanted)
    stats = sidecar.page("/stats?filter=%5Ewasm%5C.%7C%5Eextension_config_discovery%5C.&usedonly=")[1]
    return judge(found, counted(stats, found), question.module)


@pytest.mark.parametrize(
    ("flags", "kind"),
    [(("--as=wasmplugin",), "WasmPlugin"), (("--as=trafficextension",), "TrafficExtension"),
     (("--as=envoyfilter", "--cache-timeout=0"), "EnvoyFilter"),
     (("--as=envoyfilter", "--cache-mode=none"), "EnvoyFilter")],
)  # fmt: skip
def test_the_probe_reads_a_real_meshs_proxy(
    stage: Stage, mesh_pods: Pods, kube_run: Run, flags: tuple[str, ...], kind: str
) -> None:
    """A proxy that runs the filter is said to run it; one that should run another image, to run another; and one that
    the object selects no more, to have none."""
    path = _LISTS[kind].format(stage.namespace)
    _deployed(stage, kube_run, *flags)
    sidecar = mesh_pods.start(stage.workload, disk={CACHE: stage.agent})
    sidecar.wait(lambda proxy: _verdict(proxy, stage, path).well)
    change = {"metadata": {"annotations": {"wasme.io/manifest": "sha256:" + "b" * 64}}}
    stage.api.patch(f"{path}/productpage-v1-hello", change)
    assert _verdict(sidecar, stage, path, "sha256:" + "a" * 64).state == "other module"
    stage.api.patch(f"{path}/productpage-v1-hello", {"spec": _elsewhere(kind)})
    sidecar.wait(lambda proxy: _verdict(proxy, stage, path).state == "absent")


@pytest.mark.parametrize("kind", ["wasmplugin", "trafficextension"])
def test_the_probe_knows_the_agents_stand_in(stage: Stage, mesh_pods: Pods, kube_run: Run, kind: str) -> None:
    """Where the agent could not fetch the module the probe says so, and that requests are refused."""
    _deployed(stage, kube_run, f"--as={kind}")
    label = next(each for each in _PLUGINS if each.lower() == kind)
    path = _LISTS[label].format(stage.namespace)
    gone = stage.api.get(f"{path}/productpage-v1-hello")["spec"]
    module = gone["wasm"] if label == "TrafficExtension" else gone
    module["url"] = module["url"].replace("/proof/hello@", "/proof/gone@")
    stage.api.patch(f"{path}/productpage-v1-hello", {"spec": gone})
    sidecar = mesh_pods.start(stage.workload)
    sidecar.wait(lambda proxy: _verdict(proxy, stage, path).state == "stand-in" and proxy.ask().status == 403)


def _elsewhere(kind: str) -> dict[str, Any]:
    """A selector that selects nothing here."""
    labels = {"app": "other"}
    return {"workloadSelector": {"labels": labels}} if kind == "EnvoyFilter" else {"selector": {"matchLabels": labels}}
