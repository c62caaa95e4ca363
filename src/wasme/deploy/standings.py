"""Filters in the gateways of Gloo and Envoy Gateway, as ``status`` tells them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GLOO_GATEWAY, Kind
from wasme.deploy.envoy_gateway import policy as policies
from wasme.deploy.envoy_gateway.standing import standing
from wasme.deploy.gloo import gateway as gateways
from wasme.deploy.gloo.standing import standing as gloo_standing
from wasme.errors import ObjectRefused


class GatewayState(msgspec.Struct, frozen=True, rename="camel"):
    """One filter in one gateway.

    Attributes:
        id: of the filter.
        namespace: of the object.
        object: what carries it, ``Gateway/gateway-proxy``.
        image: as the object names it.
        state: ``ready``, ``pending`` or ``failed``, as the gateway's own controller says.
        reasons: why it is not ready, or what it remarks.
    """

    id: str
    namespace: str
    object: str
    image: str
    state: str
    reasons: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """The controller has taken it."""
        return self.state == "ready"


def look(cluster: Cluster, namespace: str | None, filter_id: str) -> list[GatewayState]:
    """Filters in gateways, by namespace and id; kinds that are not served have none.

    Args:
        cluster: which.
        namespace: where; None for everywhere.
        filter_id: only this one; "" for all.

    Raises:
        ClusterError: they cannot be read.
    """
    served = cluster.served()
    found: list[GatewayState] = []
    for kind, states in ((GLOO_GATEWAY, of_gloo), (ENVOY_EXTENSION_POLICY, of_envoy_gateway)):
        if served.has(kind):
            found += [each for obj in cluster.list(kind, namespace) for each in states(obj, kind)]
    return sorted(
        (each for each in found if filter_id in ("", each.id)), key=lambda each: (each.namespace, each.id, each.object)
    )


def of_gloo(gateway: dict[str, Any], kind: Kind = GLOO_GATEWAY) -> Iterator[GatewayState]:
    """The filters of one Gateway of Gloo; who put them there cannot be told, so all of them."""
    meta = gateway["metadata"]
    where = f"{kind.kind}/{meta['name']}"
    try:
        entries = gateways.filters(gateway)
    except ObjectRefused as error:
        yield GatewayState("", meta["namespace"], where, "", "failed", (error.message,))
        return
    if entries:
        state, reason = gloo_standing(gateway)
        reasons = (reason,) if reason else ()
        for entry in entries:
            name, image = str(entry.get("name", "")), str(entry.get("image", ""))
            yield GatewayState(name, meta["namespace"], where, image, state, reasons)


def of_envoy_gateway(policy: dict[str, Any], kind: Kind = ENVOY_EXTENSION_POLICY) -> Iterator[GatewayState]:
    """The filters of one policy that wasme put there."""
    meta = policy["metadata"]
    phase, message = standing(policy)
    for name, told in policies.told(policy).items():
        image = told.get("image", "")
        reasons = (message,) if message else ()
        yield GatewayState(name, meta["namespace"], f"{kind.kind}/{meta['name']}", image, phase, reasons)
