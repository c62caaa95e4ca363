"""What a stored FilterDeployment asks for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.deploy.cluster.kinds import DAEMON_SET, DEPLOYMENT, STATEFUL_SET
from wasme.deploy.istio.target import TargetRef
from wasme.deploy.rollout.plan import Pace, Share
from wasme.errors import InputError
from wasme.operator.resources.resource import read
from wasme.operator.resources.wanted import GlooTarget, Image, Key, TargetReference, Wanted

ANY = "type.googleapis.com/google.protobuf."
ISTIO: dict[str, Any] = {"istio": {}}


def fdep(filter_: Any = None, deployment: Any = None, **spec: Any) -> dict[str, Any]:
    """A FilterDeployment as it is stored."""
    return {
        "apiVersion": "wasme.io/v1",
        "kind": "FilterDeployment",
        "metadata": {"name": "add-header", "namespace": "istio", "uid": "u-1", "generation": 3},
        "spec": {
            "filter": {"image": "registry.example.com/demo/auth:v1"} | (filter_ or {}),
            "deployment": ISTIO if deployment is None else deployment,
            **spec,
        },
    }


def refused(obj: dict[str, Any]) -> InputError:
    with pytest.raises(InputError) as caught:
        read(obj)
    return caught.value


def test_the_users_own_object() -> None:
    """add-header.yaml of the walk-through: the typed text, its image as typed, one label, inbound, the default id."""
    wanted = read(
        fdep(
            {
                "config": {"@type": f"{ANY}StringValue", "value": "world"},
                "image": "webassemblyhub.io/hxpmark/add-header:v0.0.1",
            },
            {"istio": {"kind": "Deployment", "labels": {"app": "productpage"}}},
        )
    )
    assert wanted.key == Key("istio", "add-header")
    assert (wanted.uid, wanted.generation, wanted.provider, wanted.suspend) == ("u-1", 3, "istio", False)
    assert (wanted.filter.id, wanted.filter.config, wanted.filter.root_id) == ("add-header.istio", "world", "")
    assert wanted.image == Image("webassemblyhub.io/hxpmark/add-header:v0.0.1")
    assert wanted.order
    assert str(wanted.order.selection) == "Deployment with the labels app=productpage in the namespace istio"
    assert wanted.order.target.context == "inbound"
    assert (wanted.order.mesh.namespace, wanted.order.mesh.istiod) == ("istio-system", "istiod")
    assert wanted.order.caching.flags == ()
    assert wanted.rollout is None


def test_every_field_of_a_mesh() -> None:
    """Each new field arrives where the providers look for it."""
    wanted = read(
        fdep(
            {
                "id": "auth", "rootID": "root", "config": "text", "patchContext": "Outbound", "pullSecret": "creds",
                "pullPolicy": "Always", "sha256": f"sha256:{'AB' * 32}", "failurePolicy": "Reload", "phase": "AuthZ",
                "priority": -5, "env": {"A": "1"}, "imagePullOptions": {"insecureSkipVerify": True, "plainHttp": True},
            },
            {"istio": {"kind": "STATEFULSET", "name": "db", "istioNamespace": "mesh", "istiodName": "istiod-canary",
                       "ignoreVersionCheck": True, "ports": [8080, 80], "provider": "EnvoyFilter",
                       "cache": {"mode": "ImageVolume"}}},
            rollout={"steps": ["1", "50%"], "pauseSeconds": 0, "timeoutSeconds": 7},
            suspend=True,
        )
    )  # fmt: skip
    spec, order = wanted.filter, wanted.order
    assert (spec.id, spec.root_id, spec.config) == ("auth", "root", "text")
    assert (spec.settings.fail_policy, spec.settings.env) == ("reload", {"A": "1"})
    assert wanted.image == Image(spec.image, "Always", "ab" * 32, "creds", insecure=True, plain_http=True)
    assert order
    assert (order.selection.kind, order.selection.name, order.selection.namespaces) == (STATEFUL_SET, "db", ("istio",))
    target = order.target
    assert (target.kind, target.context, target.phase, target.priority) == ("envoyfilter", "outbound", "authz", -5)
    assert (target.ports, target.placement, target.pull_policy) == ((8080, 80), "image-volume", "Always")
    assert target.pull_secret == order.caching.pull_secret == "creds"
    assert (order.mesh.namespace, order.mesh.istiod, order.mesh.ignore_version) == ("mesh", "istiod-canary", True)
    assert order.caching.flags == ("spec.deployment.istio.cache.mode",)
    assert wanted.rollout == Pace((Share(1), Share(50, percent=True)), 0.0, 7.0)
    assert wanted.suspend


@pytest.mark.parametrize(
    ("word", "kind"),
    [("", DEPLOYMENT), ("deployment", DEPLOYMENT), ("DaemonSet", DAEMON_SET), ("DAEMONSET", DAEMON_SET)],
)
def test_kinds_in_any_case(word: str, kind: object) -> None:
    """The kind is the original's word in any case; none is Deployment."""
    order = read(fdep(deployment={"istio": {"kind": word}})).order
    assert order
    assert order.selection.kind is kind


