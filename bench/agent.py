"""The node's agent: from a line in the list to the file, at rest, and 500 images at a node's start beside skopeo."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

from bench.measure import Figure, Figures, Row, interleave
from bench.nodes import agent, images, registry, server
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until

_MANY = 500
_SIZE = 15_000
_REST = 20.0
_MOST_MEMORY = 40.0
_MOST_WAIT = 500.0
_NAMESPACE = "wasme"
_LIST = f"/api/v1/namespaces/{_NAMESPACE}/configmaps/wasme-cache"


def rows(folder: Path, rounds: int) -> list[Row | Figure]:
    """All three."""
    skopeo = shutil.which("skopeo")
    if skopeo is None:
        raise SystemExit("bench agent needs skopeo: apt-get install skopeo")
    with server(folder) as plane, registry(folder) as host:
        plane.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}})
        meta = {"name": "wasme-cache", "namespace": _NAMESPACE}
        plane.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"images": ""}})
        figures: list[Row | Figure] = [*_one_more(plane, folder, host)]
        refs = images(folder, host, [f"bench/many:v{number}" for number in range(_MANY)], _SIZE)
        plane.api.patch(_LIST, {"data": {"images": "\n".join(refs)}})
        start = _Start(plane, folder, host, skopeo)
        many = interleave({"agent": start.agent, "skopeo": start.skopeo}, min(rounds, 3))
        figures.append(
            Row(f"{_MANY} images at a node's start", many["agent"], "skopeo sync", many["skopeo"], limit=1.0)
        )
    return figures


def _one_more(plane: ControlPlane, folder: Path, host: str) -> list[Figure]:
    refs = images(folder, host, [f"bench/one:v{number}" for number in range(12)], 1_000_000)
    waits = []
    with agent(plane, folder, "node-one", namespace=_NAMESPACE) as process:
        wait_until(lambda: _holdings(plane, "node-one"), 30, "the agent says nothing")
        for number in range(len(refs)):
            begun = time.perf_counter()
            plane.api.patch(_LIST, {"data": {"images": "\n".join(refs[: number + 1])}})
            wait_until(lambda wanted=number + 1: _files(folder / "node-one") == wanted, 30, "no file")  # type: ignore[misc]
            waits.append(time.perf_counter() - begun)
        time.sleep(3)
        since = plane.mark()
        time.sleep(_REST)
        asked = [each for each in plane.audit(since) if each["verb"] != "watch"]
        memory = _resident(process.pid)
    waited = statistics.median(waits) - _download(host)
    return [
        Figure("from a line of the list to the file, beyond the download", waited * 1e3, "ms", limit=_MOST_WAIT),
        Figure("the agent at rest", memory, "MB", limit=_MOST_MEMORY),
        Figure(f"the agent's requests in {_REST:.0f} s at rest, beside its watch", len(asked), "requests", limit=0),
    ]


class _Start:
    """A node that has nothing yet, and the 500 images that it must hold."""

    def __init__(self, plane: ControlPlane, folder: Path, host: str, skopeo: str) -> None:
        self._plane = plane
        self._folder = folder
        self._host = host
        self._skopeo = skopeo

    def agent(self, turn: int) -> tuple[float, float]:
        begun = time.perf_counter()
        with agent(self._plane, self._folder, f"node-{turn}", namespace=_NAMESPACE) as process:
            wait_until(lambda: _files(self._folder / f"node-{turn}") == _MANY, 120, "not all files are there")
            taken = time.perf_counter() - begun
            memory = _resident(process.pid)
        shutil.rmtree(self._folder / f"node-{turn}")
        return taken, memory

    def skopeo(self, turn: int) -> tuple[float, float]:
        target = self._folder / f"sync-{turn}"
        target.mkdir()
        command = [self._skopeo, "sync", "--src", "docker", "--dest", "dir", "--src-tls-verify=false"]
        begun = time.perf_counter()
        subprocess.run([*command, f"{self._host}/bench/many", target], check=True, capture_output=True)
        taken = time.perf_counter() - begun
        shutil.rmtree(target)
        return taken, 0.0


def _files(folder: Path) -> int:
    return sum(1 for each in folder.iterdir() if len(each.name) == 64) if folder.is_dir() else 0


def _holdings(plane: ControlPlane, node: str) -> object:
    return plane.api.find(f"{_LIST}-{node}")


def _download(host: str) -> float:
    """Seconds that a bare client needs for the manifest and its 1 MB layer."""
    import json

    figures = Figures()
    for number in range(5):
        begun = time.perf_counter()
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        request = urllib.request.Request(f"http://{host}/v2/bench/one/manifests/v{number}", headers=accept)
        with urllib.request.urlopen(request) as answer:
            layers = json.load(answer)["layers"]
        for layer in layers:
            with urllib.request.urlopen(f"http://{host}/v2/bench/one/blobs/{layer['digest']}") as answer:
                answer.read()
        figures.seconds.append(time.perf_counter() - begun)
    return figures.wall


def _resident(pid: int) -> float:
    """MB of memory that a process has resident."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/{pid}/smaps_rollup says no Rss")
