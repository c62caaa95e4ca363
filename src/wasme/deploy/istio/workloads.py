"""The workloads a filter is for: which ones are meant, and what must be known of each.

``--labels`` are looked for on the workload object itself, as the original did (not on its pods); the filter's selector
takes the labels of the pod template.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from wasme.deploy.cache.nodes import selects
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import DAEMON_SET, DEPLOYMENT, STATEFUL_SET, Kind
from wasme.deploy.cluster.selectors import label_selector
from wasme.deploy.istio import namespaces
from wasme.errors import ClusterForbidden, DeployFailed, UsageError

log = logging.getLogger(__name__)

KINDS: Mapping[str, Kind] = {"deployment": DEPLOYMENT, "daemonset": DAEMON_SET, "statefulset": STATEFUL_SET}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which workloads are meant.

    Attributes:
        namespaces: where; at least one.
        kind: of which kind.
        labels: on the workload object itself; none for all.
        name: exactly this one; "" for all.
    """

    namespaces: tuple[str, ...]
    kind: Kind = DEPLOYMENT
    labels: Mapping[str, str] = field(default_factory=dict)
    name: str = ""

    @property
    def label_selector(self) -> str:
        """As the API server takes it."""
        return label_selector(self.labels)

    def __str__(self) -> str:
        """In words: ``Deployment with the labels app=productpage in the namespace istio``."""
        parts = [f"{self.kind.kind} {self.name}" if self.name else self.kind.kind]
        if self.labels:
            parts.append(f"with the labels {self.label_selector}")
        many = "namespaces" if len(self.namespaces) > 1 else "namespace"
        return f"{' '.join(parts)} in the {many} {', '.join(self.namespaces)}"


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload as the API server has it.

    Attributes:
        kind: of it.
        object: the whole of it.
    """

    kind: Kind
    object: dict[str, Any]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.object["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.object["metadata"]["name"])

    @property
    def key(self) -> str:
        """``Deployment/productpage-v1``, as annotations name it."""
        return f"{self.kind.kind}/{self.name}"

    @property
    def uid(self) -> str:
        """Of this very object, not of a later one by the same name."""
        return str(self.object["metadata"].get("uid", ""))

    @property
    def resource_version(self) -> str:
        """Of the state that was read."""
        return str(self.object["metadata"].get("resourceVersion", ""))

    @property
    def labels(self) -> dict[str, str]:
        """Of the workload object itself."""
        return dict(self.object["metadata"].get("labels") or {})

    @property
    def terminating(self) -> bool:
        """It is being deleted."""
        return bool(self.object["metadata"].get("deletionTimestamp"))

    @property
    def template_labels(self) -> dict[str, str]:
        """Of its pods."""
        return dict(self._template_metadata.get("labels") or {})

    @property
    def template_annotations(self) -> dict[str, str]:
        """Of its pods."""
        return dict(self._template_metadata.get("annotations") or {})

    @property
    def pod_selector(self) -> Mapping[str, Any]:
        """The LabelSelector of its pods."""
        found: Mapping[str, Any] = self.object.get("spec", {}).get("selector") or {}
        return found

    @property
    def selector_labels(self) -> dict[str, str]:
        """``matchLabels`` of its selector."""
        return dict(self.pod_selector.get("matchLabels") or {})

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether a pod with these labels is one of its own."""
        return bool(self.pod_selector) and selects(self.pod_selector, labels)

    @property
    def _template_metadata(self) -> Mapping[str, Any]:
        return self.object.get("spec", {}).get("template", {}).get("metadata") or {}


def kind_named(word: str) -> Kind:
    """The kind that ``--workload-type`` names, in any case.

    Raises:
        UsageError: it is none of them.
    """
    found = KINDS.get(word.lower())
    if found is None:
        raise UsageError(
            f"unknown workload type {word}, must be deployment or daemonset",
            hint="--workload-type takes deployment, daemonset or statefulset",
        )
    return found


def find(cluster: Cluster, selection: Selection) -> list[Workload]:
    """The workloads that are meant, by namespace and name, those left out that are being deleted.

    Raises:
        DeployFailed: there is none; the message names what was looked for, the hint what there is.
        ClusterError: they cannot be read.
    """
    found = [each for namespace in selection.namespaces for each in read(cluster, selection, namespace)]
    living = [each for each in found if not each.terminating]
    for each in found:
        if each.terminating:
            log.warning("workload is being deleted, leaving it out", extra={"fields": {"workload": each.name}})
    if not living:
        raise _none_found(cluster, selection, being_deleted=len(found))
    if selection.name and len(living) < len(selection.namespaces):
        there = {each.namespace for each in living}
        missing = [each for each in selection.namespaces if each not in there]
        raise DeployFailed(
            f"no {selection.kind.kind} {selection.name} in the namespace {missing[0]}",
            hint=f"it is in {', '.join(sorted(there))}; leave the other out of --namespaces",
        )
    return living


def read(cluster: Cluster, selection: Selection, namespace: str) -> list[Workload]:
    """The workloads of one namespace that are meant, in the order of their names; maybe none."""
    fields = f"metadata.name={selection.name}" if selection.name else ""
    objects = cluster.list(selection.kind, namespace, labels=selection.label_selector, fields=fields)
    return sorted((Workload(selection.kind, each) for each in objects), key=lambda each: each.name)


def go_map(labels: Mapping[str, str]) -> str:
    """A map as Go prints it: ``map[app:productpage]``."""
    return "map[" + " ".join(f"{key}:{value}" for key, value in sorted(labels.items())) + "]"


def _none_found(cluster: Cluster, selection: Selection, *, being_deleted: int) -> DeployFailed:
    if being_deleted:
        return DeployFailed(f"every {selection} is being deleted", hint="deploy again when its successor is there")
    namespaces.read(cluster, selection.namespaces)
    everything = Selection(selection.namespaces, selection.kind)
    there = [each for namespace in selection.namespaces for each in read(cluster, everything, namespace)]
    return DeployFailed(f"found no {selection}", hint=_hint(cluster, selection, there))


def _hint(cluster: Cluster, selection: Selection, there: Sequence[Workload]) -> str:
    """What there is instead."""
    names = [each.name for each in there]
    if selection.name and names:
        close = get_close_matches(selection.name, names, n=3, cutoff=0.5) or names[:5]
        return f"similar names there: {', '.join(close)}" if selection.name not in names else "its labels are others"
    if names:
        on_pods = [
            each for each in there
            if all(each.template_labels.get(key) == value for key, value in selection.labels.items())
        ]  # fmt: skip
        if on_pods:
            return (
                f"--labels are looked for on the {selection.kind.kind} itself, and only the pods of "
                f"{', '.join(each.name for each in on_pods[:5])} have them; try --name={on_pods[0].name}"
            )
        shown = [f"{each.name} ({_labels(each)})" for each in there[:5]]
        return f"what is there: {', '.join(shown)}{' and more' if len(there) > 5 else ''}"
    others = [
        kind.kind.lower() for kind in KINDS.values()
        if kind is not selection.kind and any(_try(cluster, kind, each) for each in selection.namespaces)
    ]  # fmt: skip
    if others:
        return f"there is no {selection.kind.kind} at all; --workload-type={others[0]} would find some"
    return "there is no workload at all; --namespace names another place"


def _try(cluster: Cluster, kind: Kind, namespace: str) -> bool:
    """Whether there are any, as far as one may know."""
    try:
        return bool(cluster.list(kind, namespace))
    except ClusterForbidden:
        return False


def _labels(workload: Workload) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(workload.labels.items())) or "no labels"
