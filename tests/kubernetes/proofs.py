"""What tests of deployed filters share: an image on a registry, and objects read back as anybody would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fixtures.filters import adds_config
from tests.fixtures.sidecars import Mesh, Sidecar
from tests.kubernetes import images
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.programs import kubectl
from wasme.deploy.istio import annotations, envoyfilter, plugin
from wasme.deploy.istio.target import Attachment, IstioTarget, TargetRef
from wasme.deploy.resolved import ResolvedImage, resolve
from wasme.deploy.spec import FilterSpec
from wasme.image import layouts
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions

CACHE = "/var/local/lib/wasme-cache"
"""Where the node cache's files lie, on the node and in the proxy."""
WORKLOAD = "Deployment/productpage-v1"


@dataclass(frozen=True)
class Pushed:
    """A filter on a registry, with all that a player of the mesh needs of it.

    Attributes:
        image: its reference.
        module: its bytes.
        resolved: what wasme makes of the reference.
    """

    image: str
    module: bytes
    resolved: ResolvedImage

    def cached(self, folder: Path) -> Path:
        """The folder of a node's agent that holds the module, and nothing else."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.resolved.module.hex).write_bytes(self.module)
        return folder


def push(
    host: str, name: str, layout: str = "compat", module: bytes | None = None, login: tuple[str, str] | None = None
) -> Pushed:
    """Push a filter that adds the header ``hello`` with its configuration as value."""
    content = adds_config() if module is None else module
    reference = Reference.parse(f"{host}/{name}")
    config = RuntimeConfig(type="envoy_proxy", abi_versions=("v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f",
                                                             "v0.2.1"), root_ids=("add_header",))  # fmt: skip
    session = Session(ConnectionOptions(), Keychain(*login or ()))
    sent = images.send(reference, layouts.build(layout, content, config), session)
    return Pushed(sent.name, content, resolve(sent.name, session))


def stored(plane: ControlPlane, *words: str) -> str:
    """What ``kubectl get WORDS -o yaml`` prints: the objects as the API server keeps them."""
    command = [kubectl(), f"--kubeconfig={plane.kubeconfig}", f"--cache-dir={plane.kubeconfig.parent}/kubectl", "get"]
    done = subprocess.run([*command, *words, "-o", "yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Stage:
    """A workload, a filter for it, and somebody who plays the mesh."""

    def __init__(
        self, plane: ControlPlane, api: Api, namespace: str, mesh: Mesh | None, pushed: Pushed, agent: Path,
        workload: dict[str, Any],
    ) -> None:  # fmt: skip
        self.plane = plane
        self.api = api
        self.namespace = namespace
        self.mesh = mesh
        self.pushed = pushed
        self.agent = pushed.cached(agent)
        self.workload = workload
        self.target_refs: tuple[TargetRef, ...] = ()
        self.labels = workload["spec"]["template"]["metadata"]["labels"]
        (agent / "ready").mkdir()
        (agent / "ready" / namespace).touch()

    def mount(self, entries: tuple[annotations.Entry, ...] | None = None) -> None:
        """Give the workload's sidecars the volumes."""
        wanted = annotations.cache_entries(self.namespace) if entries is None else entries
        change = {"spec": {"template": {"metadata": {"annotations": annotations.added({}, wanted)}}}}
        self.api.patch(f"/apis/apps/v1/namespaces/{self.namespace}/deployments/productpage-v1", change)

    def filter(self, spec: FilterSpec, target: IstioTarget | None = None, minor: int | None = None) -> None:
        """Store the EnvoyFilter."""
        attachment = self._attachment(spec)
        rendered = envoyfilter.render(attachment, spec, self.pushed.resolved, target or IstioTarget(), minor)
        self.api.apply(rendered, manager="wasme")

    def plugin(self, kind: str, spec: FilterSpec, target: IstioTarget | None = None) -> None:
        """Store the WasmPlugin or TrafficExtension."""
        carrier = {each.kind: each for each in (plugin.WASM_PLUGIN, plugin.TRAFFIC_EXTENSION)}[kind]
        made = plugin.render(carrier, self._attachment(spec), spec, self.pushed.resolved, target or IstioTarget())
        self.api.apply(made, manager="wasme")

    def _attachment(self, spec: FilterSpec) -> Attachment:
        if self.target_refs:
            return Attachment.to_targets(spec.id, self.namespace, self.target_refs)
        return Attachment.to_workload(spec.id, "Deployment", "productpage-v1", self.namespace, self.labels)

    def stored(self) -> str:
        return stored(self.plane, "envoyfilters,wasmplugins,trafficextensions,deployments", "-n", self.namespace)

    def listen(self, *flags: str, mounted: bool = True) -> Sidecar:
        """The proxy of a pod of the workload."""
        if mounted:
            self.mount()
        where = ["--pod", WORKLOAD, "--namespace", self.namespace, "--host", f"{CACHE}={self.agent}"]
        assert self.mesh
        return self.mesh.listen(self.stored(), *where, *flags)
