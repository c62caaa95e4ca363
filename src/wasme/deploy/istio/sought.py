"""What to look for in a proxy, from the object that carries a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.deploy.istio.existing import needs_volume
from wasme.deploy.istio.target import MANIFEST
from wasme.deploy.probe.dump import Sought
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
    """One pod asked about one filter.

    Args:
        pod: whom.
        carrier: the object that carries the filter.
        filter_id: of the filter.
        module: digest of the module.
    """
    metadata = pod["metadata"]
    if not needs_volume(dict(carrier)):
        # Istio's agent calls the file of a module after the image's manifest.
        module = str((carrier["metadata"].get("annotations") or {}).get(MANIFEST, ""))
    return Asked(str(metadata["namespace"]), str(metadata["name"]), sought(carrier, filter_id), module)
