"""Deploying to 1,000 workloads of a real API server, beside a bare client that sends the same writes.

`make kubernetes` builds the server. A turn of either contestant has a namespace of its own with 1,000 Deployments; one
node runs a pod of one of them, and a real agent holds the module. The peer's writes are those that the server's audit
log and `--dry-run` show wasme to send; it keeps as many connections open as wasme, and checks nothing but the status.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench.bare import APPLY, Write, creates, send
from bench.measure import Figure, Row, interleave, process
from bench.nodes import agent, images, registry, server
from tests.kubernetes.cluster.api import place
from tests.kubernetes.cluster.control_plane import ControlPlane

_WORKLOADS = 1000
_MOST_REQUESTS = 4.0
_WASME = Path(sys.executable).with_name("wasme")


def rows(folder: Path, rounds: int) -> list[Row | Figure]:
    """Deploy anew, and again unchanged."""
    with server(folder) as plane, registry(folder) as host:
        bench = _Bench(plane, images(folder, host, ["bench/filter:v1"], 15_000)[0])
        plane.api.create(_object("v1", "Namespace", "wasme"))
        with agent(plane, folder, "node-a", namespace="wasme"):
            figures = interleave({"wasme": bench.ours, "bare client": bench.bare}, min(rounds, 2))
            requests, again = bench.counted()
    return [
        Row(f"deploy istio, {_WORKLOADS:,} workloads", figures["wasme"], "bare client, same writes",
            figures["bare client"], limit=1.5),
        Figure("requests for each workload", requests, "requests", limit=_MOST_REQUESTS),
        Figure("writes when deployed again, unchanged", again, "requests", limit=0),
    ]  # fmt: skip


class _Bench:
    """One server, and namespaces full of workloads."""

    def __init__(self, plane: ControlPlane, ref: str) -> None:
        self._plane = plane
        self._ref = ref
        self._last = ""
        self._since = 0

    def ours(self, turn: int) -> tuple[float, float]:
        self._last = self._workloads(f"ours-{turn}")
        self._since = self._plane.mark()
        return process(self._command(self._last), self._environment)

    def bare(self, turn: int) -> tuple[float, float]:
        name = self._workloads(f"bare-{turn}")
        shown = subprocess.run(
            [*self._command(name), "--dry-run", "--output", "json"],
            env=self._environment, capture_output=True, check=True,
        )  # fmt: skip
        objects = [each for each in _objects(json.loads(shown.stdout)) if each["metadata"].get("namespace") == name]
        first = [each for each in objects if each["kind"] == "Deployment"]
        then = [each for each in objects if each["kind"] != "Deployment"]
        writes = [
            Write("PATCH", f"{place(each)}?fieldManager=bare&force=true", json.dumps(each).encode(), APPLY)
            for pair in zip(first, then, strict=True)
            for each in pair
        ]
        begun = time.perf_counter()
        send(self._plane, writes)
        return time.perf_counter() - begun, 0.0

    def counted(self) -> tuple[float, float]:
        """Requests for each workload of the last turn, and the writes of deploying the same again."""
        first = len(self._plane.audit(self._since))
        since = self._plane.mark()
        process(self._command(self._last), self._environment)
        changed = [each for each in self._plane.audit(since) if each["verb"] not in {"get", "list", "watch"}]
        return first / _WORKLOADS, float(len(changed))

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self._plane.kubeconfig)}

    def _command(self, name: str) -> list[str]:
        flags = ["--id=bench", f"--namespace={name}", "--as=envoyfilter", "--ignore-version-check", "--plain-http"]
        return [str(_WASME), "deploy", "istio", self._ref, *flags]

    def _workloads(self, name: str) -> str:
        self._plane.api.create(_object("v1", "Namespace", name))
        send(self._plane, creates(workload(name, f"service-{number:04}") for number in range(_WORKLOADS)))
        return name


def _objects(shown: Any) -> list[dict[str, Any]]:
    return shown["items"] if isinstance(shown, dict) else shown


def _object(version: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}


def workload(namespace: str, name: str) -> dict[str, Any]:
    """A Deployment of one container."""
    labels = {"app": name, "version": "v1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "localhost/main"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
