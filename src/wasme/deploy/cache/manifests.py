"""The objects of a node cache, as values: who installs it applies them, ``--dry-run`` prints them.

Names, labels, volumes and limits are the original's (its DaemonSet can be taken over); new are the node's name in the
agent's environment, probes, a locked container, tolerations for every node, and rights for what the agent does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from wasme import __version__
from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions, format_chosen

CHOSEN = "cache.wasme.io/chosen"
"""Annotation of the DaemonSet: what was chosen by flags, for deployments that say nothing. The original's has none."""
KEPT = frozenset({"Namespace", "ConfigMap", "ServiceAccount"})
"""Kinds that are made once and then belong to whoever edits them."""

Object = dict[str, Any]


def objects(options: CacheOptions, registry_map: Mapping[str, str] | None = None) -> list[Object]:
    """All objects, in the order in which they must be made.

    Args:
        registry_map: for the ConfigMap, a registry's name → where its traffic goes.

    Raises:
        CacheError: the agents' image cannot be used.
    """
    return [
        _namespace(options),
        _config_map(options, registry_map or {}),
        _object(options, "v1", "ServiceAccount"),
        role(options),
        _role_binding(options),
        daemon_set(options),
    ]


def role(options: CacheOptions) -> Object:
    """The rights of the agents: what they do, and nothing else.

    A list or watch of one ConfigMap by its name is a right on that name alone. The ConfigMaps of nodes have the nodes'
    names, which no rule can foresee: so these verbs are for all ConfigMaps of the cache's own namespace.
    """
    rules = [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [options.name],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]},
    ]
    return _versioned(_object(options, "rbac.authorization.k8s.io/v1", "Role") | {"rules": rules})


def daemon_set(options: CacheOptions) -> Object:
    """One agent on every node."""
    spec = {
        "selector": {"matchLabels": {"app": options.name}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
        "template": {
            "metadata": {
                "labels": {
                    "app": options.name,
                    protocol.MANAGED_BY_LABEL: protocol.MANAGER,
                    # An agent must not wait for the proxy that waits for the agent's files.
                    "sidecar.istio.io/inject": "false",
                },
                "annotations": {"sidecar.istio.io/inject": "false", **_scraped(served_port(arguments(options)))},
            },
            "spec": _pod(options),
        },
    }
    made = _object(options, "apps/v1", "DaemonSet") | {"spec": spec}
    made["metadata"]["annotations"] = {CHOSEN: format_chosen(options.chosen)}
    return _versioned(made)


def arguments(options: CacheOptions) -> list[str]:
    """What the agent is started with."""
    if options.custom_command:
        return list(options.custom_command)
    return [
        "cache",
        "--directory",
        protocol.DIRECTORY,
        "--ref-file",
        protocol.REFERENCE_FILE,
        "--cache-ns",
        options.namespace,
        "--cache-name",
        options.name,
    ]


def _pod(options: CacheOptions) -> Object:
    return {
        "serviceAccountName": options.name,
        # Pods wait at the gate with their share of the node taken: the agent must find room beside them.
        **({"priorityClassName": options.priority} if options.priority else {}),
        "nodeSelector": {"kubernetes.io/os": "linux"},
        # A node takes pods with proxies whatever its taints are, and each of them needs the files.
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(options)],
        "volumes": [
            # Of the host, since the pods whose proxies read the files are others than the one that writes them.
            {"name": "cache-dir", "hostPath": {"path": protocol.DIRECTORY, "type": "DirectoryOrCreate"}},
            {
                "name": "config",
                "configMap": {
                    "name": options.name,
                    "items": [{"key": protocol.IMAGES, "path": protocol.REFERENCE_FILE.rpartition("/")[2]}],
                    "optional": True,
                },
            },
        ],
    }


def served_port(args: Sequence[str]) -> int:
    """The port that an agent with these arguments serves; 0 where it serves none, or is no agent of ours."""
    port = str(protocol.PORT) if list(args[:1]) == ["cache"] else "0"
    for word, following in zip_longest(args, args[1:], fillvalue=""):
        if word == "--port":
            port = following
        elif word.startswith("--port="):
            port = word.partition("=")[2]
    return int(port) if port.isdecimal() and int(port) < 65536 else 0


