"""The kubelet's own code as a process: it forwards ports of pods, and judges their volumes as before each start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.programs import program
from tests.kubernetes.cluster.proxies import Proxy


class Kubelet:
    """The kubelet of any number of nodes, all on this machine.

    Args:
        api: of the server that will ask it.
        folder: for its own files.
    """

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._map = folder / "ports.json"
        self._pods: dict[str, dict[str, Any]] = {}
        self._map.write_text("{}")
        with (folder / "kubelet.log").open("wb") as log:
            self._process = subprocess.Popen(
                [program("kubelet"), "serve", "-map", self._map], stdout=subprocess.PIPE, stderr=log
            )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def serve(self, *nodes: str) -> None:
        """Make it the kubelet of these nodes."""
        endpoints = {"daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}}}
        for name in nodes:
            self._api.patch(f"/api/v1/nodes/{name}/status", {"status": endpoints})

    def lead(self, pod: dict[str, Any], proxy: Proxy) -> None:
        """Let a real Envoy be the sidecar of a pod: its administration is port 15000, its log the container's."""
        meta = pod["metadata"]
        run = {"ports": {"15000": proxy.admin}, "log": str(proxy.container_log)}
        self._pods[f"{meta['namespace']}/{meta['name']}"] = run
        beside = self._map.with_suffix(".part")
        beside.write_text(json.dumps(self._pods))
        beside.replace(self._map)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()


def set_up_volumes(pod: dict[str, Any], root: Path) -> dict[str, str]:
    """What the kubelet's hostPath plugin says of each hostPath volume: "" where the pod may start, else the refusal.

    Args:
        pod: a whole Pod.
        root: the root folder of the node's files.
    """
    done = subprocess.run(
        [program("kubelet"), "mount", "-root", root], input=json.dumps(pod), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    verdicts: dict[str, str] = json.loads(done.stdout)
    return verdicts
