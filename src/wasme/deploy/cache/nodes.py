"""Which nodes must hold an image: those that are ready and run pods of the selected workloads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from typing import Any

from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import ClusterForbidden

log = logging.getLogger(__name__)

_FEW = 20  # nodes that are cheaper to read one by one than in a list of all

Object = dict[str, Any]
Selector = tuple[str, Mapping[str, Any]]
"""A namespace, and a LabelSelector: ``matchLabels`` and ``matchExpressions``."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The nodes that run selected pods.

    Attributes:
        ready: those that are waited for.
        not_ready: those that are not: their kubelet is silent, or they are gone.
    """

    ready: frozenset[str] = frozenset()
    not_ready: frozenset[str] = frozenset()


def target_nodes(cluster: Cluster, selectors: Iterable[Selector]) -> Targets:
    """The nodes of all pods that are selected and have not ended.

    Raises:
        ClusterForbidden: pods may not be listed. Where nodes may not be read, all count as ready, which is told.
    """
    names = _nodes_of_pods(cluster, selectors)
    try:
        ready = ready_among(cluster, names)
    except ClusterForbidden as error:
        fields = {"reason": error.message}
        log.warning("nodes may not be read, so each one counts as ready", extra={"fields": fields})
        return Targets(names)
    return Targets(ready, names - ready)


def later_nodes(cluster: Cluster, selectors: Iterable[Selector], before: Targets) -> Targets:
    """The nodes to which selected pods came, or which became ready, since ``before`` was read.

    Raises:
        ClusterForbidden: pods may not be listed.
    """
    names = _nodes_of_pods(cluster, selectors) - before.ready
    try:
        ready = ready_among(cluster, names)
    except ClusterForbidden:  # which was told the first time
        return Targets(names)
    return Targets(ready, names - ready - before.not_ready)


def _nodes_of_pods(cluster: Cluster, selectors: Iterable[Selector]) -> frozenset[str]:
    by_namespace: dict[str, list[Mapping[str, Any]]] = {}
    for namespace, selector in selectors:
        by_namespace.setdefault(namespace, []).append(selector)
    names: set[str] = set()
    for namespace, wanted in by_namespace.items():
        choose = _Chooser(wanted)
        for pod in cluster.list(kinds.POD, namespace, labels=_equalities(wanted)):
            node = pod["spec"].get("nodeName")
            if node and node not in names and _runs(pod) and choose(pod["metadata"].get("labels") or {}):
                names.add(node)
    return frozenset(names)


def ready_among(cluster: Cluster, names: Set[str]) -> frozenset[str]:
    """Those of some nodes that are there and ready.

    Raises:
        ClusterForbidden: nodes may not be read.
    """
    if len(names) > _FEW:
        found = cluster.list(kinds.NODE)
    else:
        found = [node for name in sorted(names) if (node := cluster.get(kinds.NODE, name)) is not None]
    return frozenset(node["metadata"]["name"] for node in found if is_ready(node)) & names


def is_ready(node: Object) -> bool:
    """Whether a node's kubelet says, and the control plane still believes, that pods can run there."""
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects labels; an empty one selects all
    (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/).
    """
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(each, labels) for each in selector.get("matchExpressions") or ())


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _equalities(selectors: list[Mapping[str, Any]]) -> str:
    """What the API server can select for us: the labels of a selector that stands alone."""
    if len(selectors) != 1:
        return ""
    return ",".join(f"{key}={value}" for key, value in sorted((selectors[0].get("matchLabels") or {}).items()))


class _Chooser:
    """Whether any of many selectors selects labels: each is looked at only where its rarest label is."""

    def __init__(self, selectors: list[Mapping[str, Any]]) -> None:
        pairs = [list((each.get("matchLabels") or {}).items()) for each in selectors]
        shared = Counter(pair for each in pairs for pair in each)
        self._by_pair: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        self._others = [each for each, own in zip(selectors, pairs, strict=True) if not own]
        for each, own in zip(selectors, pairs, strict=True):
            if own:
                self._by_pair.setdefault(min(own, key=shared.__getitem__), []).append(each)

    def __call__(self, labels: Mapping[str, str]) -> bool:
        found = (each for pair in labels.items() for each in self._by_pair.get(pair, ()))
        return any(selects(each, labels) for each in chain(self._others, found))


def _runs(pod: Object) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed")
