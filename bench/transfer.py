"""Push and pull beside skopeo against Debian's docker-registry; crane's figures beside, where Go can build it.

Whole processes at 15 kB, 1 MB and 64 MB, and the library call in a warm process. Every push goes to a repository of
its own, so that everything is sent; every pull fills an empty store.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Figures, Row, interleave, process

_SIZES = {"15 kB": 15_000, "1 MB": 1_000_000, "64 MB": 64_000_000}
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
    with _registry(registry, folder) as host:
        for label, size in _SIZES.items():
            counted = rounds if size < 10_000_000 else max(5, rounds // 3)
            found += _size(folder / label.replace(" ", ""), host, skopeo, crane, label, size, counted)
    return found


def _size(folder: Path, host: str, skopeo: str, crane: str | None, label: str, size: int, rounds: int) -> list[Row]:
    from tests.fixtures.modules import sized
    from wasme.image.layouts import build
    from wasme.image.reference import Reference
    from wasme.image.runtime_config import parse
    from wasme.image.store import open_store

    folder.mkdir()
    home = folder / "home"
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    wasme = Path(sys.executable).with_name("wasme")
    config = parse(b'{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}', "bench")
    store_path = home / ".wasme" / "oci"
    store = open_store(store_path)
    draft = build("oci", sized(size, seed=size), config)
    contestants = ("wasme", "skopeo", "warm", "crane")
    names = {each: [f"{host}/bench/{each}-{size}-{turn}" for turn in range(rounds + 1)] for each in contestants}
    for turn in range(rounds + 1):
        for each in ("wasme", "warm"):
            store.add(Reference.parse(f"{names[each][turn]}:v1"), draft)
    store.add(Reference.parse(f"{host}/bench/source:v1"), draft)
    source = f"oci:{store_path}:{host}/bench/source:v1"

    def skopeo_push(turn: int) -> tuple[float, float]:
        target = f"docker://{names['skopeo'][turn]}:v1"
        return process([skopeo, "copy", "--quiet", "--dest-tls-verify=false", source, target], environment)

    def skopeo_pull(turn: int) -> tuple[float, float]:
        target = folder / f"skopeo-{turn}"
        command = [skopeo, "copy", "--quiet", "--src-tls-verify=false", f"docker://{names['skopeo'][turn]}:v1"]
        return _then_remove(process([*command, f"oci:{target}:x"], environment), target)

    def wasme_push(turn: int) -> tuple[float, float]:
        return process([wasme, "push", f"{names['wasme'][turn]}:v1"], environment)

    def wasme_pull(turn: int) -> tuple[float, float]:
        target = folder / f"wasme-{turn}"
        return _then_remove(
            process([wasme, "pull", f"{names['wasme'][turn]}:v1", "--store", target], environment), target
        )

    def warm_push(turn: int) -> tuple[float, float]:
        return _library_push(store_path, f"{names['warm'][turn]}:v1"), 0.0

    def warm_pull(turn: int) -> tuple[float, float]:
        target = folder / f"warm-{turn}"
        return _then_remove((_library_pull(target, f"{names['warm'][turn]}:v1"), 0.0), target)

    def crane_push(turn: int) -> tuple[float, float]:
        # crane takes a layout with one image.
        layout = folder / "crane-source"
        if not layout.exists():
            process([skopeo, "copy", "--quiet", source, f"oci:{layout}:x"], environment)
        return process([str(crane), "push", "--insecure", layout, f"{names['crane'][turn]}:v1"], environment)

    def crane_pull(turn: int) -> tuple[float, float]:
        target = folder / f"crane-{turn}"
        command = [str(crane), "pull", "--insecure", "--format=oci", f"{names['crane'][turn]}:v1", target]
        return _then_remove(process(command, environment), target)

    pushes: dict[str, Callable[[int], tuple[float, float]]] = {
        "wasme": wasme_push, "skopeo": skopeo_push, "warm": warm_push,
    }  # fmt: skip
    pulls: dict[str, Callable[[int], tuple[float, float]]] = {
        "wasme": wasme_pull, "skopeo": skopeo_pull, "warm": warm_pull,
    }  # fmt: skip
    if crane:
        pushes["crane"], pulls["crane"] = crane_push, crane_pull
    result = []
    for verb, runners in (("push", pushes), ("pull", pulls)):
        figures = interleave(runners, rounds)
        result += _rows(verb, label, figures, limit=1 if size > 10_000_000 else 4)
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


def _library_push(store_path: Path, image: str) -> float:
    from wasme.image.reference import Reference
    from wasme.image.store import open_store
    from wasme.registry.transfer import push

    session = _session()
    gc.collect()
    begun = time.perf_counter()
    push(open_store(store_path), Reference.parse(image), session)
    return time.perf_counter() - begun


def _library_pull(store_path: Path, image: str) -> float:
    from wasme.image.reference import Reference
    from wasme.image.store import open_store
    from wasme.registry.transfer import pull

    session = _session()
    gc.collect()
    begun = time.perf_counter()
    pull(open_store(store_path), Reference.parse(image), session)
    return time.perf_counter() - begun


def _session() -> object:
    from wasme.registry.session import open_session

    return open_session()


def _then_remove(figures: tuple[float, float], folder: Path) -> tuple[float, float]:
    shutil.rmtree(folder)
    return figures


@contextmanager
def _registry(program: str, folder: Path) -> Iterator[str]:
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
