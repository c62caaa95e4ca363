"""``deploy istio --rollout``: a real API server and controller manager; the test plays scheduler and kubelets."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.fixtures import modules
from tests.fixtures.registries import DockerRegistry
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.kubelets import Kubelets, Pod
from tests.kubernetes.cluster.loop import Loop
from tests.kubernetes.cluster.proxies import Proxy, wasm
from tests.kubernetes.meshes import push
from wasme.deploy.rollout.walk import Rollout

_WEBS = ["web-0", "web-1", "web-2", "web-3"]
_CACHE = "wasme.io/cache"
_FAST = ("--rollout-pause", "300ms", "--rollout-timeout", "90s")


@pytest.fixture
def image(docker_registry: DockerRegistry) -> str:
    return push(docker_registry).name


@pytest.fixture
def kubelets(
    api: Api, namespace: str, nodes: Callable[..., Any], controllers: subprocess.Popen[bytes]
) -> Iterator[Kubelets]:
    nodes("rollout-node")
    running = Kubelets(api, namespace, "rollout-node")
    yield running
    running.stop()


class Webs:
    """Four Deployments of one pod each."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.base = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        self.filters = f"/apis/networking.istio.io/v1alpha3/namespaces/{namespace}/envoyfilters"
        for name in _WEBS:
            labels = {"app": name}
            template = {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 0, "containers": [{"name": "web", "image": "web"}]}}  # fmt: skip
            spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
            meta = {"name": name, "namespace": namespace}
            api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
        self.settle()

    def get(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"{self.base}/{name}")
        return found

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(name)["status"]
        return found

    def settle(self) -> None:
        """Wait until each has one pod, of its newest template, and that is available."""

        def settled(name: str) -> bool:
            live = self.get(name)
            # Until the controller has seen the newest template its counts are those of the one before.
            status = {"observedGeneration": 0, **live.get("status", {})}
            ones = ("replicas", "updatedReplicas", "availableReplicas")
            return status["observedGeneration"] == live["metadata"]["generation"] and all(
                status.get(each) == 1 for each in ones
            )

        wait_until(lambda: all(map(settled, _WEBS)), 120, lambda: f"not well: {[self.status(name) for name in _WEBS]}")

    def templates(self) -> dict[str, Any]:
        return {name: self.get(name)["spec"]["template"] for name in _WEBS}

    def carried(self) -> dict[str, Any]:
        """The spec of each EnvoyFilter, by name."""
        return {each["metadata"]["name"]: each["spec"] for each in self.api.list(self.filters)}


@pytest.fixture
def webs(api: Api, namespace: str, kubelets: Kubelets, serve: Callable[[str], None]) -> Webs:
    serve("istio/1.30.3")
    return Webs(api, namespace)


@pytest.fixture
def deploy(kube_run: Callable[..., Result], namespace: str, image: str) -> Callable[..., Result]:
    """Deploy the filter ``auth`` to all four, in quick steps."""

    def call(*flags: str, ok: bool = True, of: str = image) -> Result:
        words = ("--id=auth", "--namespace", namespace, "--plain-http", "--ignore-version-check")
        kind = () if any(each.startswith("--as") for each in flags) else ("--as=envoyfilter", "--cache-timeout=0")
        return kube_run("deploy", "istio", of, *kind, *words, *flags, ok=ok)

    return call


def _steps(stderr: str) -> list[str]:
    return re.findall(r'msg="rolling out" step="([^"]+)" workloads="([^"]+)"', stderr)


def test_in_steps(webs: Webs, deploy: Callable[..., Result]) -> None:
    """The workloads are changed one, two, four; each step's pods are new and available before the next begins."""
    result = deploy("--rollout=1,50%", *_FAST)
    assert _steps(result.stderr) == [("1 of 3", "1 of 4"), ("2 of 3", "2 of 4"), ("3 of 3", "4 of 4")]
    assert sorted(webs.carried()) == [f"{name}-auth" for name in _WEBS]
    for name in _WEBS:
        live = webs.get(name)
        assert live["spec"]["template"]["metadata"]["labels"][_CACHE] == "wasme-cache"
        status = live["status"]
        assert (status["observedGeneration"], status["updatedReplicas"]) == (live["metadata"]["generation"], 1)
    lines = result.stderr.splitlines()
    changed = [re.search(r"workload=(\S+)", line) for line in lines if "created Istio EnvoyFilter" in line]
    assert [each[1] for each in changed if each][:2] == _WEBS[:2], "in the order of their names"


