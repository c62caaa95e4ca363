"""What tests of gateways share: Gateways and policies as users make them, and what wasme has written."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane

WRITES = {"create", "update", "patch", "delete"}
GATEWAY_API = "gateway.networking.k8s.io"
Object = dict[str, Any]

WASM = {"name": "mine", "code": {"type": "Image", "image": {"url": "registry.example.com/mine:1"}}}
LUA = {"type": "Inline", "inline": "function envoy_on_request(handle) end"}
ACCEPTED = {"type": "Accepted", "status": "True", "reason": "Accepted"}


class Gateways:
    """Gateways of one namespace, made as a user makes them."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def make(self, name: str = "gateway-proxy", labels: dict[str, str] | None = None, **spec: Any) -> Object:
        body = {"bindAddress": "::", "bindPort": 8080, "proxyNames": ["gateway-proxy"], **(spec or {"httpGateway": {}})}
        meta = {"name": name, "namespace": self.namespace, "annotations": {"origin": "default"}, "labels": labels or {}}
        made: Object = self.api.create(
            {"apiVersion": "gateway.solo.io/v1", "kind": "Gateway", "metadata": meta, "spec": body}
        )
        return made

    def path(self, name: str = "gateway-proxy") -> str:
        return f"/apis/gateway.solo.io/v1/namespaces/{self.namespace}/gateways/{name}"

    def get(self, name: str = "gateway-proxy") -> Object:
        found: Object = self.api.get(self.path(name))
        return found

    def filters(self, name: str = "gateway-proxy") -> Any:
        return self.get(name)["spec"]["httpGateway"].get("options", {}).get("wasm", {}).get("filters")


class World:
    """Gateways, routes and policies of one namespace, made as a user makes them."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.base = f"/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{namespace}/envoyextensionpolicies"

    def gateway(self, name: str = "eg", class_name: str = "eg", **labels: str) -> Object:
        listeners = [{"name": each, "port": port, "protocol": "HTTP"} for each, port in (("http", 80), ("alt", 81))]
        return self._make("Gateway", name, {"gatewayClassName": class_name, "listeners": listeners}, labels)

    def route(self, name: str = "backend", kind: str = "HTTPRoute", **parent: str) -> Object:
        spec = {"parentRefs": [{"name": "eg", **parent}], "rules": [{"name": "first"}]}
        return self._make(kind, name, spec, {})

    def listeners(self, name: str) -> Object:
        listeners = [{"name": "more", "port": 82, "protocol": "HTTP"}]
        return self._make("ListenerSet", name, {"parentRef": {"name": "eg"}, "listeners": listeners}, {})

    def _make(self, kind: str, name: str, spec: Object, labels: dict[str, str]) -> Object:
        meta = {"name": name, "namespace": self.namespace, "labels": labels}
        made: Object = self.api.create(
            {"apiVersion": f"{GATEWAY_API}/v1", "kind": kind, "metadata": meta, "spec": spec}
        )
        return made

    def policy(self, name: str, target: str = "Gateway/eg", section: str = "", **spec: Any) -> Object:
        kind, _, of = target.partition("/")
        ref = {"group": GATEWAY_API, "kind": kind, "name": of, **({"sectionName": section} if section else {})}
        made: Object = self.api.create(
            {
                "apiVersion": "gateway.envoyproxy.io/v1alpha1",
                "kind": "EnvoyExtensionPolicy",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"targetRefs": [ref], **spec},
            }
        )
        return made

    def policies(self) -> dict[str, Object]:
        return {each["metadata"]["name"]: each for each in self.api.list(self.base)}

    def filters(self, name: str = "wasme-gateway-eg") -> list[str]:
        return [each["name"] for each in self.api.get(f"{self.base}/{name}")["spec"].get("wasm", [])]

    def judge(self, name: str, *conditions: Object, old: bool = False) -> None:
        """Write a status as Envoy Gateway does."""
        policy = self.api.get(f"{self.base}/{name}")
        generation = policy["metadata"]["generation"] - (1 if old else 0)
        told = [
            {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation, "message": "", **each}
            for each in conditions
        ]
        ancestor = {
            "ancestorRef": {"group": GATEWAY_API, "kind": "Gateway", "name": "eg"},
            "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
            "conditions": told,
        }
        self.api.patch(f"{self.base}/{name}/status", {"status": {"ancestors": [ancestor]}})


def meaning(obj: Object) -> Object:
    """An object without what a server counts."""
    found = copy.deepcopy(obj)
    for name in ("resourceVersion", "generation", "managedFields"):
        found["metadata"].pop(name, None)
    return found


def written(plane: ControlPlane, mark: int) -> list[tuple[str, str]]:
    """What wasme has written since a mark: (verb, name)."""
    return [(each["verb"], each["objectRef"].get("name", "")) for each in plane.audit(mark) if each["verb"] in WRITES]
