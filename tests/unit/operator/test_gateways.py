"""What is decided about gateways before anything is asked of a cluster, and what no report may hide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.unit.deploy.cluster.scripted import Handler, Scripted, opened, scripted, status
from tests.unit.deploy.istio.samples import image
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GATEWAY, GLOO_GATEWAY, HTTP_ROUTE
from wasme.deploy.spec import FilterSpec, PluginSettings
from wasme.errors import ClusterForbidden, ClusterUnreachable, InputError, UnsupportedImage
from wasme.operator.resources.wanted import (
    EnvoyGatewayTarget,
    GlooTarget,
    Image,
    Key,
    Provider,
    TargetReference,
    Wanted,
)
from wasme.operator.targets.gateways import WATCHED, Gateways

IMAGE = image()
EG = EnvoyGatewayTarget((TargetReference("Gateway", "eg"),))
BASE = Wanted(Key("shop", "fd"), "uid", 1, FilterSpec("auth", IMAGE.typed), Image(IMAGE.typed))
IN_GLOO = replace(BASE, gloo=GlooTarget())
ON_EG = replace(BASE, envoy_gateway=EG)


def _forbid(handler: Handler, _: int) -> None:
    handler.give(403, status(403, "no"))


@pytest.fixture
def server() -> Iterator[Scripted]:
    """An API server that permits nothing, and counts."""
    with scripted(_forbid) as running:
        yield running


def _with(wanted: Wanted, **settings: object) -> Wanted:
    return replace(wanted, filter=replace(wanted.filter, settings=PluginSettings(**settings)))  # type: ignore[arg-type]


def _on(kind: str, group: str = "gateway.networking.k8s.io") -> Wanted:
    return replace(BASE, envoy_gateway=EnvoyGatewayTarget((*EG.references, TargetReference(kind, "x", group))))


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (_with(IN_GLOO, fail_policy="reload"), "spec.filter.failurePolicy: Gloo Edge has no Reload"),
        (_with(ON_EG, fail_policy="reload"), "spec.filter.failurePolicy: Envoy Gateway has no Reload"),
        (_with(IN_GLOO, env={"A": "1"}), "spec.filter.env: Gloo Edge has no place"),
        (_with(IN_GLOO, host_env=("A",)), "spec.filter.env: Gloo Edge has no place"),
        (_with(ON_EG, env={"A": "1"}), "spec.filter.env: Envoy Gateway has no place"),
        (_on("TCPRoute"), "spec.deployment.envoyGateway.targetRefs[1].kind: Envoy Gateway runs WebAssembly filters on"),
        (_on("Service", ""), "spec.deployment.envoyGateway.targetRefs[1].group: Envoy Gateway takes gateway.net"),
        (replace(ON_EG, filter=replace(BASE.filter, config="{")), "spec.filter.config is no JSON"),
        (replace(ON_EG, filter=replace(BASE.filter, config='{"a":1,"a":2}')), "spec.filter.config cannot pass"),
    ],
)
def test_refused_before_anything_is_asked(server: Scripted, wanted: Wanted, told: str) -> None:
    """What no gateway can carry is a problem that names the field, and costs no request."""
    with opened(server.url) as cluster:
        problem = Gateways(cluster).reconcile(wanted, IMAGE).problem
    assert isinstance(problem, InputError)
    assert problem.message.startswith(told)
    assert server.asked == []


def test_gloo_gets_no_digest(server: Scripted) -> None:
    """Gloo would pull the tag behind the digest's back, or `latest`: refused before anything is asked."""
    typed = IMAGE.typed + "@sha256:" + "ab" * 32
    wanted = replace(IN_GLOO, image=Image(typed))
    with opened(server.url) as cluster:
        problem = Gateways(cluster).reconcile(wanted, IMAGE).problem
    assert isinstance(problem, UnsupportedImage)
    assert "names a digest" in problem.message
    assert server.asked == []


def test_missing_rights_are_told(server: Scripted) -> None:
    """403 is a problem of this object, told as such when placing and when removing."""
    with opened(server.url) as cluster:
        gateways = Gateways(cluster)
        reports = [gateways.reconcile(IN_GLOO, IMAGE), gateways.remove("shop", "auth", "envoyGateway")]
    assert all(isinstance(each.problem, ClusterForbidden) for each in reports)


@pytest.mark.parametrize("provider", ["gloo", "envoyGateway"])
def test_a_silent_server_is_nobody_s_own_problem(provider: Provider) -> None:
    """An API server that does not answer is raised, so that it is told of no target and nothing is believed gone."""
    with opened("http://127.0.0.1:1", patience=0.1) as cluster:
        gateways = Gateways(cluster)
        with pytest.raises(ClusterUnreachable):
            gateways.reconcile(IN_GLOO if provider == "gloo" else ON_EG, IMAGE)
        with pytest.raises(ClusterUnreachable):
            gateways.remove("shop", "auth", provider)


def test_what_calls_a_filter_deployment() -> None:
    """Whatever a filter is put into or on calls it; the first kind of each is the one that its controller judges."""
    assert WATCHED["gloo"] == (GLOO_GATEWAY,)
    assert WATCHED["envoyGateway"][0] == ENVOY_EXTENSION_POLICY
    assert {GATEWAY, HTTP_ROUTE} <= set(WATCHED["envoyGateway"])


def test_no_namespace_is_remembered(server: Scripted) -> None:
    """A namespace whose filters are gone leaves nothing in memory."""
    with opened(server.url) as cluster:
        gateways = Gateways(cluster)
        gateways.reconcile(IN_GLOO, IMAGE)
        gateways.remove("shop", "auth", "gloo")
    assert gateways._locks._locks == {}
