"""A pod of a workload, as Istio's injector and the kubelet would make it: its labels, and what is mounted where.

The sidecar sees a file of the node only where the template's annotations mount it. So a path in a stored object becomes
a path of this machine in two steps that are a cluster's own: mount path -> host path (the annotations), and host path
-> folder (``--host``, which stands for the node's disk).
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import images

_VOLUMES = "sidecar.istio.io/userVolume"
_MOUNTS = "sidecar.istio.io/userVolumeMount"


class NotStarted(Exception):
    """The kubelet would not start the pod."""


class Pod:
    """One pod.

    Args:
        workload: the stored Deployment, StatefulSet or DaemonSet.
        disk: host path -> folder of this machine.
        scratch: an empty folder, for what is in the container alone.
    """

    def __init__(self, workload: dict[str, Any], disk: dict[str, Path], scratch: Path) -> None:
        meta = workload["spec"]["template"].get("metadata", {})
        annotations = meta.get("annotations", {})
        self.labels: dict[str, str] = meta.get("labels", {})
        self.namespace: str = workload["metadata"]["namespace"]
        self._scratch = scratch
        self._mounts: dict[str, Path] = {}
        volumes = {each["name"]: each for each in json.loads(annotations.get(_VOLUMES, "[]"))}
        for mount in json.loads(annotations.get(_MOUNTS, "[]")):
            if mount["name"] not in volumes:
                raise NotStarted(f"the mount {mount['name']} has no volume")
            self._mounts[mount["mountPath"]] = self._volume(volumes[mount["name"]], disk)

    def _volume(self, volume: dict[str, Any], disk: dict[str, Path]) -> Path:
        if "image" in volume:
            folder = self._scratch / "volumes" / volume["name"]
            folder.mkdir(parents=True)
            (folder / "plugin.wasm").write_bytes(images.module(volume["image"]["reference"]))
            return folder
        path = volume["hostPath"]["path"]
        folder = _below(path, disk) or self._scratch / "node" / path.lstrip("/")
        if volume["hostPath"].get("type") == "File" and not folder.is_file():
            raise NotStarted(f"hostPath type check failed: {path} is not a file")
        return folder

    def file(self, path: str) -> Path:
        """A path in the container as one of this machine; what no volume covers, and no agent fetched, is not there."""
        if Path(path).is_relative_to(self._scratch):
            return Path(path)
        return _below(path, self._mounts) or self._scratch / "container" / path.lstrip("/")


def _below(path: str, roots: dict[str, Path]) -> Path | None:
    """Where ``path`` lies, by the longest of the roots that hold it."""
    for root in sorted(roots, key=len, reverse=True):
        if PurePosixPath(path).is_relative_to(root):
            return roots[root] / PurePosixPath(path).relative_to(root)
    return None
