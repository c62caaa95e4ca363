"""What an object reaches from the namespace that it lies in: targets that must be there, and pods of everywhere."""

from __future__ import annotations

import logging
from difflib import get_close_matches

from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.status_targets import VERSIONS
from wasme.deploy.istio.target import TargetRef
from wasme.errors import ClusterForbidden, DeployFailed, InputError

log = logging.getLogger(__name__)


def require_targets(cluster: Cluster, order: Order) -> None:
    """Refuse a target that is not there; one that may not be looked at, or whose kind is not served, is believed.

    Raises:
        DeployFailed: it is not there; the hint has similar names.
        InputError: it is a GatewayClass, and the filter is not for Istio's own namespace.
        ClusterError: the API server did not answer.
    """
    for target in order.target.target_refs:
        kind = _served(cluster, target)
        for namespace in order.selection.namespaces:
            if target.kind == "GatewayClass" and namespace != order.mesh.namespace:
                raise InputError(
                    f"Istio heeds a filter for GatewayClass/{target.name} only in its own namespace, "
                    f"{order.mesh.namespace}, and not in {namespace}",
                    hint=f"--namespace {order.mesh.namespace}; or --target Gateway/NAME for one in {namespace}",
                )
            if kind is not None:
                _require_there(cluster, kind, target.name, namespace if kind.namespaced else "")


def _served(cluster: Cluster, target: TargetRef) -> Kind | None:
    served = cluster.served()
    versions = VERSIONS.get(target.kind, ())
    kind = next(filter(served.has, versions), None)
    if kind is None and versions:
        fields = {"target": f"{target.kind}/{target.name}", "crd": versions[0].resource}
        log.warning("the API server does not serve the kind of the target, so the filter runs nowhere until it does",
                    extra={"fields": fields})  # fmt: skip
    return kind


def _require_there(cluster: Cluster, kind: Kind, name: str, namespace: str) -> None:
    try:
        if cluster.get(kind, name, namespace) is not None:
            return
        names = [str(each["metadata"]["name"]) for each in cluster.list(kind, namespace)]
    except ClusterForbidden as error:
        log.debug("the target may not be looked at", extra={"fields": {"target": name, "reason": error.message}})
        return
    where = f" in the namespace {namespace}" if namespace else ""
    close = get_close_matches(name, names, n=3, cutoff=0.5) or sorted(names)[:5]
    raise DeployFailed(
        f"there is no {kind.kind} {name}{where}",
        hint=f"similar names there: {', '.join(close)}" if close else f"there is no {kind.kind} at all{where}",
    )
