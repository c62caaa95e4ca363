"""Where a filter runs: node by node, whether the module is there, and whether object and pods fit together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from wasme.deploy.istio.annotations import CACHE_DIRECTORY
from wasme.deploy.istio.existing import Carrier, needs_volume, selector_of, uses_cache
from wasme.deploy.istio.snapshot import Object, Snapshot
from wasme.deploy.istio.sought import PROXY
from wasme.deploy.istio.template import has_cache_volume
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.probe.verdict import Verdict
from wasme.errors import InputError

Known = Literal["yes", "no", "unknown", ""]
"""``""``: it does not apply."""
_GATEWAY = "gateway.networking.k8s.io/gateway-name"
"""The label of the pods that Istio runs for a Gateway."""


class PodState(msgspec.Struct, frozen=True, rename="camel"):
    """One pod.

    Attributes:
        name: its name.
        ready: Kubernetes calls it ready.
        programmed: the filter's object selects it, and it can see the module.
        running: what its proxy says, where it was asked: a word of ``probe.verdict``; else "".
        reasons: what is wrong with it.
        remarks: what is worth knowing, though nothing is wrong.
    """

    name: str
    ready: bool
    programmed: bool
    running: str = ""
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, rename="camel"):
    """One node on which pods of the workload are.

    Attributes:
        node: its name; "" for pods that no node has taken yet.
        ready: whether it is.
        cached: whether its cache holds the module; "" where it need not.
        pods: those of the workload there.
        reasons: what is wrong there.
    """

    node: str
    ready: Known
    cached: Known
    pods: tuple[PodState, ...]
    reasons: tuple[str, ...] = ()


def places_of(
    snapshot: Snapshot,
    carrier: Carrier,
    workload: Workload | None,
    digest: str,
    verdicts: Mapping[tuple[str, str, str], Verdict],
) -> Iterator[Place]:
    """Node by node, whether module, object and pods of one filter fit together.

    Args:
        snapshot: of the cluster.
        carrier: what carries the filter.
        workload: that it was made for; None for one with targets, or whose workload is gone.
        digest: of its module.
        verdicts: what proxies said, by uid of the carrier, namespace and name of the pod.
    """
    by_node: dict[str, list[Object]] = {}
    for pod in pods_of(snapshot, carrier, workload):
        by_node.setdefault(pod.get("spec", {}).get("nodeName", ""), []).append(pod)
    for node, pods in sorted(by_node.items()):
        states_there = [
            _pod(carrier, workload, pod, verdicts.get((carrier.uid, carrier.namespace, pod["metadata"]["name"])))
            for pod in sorted(pods, key=lambda each: each["metadata"]["name"])
        ]
        ready: Known = "unknown"
        reasons = []
        if snapshot.nodes is not None and node:
            ready = "yes" if snapshot.nodes.get(node) else "no"
            if ready == "no":
                reasons.append("the node is not ready" if node in snapshot.nodes else "the node is gone")
        cached, why = _cached(snapshot, carrier, node, digest)
        yield Place(node, ready, cached, tuple(states_there), (*reasons, *why))


def pods_of(snapshot: Snapshot, carrier: Carrier, workload: Workload | None) -> Sequence[Object]:
    """The pods whose proxies get the filter: the workload's, or those that Istio runs for Gateways it is attached to,
    waypoints included. Those behind other targets are for the mesh to know.
    """
    if workload is not None:
        return snapshot.pods_of(workload)
    refs = (carrier.object.get("spec") or {}).get("targetRefs") or ()
    names = {each.get("name") for each in refs if each.get("kind") == "Gateway"}
    return [
        pod
        for pod in (snapshot.pods if names else ())
        if pod["metadata"]["namespace"] == carrier.namespace
        and (pod["metadata"].get("labels") or {}).get(_GATEWAY) in names
    ]


def _cached(snapshot: Snapshot, carrier: Carrier, node: str, digest: str) -> tuple[Known, Sequence[str]]:
    if not uses_cache(carrier.object) or not node:
        return "", ()
    if snapshot.holdings is None:
        return "unknown", ()
    status = snapshot.holdings.get(node)
    if status is None:
        return "unknown", ["the node's cache has told nothing: wasme cache status"]
    if status.holds(digest):
        return "yes", ()
    errors = [each.error for each in status.images if each.error and each.module in (digest, "")]
    return "no", [f"the node does not hold the module{f': {errors[0]}' if errors else ''}"]


def _pod(carrier: Carrier, workload: Workload | None, pod: Object, verdict: Verdict | None) -> PodState:
    meta, spec = pod["metadata"], pod.get("spec") or {}
    labels = meta.get("labels") or {}
    conditions = (pod.get("status") or {}).get("conditions") or ()
    ready = any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)
    reasons = []
    missing = {key: value for key, value in selector_of(carrier.object).items() if labels.get(key) != value}
    cached = uses_cache(carrier.object)
    sees = not needs_volume(carrier.object) or _has_volume(spec, cached=cached)
    if not sees:
        if not cached and not missing and any(key.startswith("wasme.io/wasme-") for key in labels):
            reasons.append(
                "the pod was made without its image volume, which this cluster knows not: use the node cache"
            )
        elif workload is not None and _gives_volume(workload, cached=cached):
            reasons.append("pod started before the filter's volume: restart it")
        else:
            reasons.append("the workload's template has lost the filter's volume: deploy again")
    elif missing:
        words = ", ".join(f"{key}={value}" for key, value in sorted(missing.items()))
        if workload is not None and missing.items() <= _template_labels(workload).items():
            reasons.append(f"pod started before its workload's pods had {words}: restart it")
        else:
            reasons.append(f"the filter selects pods with {words}, which this one has not: deploy again")
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    proxied = any(each.get("name") == PROXY for each in containers)
    if not proxied:
        reasons.append("the pod has no proxy of the mesh: is injection on for its namespace?")
    if not ready:
        reasons.append("the pod is not ready")
    if verdict is not None and not verdict.well:
        reasons.append(f"its proxy: {verdict}")
    running = "" if verdict is None else verdict.state
    remarks = (f"its proxy: {verdict.reason}",) if verdict is not None and verdict.well and verdict.reason else ()
    return PodState(meta["name"], ready, sees and not missing and proxied, running, tuple(reasons), remarks)


def _has_volume(spec: Mapping[str, Any], *, cached: bool) -> bool:
    """Whether a pod has the node cache's folder, or else an image, as a volume."""
    volumes: Sequence[Mapping[str, Any]] = spec.get("volumes") or ()
    return any(
        (each.get("hostPath") or {}).get("path") == CACHE_DIRECTORY
        if cached
        else "image" in each and str(each.get("name", "")).startswith("wasme-")
        for each in volumes
    )


def _gives_volume(workload: Workload, *, cached: bool) -> bool:
    if not cached:
        return any(key.startswith("wasme.io/wasme-") for key in _template_labels(workload))
    try:
        return has_cache_volume(workload)
    except InputError:
        return False


def _template_labels(workload: Workload) -> Mapping[str, str]:
    try:
        return workload.template_labels
    except InputError:
        return {}