def test_target_references() -> None:
    """They stand in place of workloads, with the group that Istio wants; their default context is any."""
    refs = [{"kind": "Gateway", "name": "waypoint"}, {"kind": "service", "name": "web", "group": ""}]
    order = read(fdep(deployment={"istio": {"targetRefs": refs}})).order
    assert order
    expected = (TargetRef("Gateway", "waypoint", "gateway.networking.k8s.io"), TargetRef("Service", "web"))
    assert order.target.target_refs == expected
    assert order.target.context == "any"


def test_gateways() -> None:
    """Gloo by labels, Envoy Gateway by references."""
    gloo = read(fdep(deployment={"gloo": {"labels": {"app": "edge"}}}))
    assert (gloo.gloo, gloo.provider, gloo.order) == (GlooTarget({"app": "edge"}), "gloo", None)
    refs = [{"kind": "gateway", "name": "eg", "sectionName": "https"}]
    other = read(fdep(deployment={"envoyGateway": {"targetRefs": refs}}))
    assert other.provider == "envoyGateway"
    assert other.envoy_gateway
    assert other.envoy_gateway.references == (TargetReference("Gateway", "eg", section="https"),)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (None, ""),
        ("", ""),
        ("world", "world"),
        (" as it\n\x00is ", " as it\n\x00is "),
        ({}, "{}"),
        ({"b": [1, 1.5, True, None], "a": "<&>ü"}, '{"a":"\\u003c\\u0026\\u003eü","b":[1,1.5,true,null]}'),
        ({"@type": f"{ANY}StringValue", "value": "world"}, "world"),
        ({"@type": f"{ANY}StringValue"}, ""),
        ({"@type": "google.protobuf.StringValue", "value": "x"}, "x"),
        ({"@type": f"{ANY}Struct", "value": {"a": {"b": 1}}}, '{"a":{"b":1}}'),
        ({"@type": f"{ANY}BytesValue", "value": base64.b64encode("grüß".encode()).decode()}, "grüß"),
        ({"@type": f"{ANY}BytesValue", "value": base64.urlsafe_b64encode(b"~~~???").decode()}, "~~~???"),
        ({"@type": f"{ANY}BytesValue", "value": "d29ybGQ"}, "world"),
    ],
)
def test_configurations(config: Any, text: str) -> None:
    """A text is what it is, an object compact JSON, and a typed value what is in it ([BUG] #236: a plain string made
    the original's operator stand still).
    """
    assert read(fdep({"config": config})).filter.config == text


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (5, "spec.filter.config: must be text or an object, not a number"),
        (True, "spec.filter.config: must be text or an object, not true or false"),
        (["a"], "spec.filter.config: must be text or an object, not a list"),
        (
            {"@type": f"{ANY}Int64Value", "value": "5"},
            f"spec.filter.config.@type: '{ANY}Int64Value' is no type that a filter gets its configuration in: "
            "google.protobuf.StringValue, google.protobuf.Struct, google.protobuf.BytesValue",
        ),
        (
            {"@type": f"{ANY}StringValue", "value": 5},
            "spec.filter.config.value: must be text for StringValue, not a number",
        ),
        ({"@type": f"{ANY}Struct", "value": "{}"}, "spec.filter.config.value: must be an object for Struct, not text"),
        ({"@type": f"{ANY}BytesValue", "value": "!"}, "spec.filter.config.value: is not base64"),
        (
            {"@type": f"{ANY}BytesValue", "value": "/w=="},
            "spec.filter.config.value: byte 0 of it is not UTF-8 text; a filter's configuration is carried as text",
        ),
        (
            {"@type": f"{ANY}StringValue", "Value": "x"},
            "spec.filter.config: 'Value' stands beside value, which is all that StringValue has",
        ),
    ],
)
def test_configurations_that_are_none(config: Any, message: str) -> None:
    """What is no text and no object is told with its path, and so is a type that no filter gets."""
    assert refused(fdep({"config": config})).message == message


@pytest.mark.parametrize(
    ("image", "policy"),
    [("demo/auth", "Always"), ("demo/auth:latest", "Always"), ("demo/auth:v1", "IfNotPresent"),
     (f"demo/auth@sha256:{'0' * 64}", "IfNotPresent"), (f"demo/auth:latest@sha256:{'0' * 64}", "IfNotPresent")],
)  # fmt: skip
def test_pull_policy_by_default(image: str, policy: str) -> None:
    """A tag that moves by its nature is followed, another is kept; and what names a digest cannot move."""
    assert read(fdep({"image": image})).image.policy == policy


