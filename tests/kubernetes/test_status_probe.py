"""What `--probe` finds out: real Envoys asked through a real API server and the kubelet's own streaming server."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import modules
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.kubelet import Kubelet
from tests.kubernetes.cluster.proxies import Proxy, discovered, plugin, rbac, wasm
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.probe.dump import Sought
from wasme.deploy.probe.pods import Asked, probe
from wasme.deploy.probe.verdict import Verdict

_NODE = "probe-node"
_TRAP = (
    modules._MINIMAL.rstrip().removesuffix(")")
    + '(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable))'
)


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as connected:
        yield connected


@pytest.fixture
def sidecar(
    api: Api,
    namespace: str,
    nodes: Callable[..., Any],
    pods: Callable[..., list[dict[str, Any]]],
    bookinfo: Callable[[str], dict[str, Any]],
    kubelet: Kubelet,
) -> Callable[..., Asked]:
    """``sidecar(proxy)`` makes a pod whose sidecar is that Envoy; what `probe` takes to ask it."""
    nodes(_NODE)
    kubelet.serve(_NODE)
    workload = bookinfo(namespace)["details-v1"]

    def make(proxy: Proxy | None, module: str = "", name: str = "auth") -> Asked:
        pod = pods(workload, _NODE)[0]
        if proxy is not None:
            kubelet.lead(pod, proxy)
        return Asked(namespace, pod["metadata"]["name"], Sought(name), module)

    return make


def _stored(folder: Path, module: bytes) -> tuple[Path, str]:
    """A module under its digest's name, as in the cache, and the digest."""
    hexed = hashlib.sha256(module).hexdigest()
    (folder / hexed).write_bytes(module)
    return folder / hexed, f"sha256:{hexed}"


def _one(cluster: Cluster, asked: Asked, **settings: Any) -> Verdict:
    return probe(cluster, [asked], **settings)[0]


def test_running(cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path) -> None:
    """A proxy that has the filter in its chain, with the deployed module and a living VM, runs it; another does not."""
    file, digest = _stored(tmp_path, modules.minimal())
    with_it, without = sidecar(proxy(wasm("auth", file)), digest), sidecar(proxy(wasm("other", file)), digest)
    assert probe(cluster, [with_it, without]) == [
        Verdict("running"), Verdict("absent", "it is in no listener's filter chain")
    ]  # fmt: skip


