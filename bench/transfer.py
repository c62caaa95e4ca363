"""Push and pull beside skopeo against Debian's docker-registry; crane's figures beside, where Go can build it.

Whole processes at 15 kB, 1 MB and 64 MB, and the library call in a warm process. Every push sends a module that the
registry has never seen, to a repository of its own, so that nothing is mounted or skipped; every pull fills an empty
store.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measure import Figures, Row, interleave, process

if TYPE_CHECKING:
    from wasme.registry.session import Session

_SIZES = {"15 kB": 15_000, "1 MB": 1_000_000, "64 MB": 64_000_000}
_WASME = Path(sys.executable).with_name("wasme")
_CRANE = "github.com/google/go-containerregistry/cmd/crane@v0.20.6"
_REGISTRY = """version: 0.1
storage:
  filesystem: {{rootdirectory: {folder}}}
http: {{addr: 127.0.0.1:{port}}}
log: {{level: error, accesslog: {{disabled: true}}}}
"""


def rows(folder: Path, rounds: int) -> list[Row]:
    """All sizes, both ways, whole process and warm call."""
    skopeo, registry = shutil.which("skopeo"), shutil.which("docker-registry")
    if not (skopeo and registry):
        raise SystemExit(
            "bench transfer needs Debian's skopeo and docker-registry: apt-get install skopeo docker-registry"
        )
    crane = _crane()
    found: list[Row] = []
    with serving(registry, folder) as host:
        for label, size in _SIZES.items():
            found += _size(_Ring(folder / str(size), host, size, skopeo, crane), label, rounds)
    return found


@dataclass(frozen=True)
class _Ring:
    """Where one size is measured: names, modules and programs, all drawn so that every byte has to move."""

    folder: Path
    host: str
    size: int
    skopeo: str
    crane: str | None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "HOME": str(self.folder / "home")}

    @property
    def store(self) -> Path:
        return self.folder / "home" / ".wasme" / "oci"

    def image(self, contestant: str, turn: int) -> str:
        return f"{self.host}/bench/{contestant}-{self.size}-{turn}:v1"

    def fill(self, contestant: str, turn: int) -> str:
        """Put a module that the registry has never seen into the store; gives the image's name."""
        from tests.fixtures.modules import sized
        from wasme.image.layouts import build
        from wasme.image.reference import Reference
        from wasme.image.runtime_config import parse
        from wasme.image.store import open_store

        name = self.image(contestant, turn)
        config = parse(b'{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}', "bench")
        module = sized(self.size, seed=zlib.crc32(name.encode()))
        open_store(self.store).add(Reference.parse(name), build("oci", module, config))
        return name

    def empty(self, contestant: str, turn: int) -> Path:
        """A folder that is not there yet."""
        return self.folder / f"{contestant}-{turn}"

    def wasme_push(self, turn: int) -> tuple[float, float]:
        return process([_WASME, "push", self.fill("wasme", turn)], self.environment)

    def wasme_pull(self, turn: int) -> tuple[float, float]:
        target = self.empty("wasme", turn)
        command = [_WASME, "pull", self.image("wasme", turn), "--store", target]
        return _then_remove(process(command, self.environment), target)

    def skopeo_push(self, turn: int) -> tuple[float, float]:
        name = self.fill("skopeo", turn)
        command = [self.skopeo, "copy", "--quiet", "--dest-tls-verify=false"]
        return process([*command, f"oci:{self.store}:{name}", f"docker://{name}"], self.environment)

    def skopeo_pull(self, turn: int) -> tuple[float, float]:
        target = self.empty("skopeo", turn)
        command = [self.skopeo, "copy", "--quiet", "--src-tls-verify=false"]
        command += [f"docker://{self.image('skopeo', turn)}", f"oci:{target}:x"]
        return _then_remove(process(command, self.environment), target)

    def crane_push(self, turn: int) -> tuple[float, float]:
        name, layout = self.fill("crane", turn), self.empty("crane-source", turn)
        process([self.skopeo, "copy", "--quiet", f"oci:{self.store}:{name}", f"oci:{layout}:x"], self.environment)
        return _then_remove(process([str(self.crane), "push", "--insecure", layout, name], self.environment), layout)

    def crane_pull(self, turn: int) -> tuple[float, float]:
        target = self.empty("crane", turn)
        command = [str(self.crane), "pull", "--insecure", "--format=oci", self.image("crane", turn), target]
        return _then_remove(process(command, self.environment), target)

    def warm_push(self, turn: int) -> tuple[float, float]:
        return _library("push", self.store, self.fill("warm", turn)), 0.0

    def warm_pull(self, turn: int) -> tuple[float, float]:
        target = self.empty("warm", turn)
        return _then_remove((_library("pull", target, self.image("warm", turn)), 0.0), target)


def _size(ring: _Ring, label: str, rounds: int) -> list[Row]:
    ring.folder.mkdir()
    contestants = ["wasme", "skopeo", "warm", *(["crane"] if ring.crane else [])]
    result = []
    for verb in ("push", "pull"):
        figures = interleave({name: getattr(ring, f"{name}_{verb}") for name in contestants}, rounds)
        result += _rows(verb, label, figures, limit=1 if ring.size > 10_000_000 else 4)
    shutil.rmtree(ring.folder)
    return result


def _rows(verb: str, label: str, figures: dict[str, Figures], limit: float) -> list[Row]:
    skopeo = figures["skopeo"]
    found = [
        Row(f"wasme {verb}, {label}", figures["wasme"], "skopeo", skopeo, limit=limit, memory_limit=60),
        Row(f"library {verb}, {label}, warm", figures["warm"], "skopeo", skopeo, limit=1),
    ]
    if "crane" in figures:
        found.append(Row(f"wasme {verb}, {label}", figures["wasme"], "crane", figures["crane"]))
    return found


def _library(verb: str, store_path: Path, image: str) -> float:
    """Seconds of one library call; everything it imports is loaded already."""
    from wasme.image.reference import Reference
    from wasme.image.store import open_store
    from wasme.registry import transfer

    call = {"push": transfer.push, "pull": transfer.pull}[verb]
    opened = session()
    gc.collect()
    begun = time.perf_counter()
    call(open_store(store_path), Reference.parse(image), opened)
    return time.perf_counter() - begun


def session() -> Session:
    from wasme.registry.credentials import Keychain
    from wasme.registry.session import Session
    from wasme.registry.transport import ConnectionOptions

    return Session(ConnectionOptions(), Keychain(), None)


def _then_remove(figures: tuple[float, float], folder: Path) -> tuple[float, float]:
    shutil.rmtree(folder)
    return figures


@contextmanager
def serving(program: str, folder: Path) -> Iterator[str]:
    """Debian's registry on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = folder / "registry.yaml"
    settings.write_text(_REGISTRY.format(folder=folder / "registry", port=port))
    child = subprocess.Popen([program, "serve", str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        yield f"localhost:{port}"
    finally:
        child.terminate()
        child.wait()


def _crane() -> str | None:
    """crane, from PATH or built by the machine's Go into the user's cache; None where neither can be."""
    found = shutil.which("crane")
    go = shutil.which("go")
    if found or not go:
        return found
    target = Path.home() / ".cache" / "wasme-bench"
    if not (target / "crane").exists():
        done = subprocess.run([go, "install", _CRANE], env={**os.environ, "GOBIN": str(target)}, capture_output=True)
        if done.returncode:
            sys.stderr.write("crane could not be built; its figures are left out\n")
            return None
    return str(target / "crane")
