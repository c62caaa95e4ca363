"""The namespaces of workloads: whether they take anything new, and whether pods in them may have a node's folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import NAMESPACE
from wasme.errors import ClusterForbidden, DeployFailed

Object = Mapping[str, Any]

_SECURITY = "pod-security.kubernetes.io/enforce"
_DATAPLANE = "istio.io/dataplane-mode"


def read(cluster: Cluster, names: Iterable[str]) -> list[Object]:
    """The namespaces; those that one may not read are left out.

    The first write into a namespace that is ending is refused anyway; here it is told before.

    Raises:
        DeployFailed: one is not there, or is being deleted.
    """
    found: list[Object] = []
    for name in names:
        try:
            namespace = cluster.get(NAMESPACE, name, "")
        except ClusterForbidden:
            continue
        if namespace is None:
            raise DeployFailed(f"there is no namespace {name}", hint=_similar(cluster, name))
        require_staying(namespace)
        found.append(namespace)
    return found


def require_staying(namespace: Object) -> None:
    """Refuse a namespace that takes nothing new.

    Raises:
        DeployFailed: it is being deleted.
    """
    metadata = namespace["metadata"]
    if metadata.get("deletionTimestamp") or (namespace.get("status") or {}).get("phase") == "Terminating":
        raise DeployFailed(f"the namespace {metadata['name']} is being deleted and takes nothing new")


def require_host_paths(namespaces: Sequence[Object]) -> None:
    """Refuse the node cache where pods with a folder of the node are not admitted: no pod would start any more.

    Kubernetes' Pod Security Standards ``baseline`` and ``restricted`` forbid hostPath volumes
    (https://kubernetes.io/docs/concepts/security/pod-security-standards/).

    Raises:
        DeployFailed: a namespace enforces one of them.
    """
    for each in namespaces:
        level = (each["metadata"].get("labels") or {}).get(_SECURITY, "")
        if level in ("baseline", "restricted"):
            raise DeployFailed(
                f"the namespace {each['metadata']['name']} enforces the Pod Security Standard {level}, which forbids "
                "the node cache's folder: no pod with it would start",
                hint="--cache-mode image-volume or none, or --as wasmplugin, does without that folder",
            )


def is_ambient(namespace: Object) -> bool:
    """Whether a namespace is in ambient mode, where pods have no sidecar for the filter."""
    labels = namespace["metadata"].get("labels") or {}
    return bool(labels.get(_DATAPLANE) == "ambient")


def _similar(cluster: Cluster, name: str) -> str | None:
    try:
        names = [each["metadata"]["name"] for each in cluster.list(NAMESPACE, None)]
    except ClusterForbidden:
        return None
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"similar names: {', '.join(close)}" if close else None
