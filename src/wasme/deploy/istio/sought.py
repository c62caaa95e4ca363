"""What to look for in a proxy, from the object that carries a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.deploy.probe.evidence import Sought
from wasme.deploy.probe.pods import Asked

_TRANSLATED = "~istio-translated-wasmplugin"
PROXY = "istio-proxy"
"""The container that is a proxy of the mesh, in sidecars and gateways alike."""


def sought(carrier: Mapping[str, Any], filter_id: str) -> Sought:
    """How Envoy's configuration calls the filter.

    An EnvoyFilter's plugin is called by the id; a WasmPlugin or TrafficExtension gets a name of Istio's own, which ends
    in its namespace and name (since Istio 1.12, pilot/pkg/model/extensions.go), and since 1.30, which makes a
    TrafficExtension of a WasmPlugin, in a mark behind them (pilot/pkg/config/kube/extensions/translate.go).

    Args:
        carrier: the object.
        filter_id: of the filter.
    """
    name, namespace = carrier["metadata"]["name"], carrier["metadata"]["namespace"]
    own = f"/{namespace}.{name}"
    return Sought(filter_id, (own, own + _TRANSLATED, f"wasme.io/{namespace}/{name}"))


def can_be_asked(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has a proxy that runs."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return (
        any(each.get("name") == PROXY for each in containers)
        and status.get("phase") == "Running"
        and not pod["metadata"].get("deletionTimestamp")
    )


def asked(pod: Mapping[str, Any], carrier: Mapping[str, Any], filter_id: str, module: str) -> Asked:
    """One pod asked about one filter."""
    metadata = pod["metadata"]
    return Asked(str(metadata["namespace"]), str(metadata["name"]), sought(carrier, filter_id), module)
