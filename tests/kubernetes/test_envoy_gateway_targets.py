"""Targets of deploy envoy-gateway, and other people's policies on and above them, on a real API server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Result
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.gateways import GATEWAY_API, LUA, WASM, World, meaning, written
from tests.kubernetes.images import Pushed

Run = Callable[..., Result]


def test_a_user_s_policy_is_in_the_way(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """Envoy Gateway heeds the oldest policy: a second one is refused, and --into puts the filter into the first."""
    envoy_gateway.gateway()
    before = envoy_gateway.policy("mine", wasm=[WASM], lua=[LUA])
    mark = control_plane.mark()
    words = ("deploy", "envoy-gateway", image.name, "--id=auth", "-n", namespace)
    result = kube_run(*words, ok=False)
    assert f"EnvoyExtensionPolicy {namespace}/mine is on Gateway/eg already" in result.stderr
    assert "--into mine" in result.stderr
    assert written(control_plane, mark) == []
    kube_run(*words, "--into=mine")
    assert envoy_gateway.filters("mine") == ["mine", "auth"]
    kube_run(*words, "--into=mine", "--fail-open")
    assert envoy_gateway.filters("mine") == ["mine", "auth"]
    kube_run("undeploy", "envoy-gateway", "--id=auth", "-n", namespace)
    assert meaning(envoy_gateway.policies()["mine"]) == meaning(before)


def test_every_target_in_the_way_is_told(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, control_plane: ControlPlane
) -> None:
    """Of several targets, all that cannot take the filter are named, and none is half done."""
    for name in ("one", "two", "three"):
        envoy_gateway.gateway(name)
    for name in ("one", "two"):
        envoy_gateway.policy(f"on-{name}", f"Gateway/{name}", wasm=[WASM])
    mark = control_plane.mark()
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace, ok=False)
    assert "2 of 3 failed" in result.stderr
    assert "Gateway/one: " in result.stderr
    assert "Gateway/two: " in result.stderr
    assert "Hint: --into on-one" in result.stderr
    assert written(control_plane, mark) == []


def test_a_user_s_filter_is_not_wasme_s(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A filter that wasme has not put there is neither replaced nor taken away, whatever its name."""
    envoy_gateway.gateway()
    before = envoy_gateway.policy("mine", wasm=[WASM])
    words = ("-n", namespace, "--id=mine")
    result = kube_run("deploy", "envoy-gateway", image.name, "--into=mine", *words, ok=False)
    assert "that wasme has not put there" in result.stderr
    gone = kube_run("undeploy", "envoy-gateway", *words, ok=False)
    assert gone.exit_code == 1
    assert "no EnvoyExtensionPolicy has a filter mine of wasme's" in gone.stderr
    assert envoy_gateway.policies()["mine"] == before


def test_what_others_added_to_our_policy_stays(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str
) -> None:
    """A policy of wasme's that somebody else uses too loses wasme's filter and stays."""
    envoy_gateway.gateway()
    kube_run("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    envoy_gateway.api.patch(f"{envoy_gateway.base}/wasme-gateway-eg", {"spec": {"lua": [LUA]}})
    kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace)
    left = envoy_gateway.policies()["wasme-gateway-eg"]
    assert left["spec"]["lua"] == [LUA]
    assert "wasm" not in left["spec"]
    assert "annotations" not in left["metadata"]


def test_targets(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """Routes, listeners and rules can be targets; on a route the Gateway's policies of other kinds go on to count."""
    envoy_gateway.gateway()
    envoy_gateway.route()
    envoy_gateway.route("greeter", "GRPCRoute")
    kube_run(
        "deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace, "--target=httproute/backend:first",
        "--target=GRPCRoute/greeter", "--target=gateway.networking.k8s.io/Gateway/eg:alt",
    )  # fmt: skip
    specs = {
        str(sorted(each["spec"]["targetRefs"][0].items())): each["spec"] for each in envoy_gateway.policies().values()
    }
    refs = [each["targetRefs"][0] for each in specs.values()]
    assert {"group": GATEWAY_API, "kind": "HTTPRoute", "name": "backend", "sectionName": "first"} in refs
    assert {"group": GATEWAY_API, "kind": "GRPCRoute", "name": "greeter"} in refs
    assert {"group": GATEWAY_API, "kind": "Gateway", "name": "eg", "sectionName": "alt"} in refs
    for spec in specs.values():
        on_route = spec["targetRefs"][0]["kind"] != "Gateway"
        assert spec.get("mergeType") == ("StrategicMerge" if on_route else None)
    kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace, "--target=GRPCRoute/greeter")
    assert len(envoy_gateway.policies()) == 2
    kube_run("undeploy", "envoy-gateway", "--id=a", "-n", namespace)
    assert envoy_gateway.policies() == {}


@pytest.mark.parametrize(
    ("target", "why"),
    [("TCPRoute/x", "HTTP only"), ("Service/x", "no target of a policy"), ("Gateway", "no target of a policy"),
     ("example.com/Gateway/eg", "no target of a policy"), ("Gateway/eg:", "no target of a policy"),
     ("Gateway/none", "there is no Gateway/none"), ("Gateway/eg:https", "it has http, alt")],
)  # fmt: skip
def test_no_targets(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, target: str, why: str) -> None:
    """What cannot carry a filter is told, and nothing is written."""
    envoy_gateway.gateway()
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace, f"--target={target}", ok=False)
    assert why in result.stderr
    assert envoy_gateway.policies() == {}


