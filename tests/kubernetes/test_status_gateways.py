"""``wasme status`` of filters in the gateways of Gloo and Envoy Gateway, with their real CRDs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.images import Pushed

Run = Callable[..., Result]


def _gateways(run: Run, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("status", "--namespace", namespace, "--output=json").json["gateways"]
    return found


def test_gloo(api: Api, kube_run: Run, namespace: str, image: Pushed, serve: Callable[[str], None]) -> None:
    """A filter in a Gateway of Gloo is what Gloo says of the Gateway; --check is 1 until it has accepted it."""
    serve("gloo/v1.22.1")
    path = f"/apis/gateway.solo.io/v1/namespaces/{namespace}/gateways/gateway-proxy"
    api.create({
        "apiVersion": "gateway.solo.io/v1", "kind": "Gateway",
        "metadata": {"name": "gateway-proxy", "namespace": namespace},
        "spec": {"bindAddress": "::", "bindPort": 8080, "proxyNames": ["gateway-proxy"], "httpGateway": {}},
    })  # fmt: skip
    kube_run("deploy", "gloo", image.name, "--id=mine", "-n", namespace)
    assert _gateways(kube_run, namespace) == [{
        "ready": False, "id": "mine", "namespace": namespace, "object": "Gateway/gateway-proxy", "image": image.name,
        "state": "pending", "reasons": ["Gloo has not judged it yet"],
    }]  # fmt: skip
    assert kube_run("status", "mine", "-n", namespace, "--check", ok=False).exit_code == 1
    statuses = {"gloo-system": {"state": "Rejected", "reason": "bad\nconfig", "reportedBy": "gateway"}}
    api.patch(path, {"status": {"statuses": statuses}})
    (found,) = _gateways(kube_run, namespace)
    assert (found["state"], found["reasons"]) == ("failed", ["Gloo rejects it: bad config"])
    api.patch(path, {"status": {"statuses": {"gloo-system": {"state": "Accepted", "reason": ""}}}})
    shown = kube_run("status", "mine", "-n", namespace, "--check").stdout.splitlines()
    assert [line.split() for line in shown] == [
        ["ID", "NAMESPACE", "GATEWAY", "IMAGE", "STATE"],
        ["mine", namespace, "Gateway/gateway-proxy", image.name, "ready"],
    ]


def test_envoy_gateway(api: Api, kube_run: Run, namespace: str, image: Pushed, serve: Callable[[str], None]) -> None:
    """A filter in an EnvoyExtensionPolicy is what Envoy Gateway's conditions say."""
    serve("gateway-api/v1.6.1")
    serve("envoy-gateway/v1.9.0")
    listeners = [{"name": "http", "port": 80, "protocol": "HTTP"}]
    api.create({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
        "metadata": {"name": "eg", "namespace": namespace},
        "spec": {"gatewayClassName": "eg", "listeners": listeners},
    })  # fmt: skip
    kube_run("deploy", "envoy-gateway", image.name, "--id=mine", "-n", namespace, "--target=Gateway/eg")
    (found,) = _gateways(kube_run, namespace)
    assert (found["object"], found["state"]) == ("EnvoyExtensionPolicy/wasme-gateway-eg", "pending")
    assert image.name in found["image"]
    path = f"/apis/gateway.envoyproxy.io/v1alpha1/namespaces/{namespace}/envoyextensionpolicies/wasme-gateway-eg"
    accepted = {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "", "observedGeneration": 9,
                "lastTransitionTime": "2026-01-01T00:00:00Z"}  # fmt: skip
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "eg"}
    ancestor = {"ancestorRef": gateway, "conditions": [accepted],
                "controllerName": "gateway.envoyproxy.io/gatewayclass-controller"}  # fmt: skip
    api.patch(f"{path}/status", {"status": {"ancestors": [ancestor]}})
    assert kube_run("status", "mine", "-n", namespace, "--check").exit_code == 0
    assert kube_run("status", "another", "-n", namespace, "--check", ok=False).exit_code == 1
