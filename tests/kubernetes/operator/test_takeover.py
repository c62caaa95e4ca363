"""An install of the original's becomes ours: by the command, by kubectl; and what it left does no harm."""

from __future__ import annotations

import base64
import copy
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api, place
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.operator.installed import (
    CRD,
    GLOBAL,
    config_map,
    daemon_set,
    deployment,
    filter_deployment,
    mutations,
)
from tests.kubernetes.operator.test_install import MANIFESTS, kube, wanted
from tests.kubernetes.operator.test_old_objects import strict

__all__ = ["kube"]

Object = dict[str, Any]
pytestmark = pytest.mark.usefixtures("cleared")
Run = Callable[..., Result]
_RBAC = "rbac.authorization.k8s.io"
_LAST = "kubectl.kubernetes.io/last-applied-configuration"


def original(namespace: str) -> list[Object]:
    """What the original's manifests made, as its CLI and its users' filters have changed it since."""

    def named(api_version: str, kind: str, name: str, *, namespaced: bool = True) -> Object:
        metadata = {"name": name, "labels": {"app": name}, **({"namespace": namespace} if namespaced else {})}
        return {"apiVersion": api_version, "kind": kind, "metadata": metadata}

    def role(name: str, *rules: Object) -> list[Object]:
        account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        return [
            named(f"{_RBAC}/v1", "ClusterRole", name, namespaced=False) | {"rules": list(rules)},
            named(f"{_RBAC}/v1", "ClusterRoleBinding", name, namespaced=False)
            | {"subjects": [account], "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}},
        ]

    def rule(group: str, resources: list[str], *verbs: str) -> Object:
        return {"apiGroups": [group], "resources": resources, "verbs": list(verbs)}

    def workload(kind: str, name: str, args: list[str], **pod: Any) -> Object:
        made = named("apps/v1", kind, name)
        locked = {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        container = {"name": name, "image": "quay.io/solo-io/wasme:0.0.33", "imagePullPolicy": "IfNotPresent"}
        container |= {"args": args, "securityContext": locked, **pod.pop("container", {})}
        scraped = {"prometheus.io/path": "/metrics", "prometheus.io/port": "9091", "prometheus.io/scrape": "true"}
        made["spec"] = {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}, "annotations": scraped},
                "spec": {"serviceAccountName": name, "containers": [container], **pod},
            },
        }
        return made

    folder = "/var/local/lib/wasme-cache"
    mounts = [{"mountPath": folder, "name": "cache-dir"}, {"mountPath": "/etc/wasme-cache", "name": "config"}]
    listed = {"name": "wasme-cache", "items": [{"key": "images", "path": "images.txt"}]}
    volumes = [
        {"name": "cache-dir", "hostPath": {"path": folder, "type": "DirectoryOrCreate"}},
        {"name": "config", "configMap": listed},
    ]
    return [
        named("v1", "ServiceAccount", "wasme-operator"),
        named("v1", "ServiceAccount", "wasme-cache"),
        named("v1", "ConfigMap", "wasme-cache") | {"data": {"images": ""}},
        *role(
            "wasme-operator",
            rule("wasme.io", ["filterdeployments"], "get", "list", "watch"),
            rule("wasme.io", ["filterdeployments/status"], "get", "update"),
            rule("", ["secrets"], "get", "list", "watch"),
            rule("", ["events"], "*"),
            rule("apps", ["deployments", "daemonsets"], "get", "list", "watch", "update"),
            rule("networking.istio.io", ["envoyfilters"], "*"),
            rule("", ["configmaps"], "*"),
        ),
        *role("wasme-cache", rule("", ["events"], "create")),
        workload("DaemonSet", "wasme-cache", ["cache", "--directory", folder], volumes=volumes,
                 container={"volumeMounts": mounts}),
        workload("Deployment", "wasme-operator", ["operator", "--log-level=debug"],
                 container={"env": [{"name": "ADDED", "value": "by hand"}]}),
    ]  # fmt: skip