WRONG = [
    ({"metadata": {}}, "must provide spec.filter"),
    ({"spec": {}}, "must provide spec.filter"),
    ({"spec": {"filter": None}}, "must provide spec.filter"),
    ({"spec": {"filter": {}}}, "must provide spec.deployment"),
    ({"spec": {"filter": {}, "deployment": None}}, "must provide spec.deployment"),
    ({"spec": []}, "spec: must be an object, not a list"),
    ({"spec": {"filter": "x"}}, "spec.filter: must be an object, not text"),
    (fdep(deployment={}), "spec.deployment: must have exactly one of istio, gloo and envoyGateway"),
    (
        fdep(deployment={"istio": {}, "gloo": {}}),
        "spec.deployment: must have exactly one of istio, gloo and envoyGateway",
    ),
    (fdep({"image": ""}), "spec.filter.image: must name an image"),
    (fdep({"image": 5}), "spec.filter.image: must be text, not a number"),
    (
        fdep({"image": "Demo/Auth:v1"}),
        "spec.filter.image: invalid reference format: repository name must be lowercase: 'Demo/Auth:v1'",
    ),
    (fdep({"id": "My_Filter"}), "spec.filter.id: 'My_Filter' is no name of a Kubernetes object"),
    (fdep({"sha256": "abc"}), "spec.filter.sha256: 'abc' is no SHA-256"),
    (fdep({"pullPolicy": "Never"}), "spec.filter.pullPolicy: 'Never' is none of Always, IfNotPresent"),
    (
        fdep({"patchContext": "sideways"}),
        "spec.filter.patchContext: unknown patch context sideways, "
        "must be one of the following values: any, inbound, outbound, gateway",
    ),
    (
        fdep({"pullSecret": "a", "imagePullOptions": {"pullSecret": "b"}}),
        "spec.filter.pullSecret: is not the same as imagePullOptions.pullSecret",
    ),
    (
        fdep({"imagePullOptions": {"plainHttp": "true"}}),
        "spec.filter.imagePullOptions.plainHttp: must be true or false, not text",
    ),
    (fdep({"priority": 1.5}), "spec.filter.priority: must be a whole number, not a number"),
    (fdep({"env": {"A=B": "c"}}), "spec.filter.env: 'A' is not the name alone of a variable"),
    (fdep({"env": {"A": 1}}), "spec.filter.env.A: must be text, not a number"),
    (fdep({"phase": "authn"}), "spec.filter.phase: 'authn' is none of AuthN, AuthZ, Stats"),
    (fdep({"phase": "AuthN"}, {"gloo": {}}), "spec.filter.phase: is for spec.deployment.istio only"),
    (
        fdep({"failurePolicy": "Reload"}, {"gloo": {}}),
        "spec.filter.failurePolicy: Reload is for spec.deployment.istio: gateways know Closed and Open",
    ),
    (
        fdep(None, {"gloo": {}}, rollout={}),
        "spec.rollout: goes through workloads, which only spec.deployment.istio has",
    ),
    (
        fdep(deployment={"istio": {"kind": "Job"}}),
        "spec.deployment.istio.kind: unknown workload type Job, must be deployment, daemonset or statefulset",
    ),
    (
        fdep(deployment={"istio": {"labels": {"app": "a,b=c"}}}),
        "spec.deployment.istio.labels: 'a,b=c', of app, is no label's value",
    ),
    (fdep(deployment={"istio": {"labels": {"a b": "c"}}}), "spec.deployment.istio.labels: 'a b' is no label's name"),
    (fdep(deployment={"istio": {"name": "A"}}), "spec.deployment.istio.name: 'A' cannot name an object in Kubernetes"),
    (fdep(deployment={"istio": {"ports": [0]}}), "spec.deployment.istio.ports[0]: '0' is not between 1 and 65535"),
    (fdep(deployment={"istio": {"ports": "80"}}), "spec.deployment.istio.ports: must be a list, not text"),
    (
        fdep(deployment={"istio": {"provider": "WasmPlugin", "cache": {"mode": "None"}}}),
        "spec.deployment.istio.cache: is for an EnvoyFilter; Istio's agent pulls the image of a WasmPlugin",
    ),
    (
        fdep(deployment={"istio": {"targetRefs": [{"kind": "Job", "name": "x"}]}}),
        "spec.deployment.istio.targetRefs[0].kind: 'Job' is none of Gateway, Service, ServiceEntry, GatewayClass",
    ),
    (
        fdep(deployment={"istio": {"targetRefs": [{"kind": "Gateway", "name": "x", "group": "y"}]}}),
        "spec.deployment.istio.targetRefs[0].group: 'y' has no Gateway",
    ),
    (
        fdep(deployment={"istio": {"targetRefs": [{"kind": "Gateway"}]}}),
        "spec.deployment.istio.targetRefs[0].name: must not be empty",
    ),
    (
        fdep(deployment={"istio": {"targetRefs": [{"kind": "Gateway", "name": "x"}], "name": "y"}}),
        "spec.deployment.istio.name: targetRefs stand in place of workloads: leave name out",
    ),
    (
        fdep(deployment={"envoyGateway": {}}),
        "spec.deployment.envoyGateway.targetRefs: must name what the filter is for",
    ),
    (
        fdep(deployment={"envoyGateway": {"targetRefs": [{"kind": "TCPRoute", "name": "x"}]}}),
        "spec.deployment.envoyGateway.targetRefs[0].kind: 'TCPRoute': "
        "Envoy Gateway runs filters on Gateway, ListenerSet, HTTPRoute, GRPCRoute only",
    ),
    (fdep(rollout={"steps": ["25%", "10%"]}), "spec.rollout.steps: 10% after 25% does not grow"),
    (fdep(rollout={"steps": ["1,2"]}), "spec.rollout.steps[0]: '1,2' is no step"),
    (fdep(rollout={"timeoutSeconds": 0}), "spec.rollout.timeoutSeconds: '0' is not between 1 and 86400"),
    (fdep(suspend="yes"), "spec.suspend: must be true or false, not text"),
]