def test_other_module(
    cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    """A proxy with the filter and last week's module is told apart by the module's digest."""
    file, _ = _stored(tmp_path, modules.minimal())
    verdict = _one(cluster, sidecar(proxy(wasm("auth", file)), f"sha256:{'ab' * 32}"))
    assert verdict.state == "other module"
    assert file.name[:12] in verdict.reason


def test_discovered(
    cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    """A WasmPlugin's filter comes by discovery: it runs; its agent had no module, so something stands in its place; it
    has not been delivered; Envoy has refused it.
    """
    file, digest = _stored(tmp_path, modules.minimal())
    name = "extensions.istio.io/wasmplugin/istio.details-v1-auth"
    sought = Sought("auth", ("/istio.details-v1-auth",))

    def verdict(typed: dict[str, Any] | None, path: str) -> Verdict:
        running = proxy(discovered(name, tmp_path / path, typed))
        return _one(cluster, dataclasses.replace(sidecar(running, digest), sought=sought))

    assert verdict(plugin(name, file), "a") == Verdict("running")
    refusing = verdict(rbac(allow=False), "b")
    assert (refusing.state, "refuses all requests" in refusing.reason) == ("stand-in", True)
    passing = verdict(rbac(allow=True), "c")
    assert (passing.state, "lets through all requests" in passing.reason) == ("stand-in", True)
    assert verdict(None, "d").state == "pending"
    refusing_proxy = proxy(discovered(name, tmp_path / "e", plugin(name, tmp_path / "missing")))
    asked = dataclasses.replace(sidecar(refusing_proxy, digest), sought=sought)
    assert _one(cluster, asked).state == "rejected"
    told = f"{name}: Invalid path: {tmp_path / 'missing'}"  # from the log, which comes a moment later
    wait_until(lambda: _one(cluster, asked).reason.endswith(told), 30, lambda: str(_one(cluster, asked)))
    running = proxy(discovered(name, tmp_path / "f", plugin(name, file)))
    asked = dataclasses.replace(sidecar(running, digest), sought=sought)
    assert _one(cluster, asked) == Verdict("running")
    discovered(name, tmp_path / "f", plugin(name, tmp_path / "missing"))
    wait_until(lambda: _one(cluster, asked).state == "rejected", 30, lambda: str(_one(cluster, asked)))
    assert "(an older one of it is in use)" in _one(cluster, asked).reason


def test_rejected(cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path) -> None:
    """A listener whose module's file is missing is refused by Envoy, whose own reason is told; the old one goes on."""
    file, digest = _stored(tmp_path, modules.minimal())
    running = proxy(wasm("auth", file))
    asked = sidecar(running, digest)
    running.change(wasm("auth", tmp_path / "missing"))
    verdict = _one(cluster, asked)
    assert verdict.state == "rejected"
    assert f"Invalid path: {tmp_path / 'missing'}" in verdict.reason
    assert "an older one of it is in use" in verdict.reason
    running.change(wasm("auth", file))
    assert _one(cluster, asked).state == "running", "mended"


def test_reloaded(cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path) -> None:
    """A VM that trapped and was replaced (FAIL_RELOAD) is told, with how often."""
    file, digest = _stored(tmp_path, modules.assemble(_TRAP))
    settings = {"failure_policy": "FAIL_RELOAD", "reload_config": {"backoff": {"base_interval": "0.002s"}}}
    running = proxy(wasm("auth", file, **settings))
    asked = sidecar(running, digest)
    assert _one(cluster, asked) == Verdict("running")
    assert running.request() == 503
    end = time.monotonic() + 30
    while "replaced" not in _one(cluster, asked).reason and time.monotonic() < end:
        running.request()
    wait_until(lambda: _one(cluster, asked).reason.endswith(_DIED), 30, "why, from the log")
    verdict = _one(cluster, asked)
    assert verdict.state == "running"
    assert verdict.reason.startswith("its VM failed and was replaced")


_DIED = "Function: proxy_on_request_headers failed: Uncaught RuntimeError: unreachable"


@pytest.mark.parametrize(
    ("settings", "does"), [({}, "refuses requests"), ({"failure_policy": "FAIL_OPEN"}, "passes requests by")]
)
def test_dead(
    cluster: Cluster,
    sidecar: Callable[..., Asked],
    proxy: Callable[..., Proxy],
    tmp_path: Path,
    settings: dict[str, str],
    does: str,
) -> None:
    """A VM that trapped and stays dead, which no counter of Envoy's tells, is told from the proxy's log; a new
    configuration makes new VMs, and what the log says of the old ones does not count.
    """
    file, digest = _stored(tmp_path, modules.assemble(_TRAP))
    running = proxy(wasm("auth", file, **settings))
    asked = sidecar(running, digest)
    assert _one(cluster, asked) == Verdict("running")
    assert running.request() == 503
    dead = Verdict("failed", f"its VM is dead and {does} on a worker at least: {_DIED}")
    wait_until(lambda: _one(cluster, asked) == dead, 30, lambda: str(_one(cluster, asked)))
    good, digest = _stored(tmp_path, modules.minimal())
    running.change(wasm("auth", good))
    assert _one(cluster, dataclasses.replace(asked, module=digest)) == Verdict("running")


def test_whose_vm_died(
    cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy], tmp_path: Path
) -> None:
    """Beside another filter it cannot be told whose VM died, so neither is called dead."""
    bad, _ = _stored(tmp_path, modules.assemble(_TRAP))
    good, digest = _stored(tmp_path, modules.minimal())
    running = proxy(wasm("auth", good), wasm("other", bad))
    asked = sidecar(running, digest)
    running.request()
    unsure = Verdict("running", f"a VM of this proxy failed, of this filter or of another: {_DIED}")
    wait_until(lambda: _one(cluster, asked) == unsure, 30, lambda: str(_one(cluster, asked)))


def test_nobody_there(cluster: Cluster, sidecar: Callable[..., Asked]) -> None:
    """A pod without a proxy is one line with the kubelet's reason, not a failure of the others."""
    verdict = _one(cluster, sidecar(None))
    assert verdict.state == "unknown"
    assert "nothing listens on port 15000" in verdict.reason


def test_standing_still(cluster: Cluster, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy]) -> None:
    """A proxy that accepts and never answers costs its time limit and nothing more."""
    running = proxy()
    asked = sidecar(running)
    running.pause()
    begun = time.monotonic()
    verdict = _one(cluster, asked, seconds=1.5)
    assert verdict.state == "unknown"
    assert verdict.reason.endswith("no answer in time")
    assert time.monotonic() - begun < 8


def test_without_the_right(
    control_plane: ControlPlane, sidecar: Callable[..., Asked], proxy: Callable[..., Proxy]
) -> None:
    """Who may not forward ports is told which right is missing."""
    asked = sidecar(proxy())
    with connect(control_plane.kubeconfig_for("nobody-at-all")) as nobody:
        verdict = _one(nobody, asked)
    assert verdict.state == "unknown"
    assert "pods/portforward" in verdict.reason
