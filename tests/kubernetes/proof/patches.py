"""EnvoyFilter as Istio applies it to one listener: HTTP_FILTER and EXTENSION_CONFIG, nothing else.

Names of filters are compared exactly since Istio 1.19. From 1.6 to 1.18 the old names were read as the new ones; up to
1.5 the filters themselves had the old ones. A patch that matches nothing is passed over in silence, as Istio does.
"""

from __future__ import annotations

import copy
import re
from typing import Any

CONTEXTS = {"inbound": "SIDECAR_INBOUND", "outbound": "SIDECAR_OUTBOUND", "gateway": "GATEWAY"}
_OLD = {
    "envoy.filters.network.http_connection_manager": "envoy.http_connection_manager",
    "envoy.filters.http.router": "envoy.router",
    "envoy.filters.http.cors": "envoy.cors",
    "envoy.filters.http.fault": "envoy.fault",
}
_WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
_ROOT_NAMESPACE = "istio-system"


class NotPlayed(Exception):
    """An object asks for something that this program does not know how Istio does."""


def field(obj: dict[str, Any], name: str) -> Any:
    """A field of a protobuf message in JSON: ``http_uri`` and ``httpUri`` are the same."""
    camel = re.sub(r"_(.)", lambda found: found[1].upper(), name)
    return obj.get(name, obj.get(camel))


class Listener:
    """The HTTP filters of one listener of a proxy, and the patches that change them.

    Args:
        minor: Istio's minor version.
        filters: in order, the router last.
    """

    def __init__(self, context: str, minor: int, filters: list[dict[str, Any]]) -> None:
        self.context = CONTEXTS[context]
        self._minor = minor
        self.filters = filters
        self.extensions: dict[str, dict[str, Any]] = {}

    def apply(self, stored: list[dict[str, Any]]) -> None:
        """Apply the EnvoyFilters that select the proxy: the root namespace's first, then by priority and age."""

        def rank(obj: dict[str, Any]) -> tuple[Any, ...]:
            meta = obj["metadata"]
            here = meta.get("namespace") != _ROOT_NAMESPACE
            return here, obj["spec"].get("priority", 0), meta.get("creationTimestamp", ""), meta["name"]

        for obj in sorted(stored, key=rank):
            for patch in obj["spec"]["configPatches"]:
                self._patch(patch)

    def _patch(self, patch: dict[str, Any]) -> None:
        match, kind = patch.get("match", {}), patch["applyTo"]
        operation, value = patch["patch"]["operation"], copy.deepcopy(patch["patch"].get("value", {}))
        if "proxyVersion" in match.get("proxy", {}) and not re.match(match["proxy"]["proxyVersion"], self._version):
            return
        if match.get("context", "ANY") not in ("ANY", self.context):
            return
        if kind == "EXTENSION_CONFIG":
            if operation == "ADD":
                self.extensions[value["name"]] = value
            return
        if kind != "HTTP_FILTER" or set(match) - {"context", "listener", "proxy"}:
            raise NotPlayed(f"{kind} with a match on {sorted(match)}")
        wanted = match.get("listener", {}).get("filterChain", {}).get("filter", {})
        if wanted and not self._is("envoy.filters.network.http_connection_manager", wanted.get("name", "")):
            return
        self._change(operation, wanted.get("subFilter"), self._as_read(value))

    def _change(self, operation: str, before: dict[str, Any] | None, value: dict[str, Any]) -> None:
        matching = [
            index for index, each in enumerate(self.filters) if before and self._is(each["name"], before["name"])
        ]
        if operation == "INSERT_FIRST" or (operation == "INSERT_BEFORE" and before is None):
            self.filters.insert(0, value)
        elif operation == "ADD" or (operation == "INSERT_AFTER" and before is None):
            self.filters.append(value)
        elif operation == "INSERT_BEFORE" and matching:
            self.filters.insert(matching[0], value)
        elif operation == "INSERT_AFTER" and matching:
            self.filters.insert(matching[0] + 1, value)
        elif operation not in ("INSERT_BEFORE", "INSERT_AFTER"):
            raise NotPlayed(f"HTTP_FILTER {operation}")

    @property
    def _version(self) -> str:
        return f"1.{self._minor}.0"

    def _is(self, name: str, wanted: str) -> bool:
        """Whether the filter that Istio calls ``name`` today is the one that a match names."""
        old = _OLD.get(name, name)
        if self._minor >= 19:
            return wanted == name
        return wanted == old if self._minor <= 5 else wanted in (name, old)

    def _as_read(self, value: dict[str, Any]) -> dict[str, Any]:
        """The value as that Istio's Envoy read it; the opaque ``config`` of 1.5 and 1.6 is a typed one since."""
        if "config" not in value:
            return value
        if self._minor > 6:
            raise NotPlayed("HttpFilter.config, which Envoy has no more")
        plugin = value["config"]["config"]
        if "configuration" in plugin:
            text = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": plugin["configuration"]}
            plugin = {**plugin, "configuration": text}
        return {"name": value["name"], "typed_config": {"@type": _WASM, "config": plugin}}


def selects(spec: dict[str, Any], where: str, labels: dict[str, str], namespace: str) -> bool:
    """Whether a policy of namespace ``where`` is for a proxy with these labels, in this namespace.

    With ``targetRefs`` it is for the Gateways that it names, which their pods carry as a label.
    """
    if where not in (namespace, _ROOT_NAMESPACE):
        return False
    if spec.get("targetRefs"):
        name = labels.get("gateway.networking.k8s.io/gateway-name")
        return any(each["kind"] == "Gateway" and each["name"] == name for each in spec["targetRefs"])
    selector = spec.get("workloadSelector", {}).get("labels") or spec.get("selector", {}).get("matchLabels") or {}
    return selector.items() <= labels.items()
