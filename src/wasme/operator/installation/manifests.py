"""The operator's own objects, as values: ``install`` applies them, ``manifests`` prints them, the chart equals them.

Names, labels and the selector are those of the original's manifests, so that its install is taken over in place. The
objects of the node cache come from ``deploy.cache.manifests``: there is one cache, whoever installs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wasme import __version__
from wasme.deploy.cache import manifests as cache_manifests
from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.errors import InputError
from wasme.operator import names
from wasme.operator.installation import rights
from wasme.operator.registries.allowed import Allowed

NAME = names.OPERATOR
"""The name of all the operator's objects."""
CRDS_FILE = "wasme.io_v1_crds.yaml"
DEFAULT_FILE = "wasme-default.yaml"
FILES = {"crds": CRDS_FILE, "default": DEFAULT_FILE}
"""The names that the original's users apply, by what ``--file`` calls them."""
PORT = names.PORT
"""Of metrics and probes; the original's annotations name it, too."""
USER = 65532
"""The user of the image, who owns nothing."""
REPLICAS = 2
ENDING = 60
"""Seconds for what is being written when a pod is to end; the operator takes fifty at most."""

Object = dict[str, Any]

_RBAC = "rbac.authorization.k8s.io"
_LEVELS = ("debug", "info", "warn", "error")
_WHY = {
    "Namespace": "The agents' pods mount a folder of the node (hostPath), which only the level `privileged` allows. "
    "The operator's own pods keep to `restricted`.",
    "ConfigMap": "Which images the nodes must hold: agents, operator and `wasme deploy` write into it. Over an install "
    "of the original's run `wasme operator install`, or first `kubectl -n {namespace} annotate configmap {cache} "
    "kubectl.kubernetes.io/last-applied-configuration-`: else kubectl takes the lines away that were written since.",
    "DaemonSet": "One agent on every node. It runs as root and mounts {folder} of the host, since the proxies of "
    "other pods load the modules from there, and the kubelet makes that folder for root. All else is as for "
    "`restricted`: no capability, no way to more, a read-only file system, the runtime's seccomp profile.",
    "Deployment": "Two: a Lease decides which one works, and the other takes over within seconds, without waiting for "
    "a node or an image. It keeps to the Pod Security level `restricted`.",
    "Lease": "Held by nobody. Where it is missing an operator waits before it makes one: somebody may have deleted "
    "that of an operator which still works.",
    "ClusterRole wasme-cache": "The original's agents might create Events everywhere. Ours may not: what they need "
    "stands in the Role. The name stays so that applying this over the original's takes its right away.",
}


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """One operator and its node cache.

    Attributes:
        cache: its namespace is the operator's, its image too.
        replicas: pods of the operator.
        log_level: of the operator.
        registry_map: a registry's name → where its traffic goes, for the cache's ConfigMap.
        registries: patterns of those that FilterDeployments may name; none for all.

    Raises:
        InputError: no number of replicas, or no level.
        UsageError: no pattern of a registry's name.
    """

    cache: CacheOptions = field(default_factory=CacheOptions)
    replicas: int = REPLICAS
    log_level: str = "debug"
    registry_map: Mapping[str, str] = field(default_factory=dict)
    registries: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Allowed(self.registries)
        if not 0 <= self.replicas <= 100:
            raise InputError(f"--replicas: {self.replicas} is not from 0 to 100", hint="2 is what it takes")
        if self.log_level not in _LEVELS:
            raise InputError(f"--log-level: {self.log_level[:100]!r} is none of {', '.join(_LEVELS)}")

    @property
    def namespace(self) -> str:
        """Of all objects."""
        return self.cache.namespace


def split_image(image: str) -> tuple[str, str]:
    """``NAME[:TAG|@DIGEST]`` as repository and tag; a digest stays with the repository."""
    found = re.fullmatch(r"([^@]+):([^:/@]+)", image)
    return (found[1], found[2]) if found else (image, "")


def crds() -> list[Object]:
    """The definition of FilterDeployment."""
    from wasme.operator.resources.schema import crd

    return [crd()]


def objects(options: OperatorOptions) -> list[Object]:
    """Everything but the definition, in the order in which it must be made.

    Raises:
        CacheError: the image cannot be used.
    """
    namespace, *cache = cache_manifests.objects(options.cache, options.registry_map)
    return [namespace, *accounts(options), *cache, *empty_role(options), *_pods(options)]


def _pods(options: OperatorOptions) -> list[Object]:
    return [lease(options), disruption_budget(options), deployment(options)]


def accounts(options: OperatorOptions) -> list[Object]:
    """The operator's ServiceAccount and what it may do."""
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": options.namespace}
    named = {"apiGroup": _RBAC, "name": NAME}
    v1 = f"{_RBAC}/v1"
    return [
        _object(options, "v1", "ServiceAccount"),
        _object(options, v1, "ClusterRole", namespaced=False) | {"rules": rights.rules(rights.CLUSTER)},
        _object(options, v1, "ClusterRoleBinding", namespaced=False)
        | {"subjects": [subject], "roleRef": {**named, "kind": "ClusterRole"}},
        _object(options, v1, "Role") | {"rules": rights.rules(rights.own(options.cache.name))},
        _object(options, v1, "RoleBinding") | {"subjects": [subject], "roleRef": {**named, "kind": "Role"}},
    ]