def as_v1beta1(api: Api, plane: ControlPlane) -> None:
    """The definition as a server has it that was once told of it in v1beta1: no schema, unknown fields kept.

    No server of today takes that, so it is written into etcd, where it lies in such clusters.
    """
    key = b"/registry/apiextensions.k8s.io/customresourcedefinitions/filterdeployments.wasme.io"
    version: Object = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}
    names = {"kind": "FilterDeployment", "listKind": "FilterDeploymentList", "plural": "filterdeployments",
             "singular": "filterdeployment"}  # fmt: skip
    loose = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    spec = {"group": "wasme.io", "names": names, "scope": "Namespaced", "versions": [version | {"schema": loose}]}
    labels = {"app": "wasme", "app.kubernetes.io/name": "wasme"}
    api.create(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "filterdeployments.wasme.io", "labels": labels},
            "spec": spec,
        }
    )
    wait_until(lambda: api.find("/apis/wasme.io/v1/filterdeployments"), 30, "FilterDeployment is not served")
    asked = plane._ask_etcd("kv/range", {"key": base64.b64encode(key).decode()})
    stored = json.loads(base64.b64decode(asked["kvs"][0]["value"]))
    assert stored["apiVersion"] == "apiextensions.k8s.io/v1beta1"  # to this day, inside
    stored["spec"]["preserveUnknownFields"] = True
    del stored["spec"]["validation"]
    value = base64.b64encode(json.dumps(stored).encode()).decode()
    plane._ask_etcd("kv/put", {"key": base64.b64encode(key).decode(), "value": value})
    wait_until(lambda: api.get(CRD)["spec"].get("preserveUnknownFields"), 10, "it is not as v1beta1")


def old_object(api: Api, namespace: str) -> Object:
    """A FilterDeployment as the original left it: its status has a text where a number belongs."""
    made = filter_deployment(namespace)
    made["spec"]["filter"]["config"] = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "world"}
    created = api.create(made)
    path = f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/auth"
    api.put(
        f"{path}/status",
        created | {"status": {"observedGeneration": "1", "workloads": {"web": {"state": "Succeeded"}}}},
    )
    return created


