"""Whether an apply would change an object, told from the object alone, against what the real server then does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.cluster.kinds import kind_of
from wasme.deploy.cluster.ownership import holds

Object = dict[str, Any]


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


def _objects(namespace: str) -> dict[str, Object]:
    meta = {"name": "x", "namespace": namespace}
    rbac = "rbac.authorization.k8s.io"
    container = {
        "name": "cache",
        "image": "registry.example/cache:1",
        "args": ["--a", "--b"],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "ports": [{"containerPort": 80}, {"containerPort": 81, "protocol": "UDP"}],
        "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "readOnly": True}],
        "securityContext": {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}},
    }
    pod = {
        "serviceAccountName": "x",
        "nodeSelector": {"z": "y"},
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}],
    }
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {}}, "spec": pod}
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": {"name": "hcm"}}}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": "auth", "typed_config": {"a": [1, True, None, 1.5]}}},
    }
    selector = {"workloadSelector": {"labels": {"app": "web", "version": "v1"}}}
    plugin = {"url": "oci://r.example/a:1", "selector": {"matchLabels": {"a": "b"}}, "pluginConfig": {"rules": [{}]}}
    return {
        "ConfigMap": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "1", "b.c": "x\ny"}},
        "Secret": {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": {"a": "Yg=="}},
        "ServiceAccount": {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        "Role": {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": {**meta, "labels": {"a": "b"}},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}],
        },
        "RoleBinding": {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {**meta, "labels": {"a": "b"}},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "x"},
            "subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": namespace}],
        },
        "DaemonSet": {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        },
        "EnvoyFilter": {
            "apiVersion": "networking.istio.io/v1alpha3",
            "kind": "EnvoyFilter",
            "metadata": {**meta, "labels": {"a": "b"}, "annotations": {"wasme.io/image": "a b"}},
            "spec": {**selector, "configPatches": [patch, {**patch, "applyTo": "CLUSTER"}]},
        },
        "WasmPlugin": {
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": meta,
            "spec": {**plugin, "vmConfig": {"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": "HOST"}]}},
        },
    }


KINDS = list(_objects("n"))


@pytest.fixture(autouse=True)
def _served(serve: Callable[..., None]) -> None:
    serve("istio/1.30.3")


def _version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_applied_holds(kind: str, cluster: Cluster, namespace: str) -> None:
    """What was applied holds, and applying it again changes nothing; with one label more neither is so."""
    obj = _objects(namespace)[kind]
    live = cluster.apply(obj)
    assert holds(live, obj)
    assert _version(cluster.apply(obj)) == _version(live)
    more = copy.deepcopy(obj)
    more["metadata"].setdefault("labels", {})["more"] = "1"
    assert not holds(live, more)
    live = cluster.apply(more)
    assert holds(live, more)
    assert not holds(live, obj), "what was ours and is not wanted any more must go"


@pytest.mark.parametrize("kind", KINDS)
def test_foreign_edits(kind: str, cluster: Cluster, namespace: str) -> None:
    """A foreign field beside ours is nothing to us; a foreign value in ours is."""
    obj = _objects(namespace)[kind]
    obj["metadata"]["annotations"] = {"ours": "1"}
    cluster.apply(obj)
    theirs = {"metadata": {"annotations": {"theirs": "1"}, "labels": {"theirs": "1"}}}
    live = cluster.patch(kind_of(obj), "x", namespace, theirs)
    assert holds(live, obj)
    live = cluster.patch(kind_of(obj), "x", namespace, {"metadata": {"annotations": {"ours": "2"}}})
    assert not holds(live, obj)
    assert not holds(live, obj, "somebody")


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from _leaves(each, (*path, number))
    else:
        yield path, value


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ServiceAccount"])
def test_any_other_value_does_not_hold(kind: str, cluster: Cluster, namespace: str) -> None:
    """Each single value of an object, changed or left out, is noticed."""
    obj = _objects(namespace)[kind]
    live = cluster.apply(obj)
    part = {name: value for name, value in obj.items() if name not in {"apiVersion", "kind", "metadata"}}
    for path, value in _leaves(part):
        for change in ("other", None):
            wanted = copy.deepcopy(obj)
            at = wanted
            for step in path[:-1]:
                at = at[step]
            if change is None:
                del at[path[-1]]
            elif isinstance(value, bool):
                at[path[-1]] = not value
            else:
                at[path[-1]] = "other"
            assert not holds(live, wanted), f"{path} {change}"