def _container(options: CacheOptions) -> Object:
    args = arguments(options)
    return {
        "name": options.name,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "args": args,
        "env": [
            {
                "name": protocol.NODE_VARIABLE,
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}},
            },
            # Each thread that pulls would have an arena of the C library's own, which keeps what was freed.
            {"name": "MALLOC_ARENA_MAX", "value": "2"},
        ],
        **_served(served_port(args)),
        "resources": {
            "limits": {"cpu": "500m", "memory": "256Mi"},
            "requests": {"cpu": "50m", "memory": "128Mi"},
        },
        "securityContext": {
            # Root owns the folder that the kubelet makes for cache-dir; without capabilities it may write there only.
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "cache-dir", "mountPath": protocol.DIRECTORY},
            {"name": "config", "mountPath": protocol.REFERENCE_FILE.rpartition("/")[0], "readOnly": True},
        ],
    }


def _served(port: int) -> Object:
    """Port and probes; nothing where there is nothing to ask."""

    def probe(path: str, patience: int) -> Object:
        return {"httpGet": {"path": path, "port": "http"}, "timeoutSeconds": patience}

    if not port:
        return {}
    return {
        "ports": [{"name": "http", "containerPort": port}],
        "livenessProbe": probe(protocol.HEALTH_PATH, 5) | {"initialDelaySeconds": 10, "periodSeconds": 20},
        # What a node holds counts only while its agent is ready: one that stands still is told within four seconds.
        "readinessProbe": probe(protocol.READY_PATH, 1) | {"periodSeconds": 1, "failureThreshold": 2},
    }


def _scraped(port: int) -> dict[str, str]:
    """Where Prometheus finds the metrics: the original's annotations, with a port that serves some."""
    told = {"path": protocol.METRICS_PATH, "port": str(port), "scrape": "true"} if port else {}
    return {f"prometheus.io/{key}": value for key, value in told.items()}


def _namespace(options: CacheOptions) -> Object:
    made = _object(options, "v1", "Namespace", namespaced=False)
    # Clusters whose default is `baseline` or `restricted` refuse every pod with a folder of the host.
    made["metadata"]["labels"] |= {
        "pod-security.kubernetes.io/enforce": "privileged",
        # What comes into it stands in the audit log; a warning would come with each apply of the agents.
        "pod-security.kubernetes.io/audit": "restricted",
    }
    made["metadata"]["name"] = options.namespace
    return made


def _config_map(options: CacheOptions, registry_map: Mapping[str, str]) -> Object:
    made = _object(options, "v1", "ConfigMap")
    made["metadata"]["labels"]["configmap"] = options.name  # the original's
    # No key for the images: who keeps the printed objects in git and applies them again must not empty the list.
    if registry_map:
        made["data"] = {protocol.REGISTRY_MAP: protocol.format_registry_map(registry_map)}
    return made


def _role_binding(options: CacheOptions) -> Object:
    group = "rbac.authorization.k8s.io"
    return _versioned(
        _object(options, f"{group}/v1", "RoleBinding")
        | {
            "subjects": [{"kind": "ServiceAccount", "name": options.name, "namespace": options.namespace}],
            "roleRef": {"apiGroup": group, "kind": "Role", "name": options.name},
        }
    )


def _object(options: CacheOptions, api_version: str, kind: str, *, namespaced: bool = True) -> Object:
    labels = {
        protocol.MANAGED_BY_LABEL: protocol.MANAGER,
        "app.kubernetes.io/name": "wasme-cache",
        protocol.CACHE_LABEL: options.name,
    }
    metadata: Object = {"name": options.name, "labels": labels}
    if namespaced:
        labels["app"] = options.name  # the original's
        metadata["namespace"] = options.namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _versioned(obj: Object) -> Object:
    """With the version of wasme that it comes from: not on what is kept, which may be of any."""
    metadata = obj["metadata"]
    return obj | {"metadata": metadata | {"labels": {**metadata["labels"], "app.kubernetes.io/version": __version__}}}