@pytest.mark.parametrize(("obj", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_errors_name_their_field(obj: dict[str, Any], message: str) -> None:
    """The message begins with the field's path; where the original had words for it, they are its words."""
    error = refused(obj)
    assert error.message == message
    assert "--" not in (error.hint or "")


def test_rollouts_count_as_the_command_does() -> None:
    """Without steps it is the default of --rollout; numbers may be numbers."""
    assert read(fdep(rollout={})).rollout == Pace((Share(1), Share(25, percent=True), Share(100, percent=True)))
    assert read(fdep(rollout={"steps": [2, "5"]})).rollout == Pace((Share(2), Share(5)))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
NAMES = sorted(
    {"id", "image", "config", "rootID", "patchContext", "imagePullOptions", "pullSecret", "insecureSkipVerify", "env",
     "plainHttp", "pullPolicy", "sha256", "failurePolicy", "phase", "priority", "istio", "gloo", "envoyGateway", "kind",
     "labels", "istioNamespace", "istiodName", "name", "ignoreVersionCheck", "ports", "targetRefs", "provider", "cache",
     "mode", "group", "sectionName", "steps", "pauseSeconds", "timeoutSeconds", "value", "@type"}
)  # fmt: skip
WORDS = st.sampled_from(
    ["Gateway", "Service", "DaemonSet", "Auto", "WasmPlugin", "None", "AuthN", "Reload", "demo/auth:v1", "1", "25%",
     f"{ANY}Struct", f"{ANY}BytesValue", f"{ANY}StringValue", "x", "auth"]
)  # fmt: skip
TREES = st.recursive(
    VALUES | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)
FILTERS = st.dictionaries(st.sampled_from(NAMES), TREES, max_size=4).map(lambda more: {"image": "demo/auth:v1", **more})
PLACES = st.fixed_dictionaries({}, optional=dict.fromkeys(("istio", "gloo", "envoyGateway"), TREES))
SPECS = TREES | st.fixed_dictionaries(
    {"filter": FILTERS | TREES, "deployment": PLACES | TREES}, optional={"rollout": TREES, "suspend": VALUES}
)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"metadata": TREES | st.just({"name": "a", "namespace": "b"}), "spec": SPECS, "status": VALUES}
    )
)
def test_whatever_is_stored_is_read_or_explained(obj: dict[str, Any]) -> None:
    """Objects of before were never validated: any JSON gives a Wanted, or an InputError on one line, and nothing else;
    the texts of what is read are Unicode.
    """
    found: Wanted | InputError
    try:
        found = read(obj)
    except InputError as error:
        found = error
    if isinstance(found, InputError):
        assert found.message
        assert "\n" not in found.message
        found.message.encode()
    else:
        assert found.filter.id
        found.filter.config.encode()
        str(found).encode()


def test_an_object_that_is_nested_too_deeply() -> None:
    """It is told, not a RecursionError."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    message = refused(fdep({"config": deep})).message
    while deep:  # taken apart by hand: Python frees nested values by recursion
        deep = deep.pop("a")
    assert message == "spec.filter.config: is nested too deeply"


def test_what_is_read_is_the_same_each_time() -> None:
    """Objects in another order of keys ask for the same."""
    one = fdep({"config": {"a": 1, "b": 2}, "env": {"A": "1", "B": "2"}})
    other = json.loads(json.dumps(one, sort_keys=True))
    assert read(one) == read(other)