def test_everything_of_the_original_becomes_ours(
    api: Api, own: str, kube_run: Run, control_plane: ControlPlane
) -> None:
    """One `install`: the definition has its schema, surplus rights are gone, workloads are ours, lines stay."""
    as_v1beta1(api, control_plane)
    for each in original(own):
        each["metadata"].setdefault("annotations", {})[_LAST] = json.dumps(each)
        api.create(each)
    api.patch(config_map(own), {"data": {"images": "webassemblyhub.io/hxpmark/auth:0.01"}})
    namespace = new_namespace(api)
    before = old_object(api, namespace)
    uids = {path: api.get(path)["metadata"]["uid"] for path in (deployment(own), daemon_set(own), CRD, *GLOBAL)}
    told = kube_run("operator", "install", "-n", own, "--wait=0")
    assert "was made as v1beta1" in told.stderr
    assert "stopping the original's operator" in told.stderr
    assert {path: api.get(path)["metadata"]["uid"] for path in uids} == uids
    assert not api.get(CRD)["spec"].get("preserveUnknownFields")
    assert api.get(CRD)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["description"]
    for each in wanted(own):
        if each["kind"] in ("ClusterRole", "Role"):
            assert (api.get(place(each)).get("rules") or []) == each["rules"]
    (container,) = api.get(deployment(own))["spec"]["template"]["spec"]["containers"]
    assert container["image"].startswith("ghcr.io/wasme/wasme:")
    assert "ADDED" not in {each["name"] for each in container["env"]}
    kept = api.get(config_map(own))
    assert kept["data"] == {"images": "webassemblyhub.io/hxpmark/auth:0.01"}
    assert _LAST not in kept["metadata"].get("annotations", {})
    live = api.get(f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/auth")
    assert live["spec"] == before["spec"]
    # The server takes changes of the old object, text in its status or not, also when the schema is in force.
    wait_until(lambda: strict(api, namespace), 30, "the new schema is not in force")
    change = {"metadata": {"finalizers": ["wasme.io/cleanup"]}}
    api.patch(f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments/auth", change)
    mark = control_plane.mark()
    kube_run("operator", "install", "-n", own, "--wait=0")
    assert mutations(control_plane, mark) == []


def test_the_originals_operator_ends_first(api: Api, own: str, kube_run: Run) -> None:
    """It knows no Lease: ours is not started while a pod of it runs."""
    for each in original(own):
        api.create(each)
    template = api.get(deployment(own))["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old", "namespace": own, **template["metadata"]}}
    api.create(pod | {"spec": template["spec"]})
    seen: list[tuple[int, str]] = []

    def end() -> None:
        wait_until(lambda: api.get(deployment(own))["spec"]["replicas"] == 0, 20, "it is not stopped")
        live = api.get(deployment(own))
        seen.append((live["spec"]["replicas"], live["spec"]["template"]["spec"]["containers"][0]["image"]))
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
        api.call("DELETE", f"/api/v1/namespaces/{own}/pods/old", options)

    thread = threading.Thread(target=end)
    thread.start()
    kube_run("operator", "install", "-n", own, "--wait=0")
    thread.join()
    assert seen == [(0, "quay.io/solo-io/wasme:0.0.33")]
    assert api.get(deployment(own))["spec"]["replicas"] == 2


def test_what_cannot_be_changed_is_made_anew(api: Api, own: str, kube_run: Run) -> None:
    """A Deployment with another selector, and a binding to another role: deleted and made, in a dry run only told."""
    old = next(each for each in original(own) if each["kind"] == "Deployment")
    labels = {"app": "wasme-operator", "release": "x"}
    old["spec"]["selector"] = {"matchLabels": labels}
    old["spec"]["template"]["metadata"]["labels"] = labels
    api.create(old)
    binding = copy.deepcopy(next(each for each in original(own) if each["kind"] == "ClusterRoleBinding"))
    binding["roleRef"]["name"] = "cluster-admin"
    api.create(binding)
    kube_run("operator", "install", "-n", own, "--dry-run=server")
    assert api.get(GLOBAL[2])["roleRef"]["name"] == "cluster-admin"
    told = kube_run("operator", "install", "-n", own, "--wait=0")
    assert "operator deployment replaced" in told.stderr
    assert "operator clusterrolebinding replaced" in told.stderr
    assert api.get(deployment(own))["spec"]["selector"] == {"matchLabels": {"app": "wasme-operator"}}
    assert api.get(GLOBAL[2])["roleRef"]["name"] == "wasme-operator"


def test_kubectl_applies_ours_over_the_originals(
    api: Api, kube: Callable[..., subprocess.CompletedProcess[str]], control_plane: ControlPlane, tmp_path: Path
) -> None:
    """The original's files were applied by kubectl, and ours are: everything is ours, and no right of it is left."""
    as_v1beta1(api, control_plane)
    file = tmp_path / "original.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": original("wasme")}))
    if api.find("/api/v1/namespaces/wasme") is None:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wasme"}})
    kube("apply", "-f", file)
    before = old_object(api, new_namespace(api))
    for name in ("wasme.io_v1_crds.yaml", "wasme-default.yaml"):
        kube("apply", "-f", MANIFESTS / name)
    assert not api.get(CRD)["spec"].get("preserveUnknownFields")
    for each in wanted("wasme"):
        live = api.get(place(each))
        if each["kind"] in ("ClusterRole", "Role"):
            assert (live.get("rules") or []) == each["rules"]
        if each["kind"] in ("Deployment", "DaemonSet"):
            (container,) = live["spec"]["template"]["spec"]["containers"]
            assert container["args"] == each["spec"]["template"]["spec"]["containers"][0]["args"]
            assert container["image"].startswith("ghcr.io/wasme/wasme:")
    place_of = f"/apis/wasme.io/v1/namespaces/{before['metadata']['namespace']}/filterdeployments/auth"
    assert api.get(place_of)["spec"] == before["spec"]


def test_lines_of_the_cache_survive_kubectl_as_the_manifest_says(
    api: Api, kube: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """kubectl takes `images` away where the original's manifest had it; what our manifest says to do first keeps it."""
    (listed,) = [each for each in original("wasme") if each["kind"] == "ConfigMap"]
    file = tmp_path / "original.json"
    file.write_text(json.dumps(listed))
    if api.find("/api/v1/namespaces/wasme") is None:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wasme"}})
    lines = {"images": "webassemblyhub.io/hxpmark/auth:0.01"}
    text = (MANIFESTS / "wasme-default.yaml").read_text()
    said = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
    assert f"kubectl -n wasme annotate configmap wasme-cache {_LAST}-" in said
    for first, left in ((False, {}), (True, lines)):
        if api.find(config_map("wasme")) is not None:
            api.delete(config_map("wasme"))
        kube("apply", "-f", file)
        api.patch(config_map("wasme"), {"data": lines})
        if first:
            kube("-n", "wasme", "annotate", "configmap", "wasme-cache", f"{_LAST}-")
        kube("apply", "-f", MANIFESTS / "wasme-default.yaml")
        assert api.get(config_map("wasme")).get("data", {}) == left