def test_nothing_is_switched_off(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A policy on a route or listener would replace the Gateway's filters there: refused, unless --override says so."""
    envoy_gateway.gateway()
    envoy_gateway.route()
    envoy_gateway.policy("checks", wasm=[WASM])
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    for target in ("HTTPRoute/backend", "Gateway/eg:http"):
        result = kube_run(*words, f"--target={target}", ok=False)
        assert f"a policy on {target} would replace wasm of EnvoyExtensionPolicy {namespace}/checks" in result.stderr
    kube_run(*words, "--target=HTTPRoute/backend", "--override")
    assert envoy_gateway.filters("wasme-httproute-backend") == ["a"]


def test_a_filter_takes_its_own_place(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """The same filter of wasme's on a Gateway is no loss to its routes and listeners; one beside it would be."""
    envoy_gateway.gateway()
    envoy_gateway.route()
    words = ("deploy", "envoy-gateway", image.name, "-n", namespace)
    kube_run(*words, "--id=a", "--target=Gateway/eg")
    why = f"would replace wasm of EnvoyExtensionPolicy {namespace}/wasme-gateway-eg"
    assert why in kube_run(*words, "--id=b", "--target=HTTPRoute/backend", ok=False).stderr
    kube_run(*words, "--id=a", "--target=HTTPRoute/backend")
    assert envoy_gateway.filters("wasme-httproute-backend") == ["a"]
    kube_run(*words, "--id=b", "--target=Gateway/eg")
    assert why in kube_run(*words, "--id=a", "--target=Gateway/eg:http", ok=False).stderr


def test_merging_keeps_other_kinds(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """Lua of the Gateway goes on to count on a route, by merging; on a listener it would not, which is refused."""
    envoy_gateway.gateway()
    envoy_gateway.route()
    envoy_gateway.policy("scripts", lua=[LUA])
    words = ("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace)
    assert "would replace lua" in kube_run(*words, "--target=Gateway/eg:http", ok=False).stderr
    kube_run(*words, "--target=HTTPRoute/backend")
    assert envoy_gateway.policies()["wasme-httproute-backend"]["spec"]["mergeType"] == "StrategicMerge"


def test_policies_by_selector_are_seen(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A user's policy that selects the Gateway by labels is in the way too; one that selects others is not."""
    envoy_gateway.gateway(app="edge")
    for name, value in (("other", "inner"), ("mine", "edge")):
        envoy_gateway.api.create(
            {
                "apiVersion": "gateway.envoyproxy.io/v1alpha1",
                "kind": "EnvoyExtensionPolicy",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"targetSelectors": [{"kind": "Gateway", "matchLabels": {"app": value}}], "wasm": [WASM]},
            }
        )
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "-n", namespace, ok=False)
    assert f"EnvoyExtensionPolicy {namespace}/mine is on Gateway/eg already" in result.stderr


def test_gateways_by_labels_and_class(
    kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str, api: Api
) -> None:
    """-l and --name choose Gateways; those of another controller's class are left out, and told."""
    for name, controller in (("eg", "gateway.envoyproxy.io/gatewayclass-controller"), ("istio", "istio.io/x")):
        found = {"apiVersion": f"{GATEWAY_API}/v1", "kind": "GatewayClass", "metadata": {"name": name},
                 "spec": {"controllerName": controller}}  # fmt: skip
        if not api.find(f"/apis/{GATEWAY_API}/v1/gatewayclasses/{name}"):
            api.create(found)
    envoy_gateway.gateway("one", app="edge")
    envoy_gateway.gateway("two", app="inner")
    envoy_gateway.gateway("mesh", "istio", app="edge")
    words = ("deploy", "envoy-gateway", image.name, "-n", namespace)
    result = kube_run(*words, "--id=a", "-l", "app=edge")
    assert f"skipping gateway {namespace}.mesh" in result.stderr
    assert list(envoy_gateway.policies()) == ["wasme-gateway-one"]
    kube_run(*words, "--id=b", "--name=two")
    assert envoy_gateway.filters("wasme-gateway-two") == ["b"]
    none = kube_run(*words, "--id=a", "-l", "app=none", ok=False)
    assert f"found no Gateway with the labels app=none in the namespace {namespace}" in none.stderr
    assert kube_run(*words, "--id=a", "-l", "app=x", "--name=two", ok=False).exit_code == 2


def test_a_policy_of_the_same_name(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A policy that has the name of wasme's own but is on something else is told at once, and stays."""
    envoy_gateway.gateway()
    envoy_gateway.gateway("other")
    before = envoy_gateway.policy("wasme-gateway-eg", "Gateway/other")
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "--name=eg", "-n", namespace, ok=False)
    assert f"{namespace}/wasme-gateway-eg is there already, and is not wasme's own on Gateway/eg" in result.stderr
    assert envoy_gateway.policies() == {"wasme-gateway-eg": before}


def test_the_server_s_rules(envoy_gateway: World) -> None:
    """The CRD's rules in CEL are at work here: a policy on a Service, and merging on a Gateway, are refused."""
    for spec in ({"target": "Service/x"}, {"target": "Gateway/eg", "mergeType": "StrategicMerge"}):
        target = spec.pop("target")
        with pytest.raises(ApiRefused) as refused:
            envoy_gateway.policy("x", target, **spec)
        assert refused.value.status == 422


def test_the_sixteenth_is_the_last(kube_run: Run, envoy_gateway: World, image: Pushed, namespace: str) -> None:
    """A full list is told before the server has to."""
    envoy_gateway.gateway()
    envoy_gateway.policy("mine", wasm=[{**WASM, "name": f"w{number}"} for number in range(16)])
    result = kube_run("deploy", "envoy-gateway", image.name, "--id=a", "--into=mine", "-n", namespace, ok=False)
    assert "has 16 Wasm filters" in result.stderr
