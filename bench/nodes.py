"""What the chapters about clusters stand on: an API server, a registry with images, an agent of a node."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.transfer import serving, session
from tests.fixtures.modules import sized
from tests.kubernetes.cluster import crds, objects
from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.image.layouts import build
from wasme.image.reference import Reference
from wasme.image.runtime_config import parse
from wasme.image.store import open_store
from wasme.registry import transfer

WASME = Path(sys.executable).with_name("wasme")


@contextmanager
def server(folder: Path, mesh: str = "istio/1.30.3") -> Iterator[ControlPlane]:
    """A real API server that serves a mesh's kinds."""
    plane = ControlPlane(folder / "control-plane")
    try:
        plane.start()
        crds.serve(plane, mesh)
        yield plane
    finally:
        plane.close()


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Debian's docker-registry; ``HOST:PORT``."""
    program = shutil.which("docker-registry")
    if program is None:
        raise SystemExit("this chapter needs Debian's docker-registry: apt-get install docker-registry")
    (folder / "registry").mkdir()
    with serving(program, folder / "registry") as host:
        yield host


def images(folder: Path, host: str, names: list[str], size: int) -> list[str]:
    """Images with modules of their own at a registry; their references."""
    config = parse(b'{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}', "bench")
    store, opened = open_store(folder / "store"), session()
    found = []
    for name in names:
        reference = Reference.parse(f"{host}/{name}")
        store.add(reference, build("oci", sized(size, seed=zlib.crc32(name.encode())), config))
        transfer.push(store, reference, opened)
        found.append(f"{host}/{name}")
    return found


@contextmanager
def agent(plane: ControlPlane, folder: Path, node: str, *, namespace: str) -> Iterator[subprocess.Popen[bytes]]:
    """A node with its agent, as a process of this machine's; its files are in ``folder/NODE``."""
    objects.node(plane.api, node)
    command = [
        WASME, "cache", "--node-name", node, "--directory", folder / node, "--cache-ns", namespace,
        "--kubeconfig", plane.kubeconfig, "--port", "0", "--plain-http",
    ]  # fmt: skip
    with (folder / f"{node}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "HOME": str(folder)},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
