"""The objects that filters are attached to with ``--target``: whether they are there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from wasme.deploy.cluster import Cluster, Kind
from wasme.deploy.cluster.kinds import GATEWAY, GATEWAY_CLASS, SERVICE
from wasme.errors import ClusterForbidden

log = logging.getLogger(__name__)

Target = tuple[str, str, str]
"""Namespace of the filter's object, and the target's kind and name."""

_ISTIO = "networking.istio.io"
VERSIONS: Mapping[str, tuple[Kind, ...]] = {
    "Gateway": (GATEWAY, Kind(GATEWAY.group, "v1beta1", GATEWAY.kind, GATEWAY.plural)),
    "GatewayClass": (
        GATEWAY_CLASS,
        Kind(GATEWAY.group, "v1beta1", GATEWAY_CLASS.kind, GATEWAY_CLASS.plural, namespaced=False),
    ),
    "Service": (SERVICE,),
    "ServiceEntry": tuple(
        Kind(_ISTIO, version, "ServiceEntry", "serviceentries") for version in ("v1", "v1beta1", "v1alpha3")
    ),
}
"""What Istio attaches a filter to, the newest version first."""


def targets_of(obj: Mapping[str, Any]) -> Iterator[Target]:
    """What an object is attached to."""
    namespace = str(obj["metadata"]["namespace"])
    for each in (obj.get("spec") or {}).get("targetRefs") or ():
        yield namespace, str(each.get("kind", "")), str(each.get("name", ""))


def missing(cluster: Cluster, targets: Iterable[Target]) -> frozenset[Target]:
    """Those that are not there; one that may not be read, or is of a kind that nobody knows, counts as there.

    Raises:
        ClusterError: the API server did not answer.
    """
    served = cluster.served()
    found: set[Target] = set()
    for target in dict.fromkeys(targets):
        namespace, name, called = target
        versions = VERSIONS.get(name, ())
        kind = next(filter(served.has, versions), None)
        try:
            if versions and (kind is None or cluster.get(kind, called, namespace if kind.namespaced else "") is None):
                found.add(target)
        except ClusterForbidden as error:
            log.warning("a filter's target may not be read", extra={"fields": {"reason": error.message}})
    return frozenset(found)
