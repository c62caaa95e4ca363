"""What the Envoy Gateway in a cluster can do: its CRD, its classes and its proxies."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GATEWAY_CLASS, POD
from wasme.deploy.envoy_gateway.policy import Entry
from wasme.deploy.gateways import readable_schema, versions_of
from wasme.errors import ClusterForbidden, NotServed

log = logging.getLogger(__name__)

CONTROLLERS = "gateway.envoyproxy.io/"
"""How the controller names of Envoy Gateway's GatewayClasses begin, unless its configuration says otherwise."""
_OWNER = "gateway.envoyproxy.io/owning-gateway-"


def require_fields(cluster: Cluster, entry: Entry) -> None:
    """Refuse what the served CRD has no field for; who may not read CRDs is told by what the server stores.

    Raises:
        NotServed: no Envoy Gateway, no Wasm filters in its policies, or not with these settings.
    """
    schema = readable_schema(cluster, ENVOY_EXTENSION_POLICY)
    if schema is None:
        return
    missing = [path for path in _paths(entry, "spec.wasm") if not schema.has(path)]
    if missing:
        raise NotServed(
            f"the policies of this Envoy Gateway have no {missing[0]}: {ENVOY_EXTENSION_POLICY.resource} "
            "has no such field",
            hint="install a newer Envoy Gateway with its CRDs, or go without",
        )


def _paths(value: Mapping[str, Any], above: str) -> Iterable[str]:
    """The fields of an entry down to its leaves; what stands in ``config`` is the filter's own."""
    yield above
    for name, each in value.items():
        path = f"{above}.{name}"
        if isinstance(each, dict) and name != "config":
            yield from _paths(each, path)
        else:
            yield path


def controller(cluster: Cluster, gateway: Mapping[str, Any]) -> str:
    """The controller of a Gateway's class; "" where it cannot be told."""
    name = str((gateway.get("spec") or {}).get("gatewayClassName", ""))
    try:
        found = cluster.get(GATEWAY_CLASS, name) if name else None
    except (ClusterForbidden, NotServed) as error:
        log.debug("cannot read GatewayClass %s", name, extra={"fields": {"reason": error.message}})
        return ""
    return str((found.get("spec") or {}).get("controllerName", "")) if found else ""


def proxies(cluster: Cluster, gateways: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The versions of Envoy in the Gateways' Pods, each with a Pod; empty where they cannot be seen."""
    found: dict[str, str] = {}
    for namespace, name in gateways:
        try:
            pods = cluster.list(POD, None, labels=f"{_OWNER}name={name},{_OWNER}namespace={namespace}")
        except ClusterForbidden as error:
            log.debug("cannot see the proxies of Envoy Gateway", extra={"fields": {"reason": error.message}})
            return found
        found.update(versions_of(pods, ("envoy",)))
    return found