def test_failing_canary(webs: Webs, kubelets: Kubelets, deploy: Callable[..., Result]) -> None:
    """A first workload whose new pod crashes ends it: it alone was changed and is as before, and pod and reason are
    told; its old pod has served all the time.
    """
    before = webs.templates()
    kubelets.crashes = lambda pod: _CACHE in pod["metadata"]["labels"]
    result = deploy("--rollout", *_FAST, ok=False)
    assert result.exit_code == 1
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error:"))
    assert "the rollout stopped at step 1 of 2" in error
    assert re.search(r"web-0: pod web-0-\S+: container web is in CrashLoopBackOff, exit code 1", error)
    assert "the 1 changed workload is as before" in error
    assert webs.templates() == before
    assert webs.carried() == {}
    asked_for = webs.api.get("/api/v1/namespaces/wasme/configmaps/wasme-cache")["data"].get("filters", "")
    assert f"{webs.namespace}/auth " not in asked_for, "no node needs the image any more"
    webs.settle()


def test_later_failure_restores_the_version_before(
    webs: Webs, kubelets: Kubelets, deploy: Callable[..., Result], docker_registry: DockerRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A second version that fails in its last step is turned back everywhere: the objects say what the first said."""
    deploy("--config=one")
    webs.settle()
    objects, templates = webs.carried(), webs.templates()
    second = push(docker_registry, seed=7).name

    def crashes(pod: Pod) -> bool:
        return pod["metadata"]["labels"]["app"] == "web-3" and "web-3-auth" in changed()

    def changed() -> set[str]:
        return {name for name, spec in webs.carried().items() if spec != objects[name]}

    def require_healthy(self: Rollout[Any, Any], items: Any) -> None:
        """The pods stay when nothing but the filter changes: they crash before they are looked at."""
        assert kubelets.whole_turn()
        looked(self, items)

    looked = Rollout._require_healthy
    monkeypatch.setattr(Rollout, "_require_healthy", require_healthy)
    kubelets.crashes = crashes
    result = deploy("--config=two", "--rollout=1,50%", *_FAST, of=second, ok=False)
    assert "the rollout stopped at step 3 of 3" in result.stderr
    assert "the 4 changed workloads are as before" in result.stderr
    assert webs.carried() == objects
    assert webs.templates() == templates
    kubelets.crashes = lambda _pod: False
    webs.settle()
    again = deploy("--config=one", "--rollout=1,50%", *_FAST)
    assert again.exit_code == 0
    assert webs.carried() == objects


def test_change_of_kind_is_turned_back(webs: Webs, kubelets: Kubelets, deploy: Callable[..., Result]) -> None:
    """A failing change from EnvoyFilter to WasmPlugin, which takes the volume away, brings both back."""
    deploy("--config=one")
    webs.settle()
    objects, templates = webs.carried(), webs.templates()
    assert all(_CACHE in each["metadata"]["labels"] for each in templates.values())
    kubelets.crashes = lambda pod: _CACHE not in pod["metadata"]["labels"]
    result = deploy("--rollout=2", "--as=wasmplugin", *_FAST, ok=False)
    assert "the rollout stopped at step 1 of 2" in result.stderr
    assert "the 2 changed workloads are as before" in result.stderr
    assert (webs.carried(), webs.templates()) == (objects, templates)
    plugins = f"/apis/extensions.istio.io/v1alpha1/namespaces/{webs.namespace}/wasmplugins"
    assert webs.api.list(plugins) == []
    asked_for = webs.api.get("/api/v1/namespaces/wasme/configmaps/wasme-cache")["data"]["filters"]
    assert f"{webs.namespace}/auth " in asked_for, "the nodes go on holding what the EnvoyFilters name"


def test_ill_before(webs: Webs, kubelets: Kubelets, deploy: Callable[..., Result]) -> None:
    """With a workload that is not well even before, nothing is changed, and it is told which."""
    kubelets.crashes = lambda pod: pod["metadata"]["labels"]["app"] == "web-2"
    wait_until(lambda: not webs.status("web-2").get("availableReplicas"), 60, "web-2 is well")
    before = webs.templates()
    result = deploy("--rollout", *_FAST, ok=False)
    assert re.search(r"1 of 4 workloads are not well even before the rollout: \S+/web-2: ", result.stderr)
    assert (webs.templates(), webs.carried()) == (before, {})


def test_interrupted(
    webs: Webs, control_plane: ControlPlane, deploy: Callable[..., Result], namespace: str, image: str
) -> None:
    """Ctrl-C in the middle of a rollout says so, turns back what is changed, and exits 130."""
    before = webs.templates()
    words = [sys.executable, "-m", "wasme", "deploy", "istio", image, "--id=auth", "--namespace", namespace,
             "--as=envoyfilter", "--cache-timeout=0", "--plain-http", "--ignore-version-check", "--rollout=1,50%",
             "--rollout-pause=6s"]  # fmt: skip
    environment = {**os.environ, "KUBECONFIG": str(control_plane.kubeconfig)}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    wait_until(lambda: len(webs.carried()) == 2, 60, "the second step does not begin")
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: turning back" in stderr
    assert "the 2 changed workloads are as before" in stderr
    assert (webs.templates(), webs.carried()) == (before, {})


def test_daemon_set_with_a_dead_node(
    api: Api,
    namespace: str,
    kubelets: Kubelets,
    nodes: Callable[..., Any],
    deploy: Callable[..., Result],
    serve: Callable[[str], None],
) -> None:
    """A DaemonSet with a pod on a node that is not ready is rolled out on the others; that one is not waited for."""
    serve("istio/1.30.3")
    nodes("rollout-dead")
    for node in ("rollout-node", "rollout-dead"):
        # A new Node is tainted until a lifecycle controller has seen it ready; there is none here.
        api.patch(f"/api/v1/nodes/{node}", {"spec": {"taints": None}})
    labels = {"app": "ds"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "ds", "image": "ds"}]}}
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets/ds"
    # With the default of 1 Kubernetes itself would not go on: the lost pod counts.
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    spec = {"selector": {"matchLabels": labels}, "template": template, "updateStrategy": strategy}
    api.create({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "ds", "namespace": namespace},
                "spec": spec})  # fmt: skip
    wait_until(lambda: api.get(path)["status"].get("numberAvailable", 0) >= 2, 120, "no pods")
    nodes("rollout-dead", ready=False)
    kubelets.dead.add("rollout-dead")
    pods = api.list(f"/api/v1/namespaces/{namespace}/pods")
    (lost,) = [each["metadata"]["name"] for each in pods if each["spec"]["nodeName"] == "rollout-dead"]
    unready = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    api.patch(f"/api/v1/namespaces/{namespace}/pods/{lost}/status", unready, "strategic-merge")
    wait_until(lambda: api.get(path)["status"].get("numberUnavailable") == 1, 60, "the pod is available")
    result = deploy("--rollout", "--workload-type=daemonset", *_FAST)
    assert _steps(result.stderr) == [("1 of 1", "1 of 1")]
    living = [each for each in api.list(f"/api/v1/namespaces/{namespace}/pods") if each["metadata"]["name"] != lost]
    assert all(_CACHE in each["metadata"]["labels"] for each in living)
    api.delete(path)


def test_rights_to_turn_back(
    webs: Webs, control_plane: ControlPlane, kube_run: Callable[..., Result], image: str
) -> None:
    """Who may create but not delete, or not ask proxies, is told so before anything is changed: a rollout that could
    not be turned back, or not be judged, does not begin.
    """
    user = f"writer-{webs.namespace}"
    verbs = ["get", "list", "watch", "create", "patch", "update"]
    resources = ["deployments", "pods", "envoyfilters", "wasmplugins", "trafficextensions"]
    rules = [{"apiGroups": ["*"], "resources": resources, "verbs": verbs}]
    group = "rbac.authorization.k8s.io"
    meta = {"name": "writer", "namespace": webs.namespace}
    webs.api.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    webs.api.create({
        "apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta,
        "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
        "roleRef": {"kind": "Role", "name": "writer", "apiGroup": group},
    })  # fmt: skip
    words = ("deploy", "istio", image, "--id=auth", "--namespace", webs.namespace, "--as=envoyfilter", "--plain-http",
             "--cache-mode=none", "--ignore-version-check", "--rollout", "--rollout-probe", *_FAST)  # fmt: skip
    refused = kube_run(*words, kubeconfig=control_plane.kubeconfig_for(user), ok=False)
    assert "delete envoyfilters.networking.istio.io" in refused.stderr
    assert "get pods/portforward" in refused.stderr
    assert webs.carried() == {}


@pytest.fixture
def mesh(webs: Webs, kubelet: Kubelet, kubelets: Kubelets, proxy: Callable[..., Proxy]) -> Iterator[Mesh]:
    """The four with sidecars, which are one real Envoy, and an istiod that sends it what ``mesh.filter`` makes."""
    kubelet.serve("rollout-node")
    sidecar = proxy()
    kubelets.started = lambda pod: kubelet.lead(pod, sidecar)
    for name in _WEBS:
        container = {"spec": {"template": {"spec": {"containers": [{"name": "istio-proxy", "image": "proxyv2"}]}}}}
        webs.api.patch(f"{webs.base}/{name}", container, "strategic-merge")
    webs.settle()
    running = Mesh(webs, sidecar)
    yield running
    running.stop()


class Mesh(Loop):
    """Sends the proxy its filter as soon as the first EnvoyFilter is stored."""

    def __init__(self, webs: Webs, sidecar: Proxy) -> None:
        self._webs, self._sidecar = webs, sidecar
        self.filter = wasm("auth", "/nowhere")
        super().__init__()

    def turn(self) -> bool:
        if not self._webs.carried():
            return False
        self._sidecar.change(self.filter)
        return True


def test_proxies_decide(webs: Webs, mesh: Mesh, deploy: Callable[..., Result], tmp_path: Path) -> None:
    """With --rollout-probe pods that are ready are not enough: the rollout goes on when the proxies run the filter."""
    module = modules.sized(20_000, 0)
    file = tmp_path / hashlib.sha256(module).hexdigest()
    file.write_bytes(module)
    mesh.filter = wasm("auth", file)
    result = deploy("--rollout=1", "--rollout-probe", *_FAST)
    assert _steps(result.stderr) == [("1 of 2", "1 of 4"), ("2 of 2", "4 of 4")]
    assert len(webs.carried()) == 4


def test_proxies_refuse(webs: Webs, mesh: Mesh, deploy: Callable[..., Result]) -> None:
    """A proxy that refuses the filter ends the rollout in its first step, though its pod is ready all the time;
    Envoy's own reason is told.
    """
    before = webs.templates()
    result = deploy("--rollout=1", "--rollout-probe", *_FAST, ok=False)
    error = next(line for line in result.stderr.splitlines() if line.startswith("Error:"))
    assert "the rollout stopped at step 1 of 2" in error
    assert re.search(r"web-0: the proxy of web-0-\S+: rejected: Envoy refuses .*Invalid path: /nowhere", error)
    assert (webs.templates(), webs.carried()) == (before, {})


def test_wrong_steps(deploy: Callable[..., Result], serve: Callable[[str], None]) -> None:
    """Steps that are none are refused before anything is asked of cluster or registry."""
    result = deploy("--rollout=50%,10%", ok=False, of="localhost:1/none:v1")
    assert result.exit_code == 2
    assert "10% after 50% does not grow" in result.stderr
    apart = deploy("--rollout", "1,50%", ok=False, of="localhost:1/none:v1")
    assert apart.exit_code == 2, "as a word of its own it would be passed over"
    assert "--rollout=1,50%" in apart.stderr
