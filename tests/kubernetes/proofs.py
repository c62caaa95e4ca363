"""What tests of deployed filters share: an image on a registry, and objects read back as anybody would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.fixtures.filters import adds_config
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.programs import kubectl
from wasme.deploy.resolved import ResolvedImage, resolve
from wasme.image import layouts
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
from wasme.registry import transfer
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import ConnectionOptions

CACHE = "/var/local/lib/wasme-cache"
"""Where the node cache's files lie, on the node and in the proxy."""


@dataclass(frozen=True)
class Pushed:
    """A filter on a registry.

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


def push(host: str, name: str, layout: str = "compat", module: bytes | None = None, **login: str) -> Pushed:
    """Push a filter that adds the header ``hello`` with its configuration as value."""
    content = adds_config() if module is None else module
    reference = Reference.parse(f"{host}/{name}")
    config = RuntimeConfig(type="envoy_proxy", abi_versions=("v0-097b7f2e4cc1fb490cc1943d0d633655ac3c522f",
                                                             "v0.2.1"), root_ids=("add_header",))  # fmt: skip
    store = open_store()
    store.add(reference, layouts.build(layout, content, config))
    session = Session(ConnectionOptions(), Keychain())
    transfer.push(store, reference, session)
    return Pushed(str(reference), content, resolve(str(reference), session))


def stored(plane: ControlPlane, *words: str) -> str:
    """What ``kubectl get WORDS -o yaml`` prints: the objects as the API server keeps them."""
    command = [kubectl(), f"--kubeconfig={plane.kubeconfig}", f"--cache-dir={plane.kubeconfig.parent}/kubectl", "get"]
    done = subprocess.run([*command, *words, "-o", "yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
