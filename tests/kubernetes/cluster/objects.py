"""Objects that stand for what a real cluster would have: nodes and the pods on them. No kubelet runs them."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.kubernetes.cluster.api import Api, ApiRefused


def node(api: Api, name: str, *, ready: bool = True, version: str = "v1.33.13") -> dict[str, Any]:
    """A Node with a Ready condition; what was there under the name gets the condition."""
    obj = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
    try:
        api.create(obj)
    except ApiRefused as refused:
        if refused.status != 409:
            raise
    condition = {"type": "Ready", "status": "True" if ready else "Unknown", "reason": "Test", "message": ""}
    status = {"conditions": [condition], "nodeInfo": {"kubeletVersion": version},
              "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]}  # fmt: skip
    patched: dict[str, Any] = api.patch(f"/api/v1/nodes/{name}/status", {"status": status}, "strategic-merge")
    return patched


def pod(
    api: Api, workload: dict[str, Any], name: str, node_name: str, *, ready: bool = True,
    proxy: str = "docker.io/istio/proxyv2:1.30.3",
) -> dict[str, Any]:  # fmt: skip
    """A Pod of a workload's template, bound to a node, running, with Istio's sidecar in it."""
    template = copy.deepcopy(workload["spec"]["template"])
    spec = template["spec"]
    spec["nodeName"] = node_name
    spec["terminationGracePeriodSeconds"] = 0  # no kubelet would ever confirm that it has ended
    inject(spec, template.get("metadata", {}).get("annotations") or {}, proxy)
    spec.pop("serviceAccountName", None)
    spec.pop("serviceAccount", None)
    meta = {**template.get("metadata", {}), "name": name, "namespace": workload["metadata"]["namespace"]}
    meta["ownerReferences"] = [
        {
            "apiVersion": workload["apiVersion"],
            "kind": workload["kind"],
            "name": workload["metadata"]["name"],
            "uid": workload["metadata"].get("uid", "0"),
            "controller": True,
        }
    ]
    created = api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    status = {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [
            {"name": each["name"], "image": each["image"], "imageID": "", "ready": ready, "restartCount": 0,
             "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
            for each in created["spec"]["containers"]
        ],
    }  # fmt: skip
    place = f"/api/v1/namespaces/{meta['namespace']}/pods/{name}/status"
    patched: dict[str, Any] = api.patch(place, {"status": status}, "strategic-merge")
    return patched


def inject(spec: dict[str, Any], annotations: dict[str, str], proxy: str = "docker.io/istio/proxyv2:1.30.3") -> None:
    """Put Istio's sidecar into a pod, with the volumes of its two annotations, as its injector does."""
    spec["volumes"] = [*spec.get("volumes", []), *json.loads(annotations.get("sidecar.istio.io/userVolume", "[]"))]
    mounts = json.loads(annotations.get("sidecar.istio.io/userVolumeMount", "[]"))
    spec["containers"].append({"name": "istio-proxy", "image": proxy, "volumeMounts": mounts})
