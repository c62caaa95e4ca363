"""A mesh for tests of ``deploy istio``: a namespace with workloads, and an istiod that says its version."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.images import Pushed, push

__all__ = ["MOUNT", "OLD_FILE", "USER_MOUNT", "USER_VOLUME", "VOLUME", "Mesh", "Pushed", "deployment", "lines",
           "original", "push"]  # fmt: skip

USER_VOLUME = "sidecar.istio.io/userVolume"
USER_MOUNT = "sidecar.istio.io/userVolumeMount"
VOLUME = '[{"name":"cache-dir","hostPath":{"path":"/var/local/lib/wasme-cache"}}]'
OLD_FILE = "/var/local/lib/wasme-cache/" + "ab" * 32
MOUNT = '[{"mountPath":"/var/local/lib/wasme-cache","name":"cache-dir"}]'


def deployment(
    name: str,
    namespace: str,
    *,
    labels: dict[str, str] | None = None,
    kind: str = "Deployment",
    annotations: dict[str, str] | None = None,
    pod_labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A workload; its own labels and its pods' are ``app: NAME`` unless said otherwise."""
    own = {"app": name} if labels is None else labels
    template = {"labels": pod_labels or {"app": name}, "annotations": annotations or {}}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": {"app": (pod_labels or {"app": name})["app"]}},
        "template": {"metadata": template, "spec": {"containers": [{"name": "c", "image": "example.com/c:1"}]}},
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    metadata = {"name": name, "namespace": namespace, "labels": own}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


@dataclass
class Mesh:
    """One namespace of workloads, a node cache of its own, and an istiod of its own.

    Attributes:
        namespace: of the workloads.
        cache: namespace of the node cache.
        istio: namespace of istiod.
    """

    api: Api
    plane: ControlPlane
    run: Callable[..., Result]
    namespace: str
    cache: str
    istio: str
    flags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.flags = ["--namespace", self.namespace, "--istio-namespace", self.istio, "--cache-namespace", self.cache]

    def istiod(self, version: str, name: str = "istiod") -> None:
        """An istiod whose image has this tag."""
        obj = deployment(name, self.istio, labels={"app": "istiod"}, pod_labels={"app": "istiod"})
        obj["spec"]["template"]["spec"]["containers"] = [
            {"name": "discovery", "image": f"docker.io/istio/pilot:{version}"}
        ]
        self.api.apply(obj)

    def workload(self, name: str, **settings: Any) -> dict[str, Any]:
        """Make a workload."""
        made: dict[str, Any] = self.api.create(deployment(name, self.namespace, **settings))
        return made

    def deploy(self, image: str, *words: str | Path, id: str = "test", ok: bool = True) -> Result:  # noqa: A002
        """`wasme deploy istio --as envoyfilter`, without waiting for nodes unless the words say so."""
        kind = [] if "--as" in words else ["--as", "envoyfilter"]
        return self.run("deploy", "istio", image, f"--id={id}", *self._flags(words), *kind, *words, ok=ok)

    def undeploy(self, *words: str | Path, id: str = "test", ok: bool = True) -> Result:  # noqa: A002
        """`wasme undeploy istio`."""
        return self.run("undeploy", "istio", f"--id={id}", *self._flags(words), *words, ok=ok)

    def _flags(self, words: Sequence[str | Path]) -> list[str]:
        """Those that always stand there, but for the namespace where the words name several."""
        return self.flags[2:] if "--namespaces" in words else self.flags

    def get(self, name: str, kind: str = "deployments") -> Any:
        """A workload, as it is now."""
        return self.api.find(f"/apis/apps/v1/namespaces/{self.namespace}/{kind}/{name}")

    def template(self, name: str, kind: str = "deployments") -> dict[str, Any]:
        """The metadata of a workload's pods."""
        found: dict[str, Any] = self.get(name, kind)["spec"]["template"]["metadata"]
        found.pop("creationTimestamp", None)
        return found

    def annotations(self, name: str) -> dict[str, str]:
        """The annotations of a Deployment's pods."""
        return self.template(name).get("annotations") or {}

    def filters(self, kind: str = "envoyfilters") -> dict[str, dict[str, Any]]:
        """The objects of a kind in the namespace, by name."""
        group = "networking.istio.io/v1alpha3" if kind == "envoyfilters" else "extensions.istio.io/v1alpha1"
        found = self.api.list(f"/apis/{group}/namespaces/{self.namespace}/{kind}")
        return {each["metadata"]["name"]: each for each in found}

    def cache_data(self) -> dict[str, str]:
        """The ConfigMap of the node cache."""
        found = self.api.find(f"/api/v1/namespaces/{self.cache}/configmaps/wasme-cache")
        return (found or {}).get("data") or {}

    def writes(self, since: int) -> list[str]:
        """The mutating requests since a mark that concern this mesh, as ``VERB path``; questions about rights not."""
        return [
            f"{event['verb']} {event['requestURI'].partition('?')[0]}"
            for event in self.plane.audit(since)
            if event["verb"] not in ("get", "list", "watch")
            and "accessreviews" not in event["requestURI"]
            and "/configmaps/wasme-cache-" not in event["requestURI"]  # an agent's own
            and any(each in event["requestURI"] for each in (self.namespace, self.cache))
        ]


def original(mesh: Mesh, workload: str, filter_id: str = "test") -> dict[str, Any]:
    """An EnvoyFilter as the original wrote it: no mark, the old names, the pods' labels."""
    vm = {"vmId": filter_id, "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": OLD_FILE}}}
    plugin = {"name": filter_id, "rootId": "add_header", "vmConfig": vm}
    value = {"name": "envoy.filters.http.wasm",
             "typedConfig": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                             "typeUrl": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                             "value": {"config": plugin}}}  # fmt: skip
    match = {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {
        "name": "envoy.http_connection_manager", "subFilter": {"name": "envoy.router"}}}}}  # fmt: skip
    return {
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": f"{workload}-{filter_id}", "namespace": mesh.namespace},
        "spec": {
            "workloadSelector": {"labels": {"app": workload}},
            "configPatches": [{"applyTo": "HTTP_FILTER", "match": match,
                               "patch": {"operation": "INSERT_BEFORE", "value": value}}],
        },
    }  # fmt: skip


def lines(stderr: str) -> list[str]:
    """Log lines with their seconds masked."""
    return [re.sub(r"^(INFO|WARN|ERRO)\[\d{4}\]", r"\1[0000]", line) for line in stderr.splitlines()]