def empty_role(options: OperatorOptions) -> list[Object]:
    """The original's ClusterRole of the agents and its binding, under their names, and without any right."""
    name = options.cache.name
    labels = {"app": name, protocol.MANAGED_BY_LABEL: protocol.MANAGER, "app.kubernetes.io/name": "wasme-cache"}
    metadata = {"name": name, "labels": labels}
    return [
        {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": []},
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": options.namespace}],
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        },
    ]


def lease(options: OperatorOptions) -> Object:
    """The lease, held by nobody yet."""
    return _object(options, "coordination.k8s.io/v1", "Lease")


def disruption_budget(options: OperatorOptions) -> Object:
    """Nodes that are drained take one pod at a time."""
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": NAME}}}
    return _object(options, "policy/v1", "PodDisruptionBudget") | {"spec": spec}


def deployment(options: OperatorOptions) -> Object:
    """The operator's pods."""
    made = _object(options, "apps/v1", "Deployment")
    return made | {
        "spec": {
            "replicas": options.replicas,
            # The original's, which nobody can change: so its Deployment is taken over, and never away.
            "selector": {"matchLabels": {"app": NAME}},
            "template": {
                "metadata": {
                    "labels": {
                        "app": NAME,
                        "app.kubernetes.io/name": NAME,
                        protocol.MANAGED_BY_LABEL: protocol.MANAGER,
                        # It must work while no proxy does.
                        "sidecar.istio.io/inject": "false",
                    },
                    "annotations": {
                        "prometheus.io/path": "/metrics",
                        "prometheus.io/port": str(PORT),
                        "prometheus.io/scrape": "true",
                    },
                },
                "spec": _pod(options),
            },
        }
    }


def arguments(options: OperatorOptions) -> list[str]:
    """What the operator is started with."""
    args = ["operator", f"--log-level={options.log_level}"]
    if options.cache.name != protocol.NAME:
        args.append(f"--cache-name={options.cache.name}")
    if options.namespace != protocol.NAMESPACE:
        args.append(f"--cache-namespace={options.namespace}")
    if options.registries:
        args.append(f"--registries={','.join(options.registries)}")
    return args


def _pod(options: OperatorOptions) -> Object:
    return {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": ENDING,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Where there are several nodes no single one takes both away.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {"app": NAME}},
            }
        ],
        "containers": [_container(options)],
    }


def _container(options: OperatorOptions) -> Object:
    def probe(path: str) -> Object:
        return {"httpGet": {"path": path, "port": "metrics"}, "timeoutSeconds": 5}

    def of_the_pod(name: str, path: str) -> Object:
        return {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}

    return {
        "name": NAME,
        "image": options.cache.image,
        "imagePullPolicy": options.cache.pull_policy,
        "args": arguments(options),
        "env": [
            of_the_pod("POD_NAME", "metadata.name"),
            of_the_pod("POD_NAMESPACE", "metadata.namespace"),
            # Each thread would have an arena of the C library's own, which keeps what was freed.
            {"name": "MALLOC_ARENA_MAX", "value": "2"},
        ],
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "livenessProbe": probe("/healthz") | {"initialDelaySeconds": 10, "periodSeconds": 20},
        "readinessProbe": probe("/readyz") | {"periodSeconds": 5},
        # The requests are the original's.
        "resources": {"requests": {"cpu": "125m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _object(options: OperatorOptions, api_version: str, kind: str, *, namespaced: bool = True) -> Object:
    labels = {
        "app": NAME,
        protocol.MANAGED_BY_LABEL: protocol.MANAGER,
        "app.kubernetes.io/name": NAME,
        "app.kubernetes.io/version": __version__,
    }
    metadata: Object = {"name": NAME, "labels": labels}
    if namespaced:
        metadata["namespace"] = options.namespace
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def as_text(found: Sequence[Object], options: OperatorOptions) -> str:
    """YAML documents, with the reason of what is not obvious above each, and above each right."""
    return "".join(f"---\n{_document(each, options)}" for each in found)


def _document(obj: Object, options: OperatorOptions) -> str:
    kind, name = obj["kind"], obj["metadata"]["name"]
    why = _WHY.get(f"{kind} {name}") or _WHY.get(kind, "")
    words = {"namespace": options.namespace, "cache": options.cache.name, "folder": protocol.DIRECTORY}
    text = "".join(f"# {line}\n" for line in _wrapped(why.format(**words)))
    table = {"ClusterRole": rights.CLUSTER, "Role": rights.own(options.cache.name)}.get(kind, ())
    if name != NAME or not table:
        return text + plain_text(obj)
    bare = {key: value for key, value in obj.items() if key != "rules"}
    return f"{text}{plain_text(bare)}rules:\n{rights.as_text(table)}"


def _wrapped(text: str) -> Iterable[str]:
    import textwrap

    return textwrap.wrap(text, 117, break_long_words=False, break_on_hyphens=False)


def plain_text(value: object) -> str:
    """A value as one YAML document, without any reasons."""
    import yaml

    # Copied, so that what several places share is written out in each.
    plain = msgspec.json.decode(msgspec.json.encode(value))
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(plain, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    return text
