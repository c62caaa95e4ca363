"""What is rendered for Istio, given to a real API server that serves the CRDs of many versions of Istio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api, ApiRefused, place
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.unit.deploy.istio.samples import ON_TARGETS, TARGETS, WORKLOAD, image, spec, target
from wasme.deploy import configuration
from wasme.deploy.cluster import connect
from wasme.deploy.cluster.kinds import ENVOY_FILTER, TRAFFIC_EXTENSION, WASM_PLUGIN
from wasme.deploy.istio import envoyfilter, plugin
from wasme.deploy.istio.kinds import choose
from wasme.deploy.istio.target import Attachment, IstioTarget, Schema
from wasme.deploy.spec import Backoff, FilterSpec
from wasme.errors import InputError

VERSIONS = ("1.10.6", "1.12.9", "1.16.7", "1.20.8", "1.24.6", "1.28.10", "1.30.3")
KINDS = {"envoyfilter": ENVOY_FILTER, "wasmplugin": WASM_PLUGIN, "trafficextension": TRAFFIC_EXTENSION}
EVERYTHING: dict[str, Any] = {
    "fail_policy": "reload",
    "reload_backoff": Backoff(1, 30),
    "env": {"MODE": "strict"},
    "host_env": ("HOSTNAME",),
    "vm_id": "shared",
    "vm_config": "{}",
    "capabilities": ("proxy_log",),
    "allow_precompiled": True,
    "nack_on_code_cache_miss": True,
    "allow_on_headers_stop_iteration": True,
    "runtime": "envoy.wasm.runtime.v8",
}
JSON = '{"b":[1,2.5,null,"<é>"],"a":{"x":true,"y":{}}}'


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest, serve: Callable[..., None]) -> str:
    """A version of Istio whose CRDs the server serves."""
    number: str = request.param
    serve(f"istio/{number}")
    return number


@pytest.fixture
def served(version: str, control_plane: ControlPlane) -> dict[str, Schema | None]:
    """The kinds that it serves, with their schemas, as a deployment reads them."""
    del version
    with connect(control_plane.kubeconfig) as cluster:
        found = cluster.served()
        return {name: found.schema(kind) for name, kind in KINDS.items() if found.has(kind)}


def minor(version: str) -> int:
    """The N of Istio 1.N."""
    return int(version.split(".")[1])


def tried(api: Api, obj: dict[str, Any]) -> dict[str, Any]:
    """The object as the server would store it; nothing that it does not know passes."""
    query = "?fieldManager=test&force=true&dryRun=All&fieldValidation=Strict"
    answer: dict[str, Any] = api.call("PATCH", place(obj) + query, obj, "application/apply-patch+yaml")
    return answer


def here(attachment: Attachment, namespace: str) -> Attachment:
    """The same in another namespace."""
    return replace(attachment, namespace=namespace)


def carried(settings: dict[str, Any], version: str) -> dict[str, Any]:
    """Of these settings those that an EnvoyFilter for that Istio carries."""
    found = {}
    for name, value in settings.items():
        alone = {name: value} if name != "reload_backoff" else {"fail_policy": "reload", name: value}
        try:
            envoyfilter.render(WORKLOAD, spec(**alone), image(), target(), minor(version))
        except InputError:
            continue
        found[name] = value
    return found


def test_envoyfilter(api: Api, namespace: str, version: str, served: dict[str, Schema | None]) -> None:
    """Every EnvoyFilter, with all that its Istio carries, is stored just as it was rendered."""
    schema = served["envoyfilter"]
    modern = schema is not None and schema.has("spec.targetRefs")
    ways: list[tuple[Attachment, FilterSpec, IstioTarget]] = [
        (WORKLOAD, spec(), target(patch_context=context)) for context in ("any", "inbound", "outbound", "gateway")
    ]
    ways.append((WORKLOAD, spec(**carried(EVERYTHING, version)), target()))
    if minor(version) >= 24:
        ways.append((WORKLOAD, spec(), target(placement="image-volume")))
    if minor(version) >= 12:
        ways.append((WORKLOAD, spec(), target(placement="none", priority=7)))
    if modern:
        ways.append((ON_TARGETS, spec(), target(target_refs=TARGETS)))
    for attachment, each, to in ways:
        made = envoyfilter.render(here(attachment, namespace), each, image("compat"), to, minor(version), schema)
        stored = tried(api, made)
        assert stored["spec"] == made["spec"]
        assert stored["metadata"]["annotations"] == made["metadata"]["annotations"]
        assert stored["metadata"]["labels"] == made["metadata"]["labels"]


@pytest.mark.parametrize("carrier", [plugin.WASM_PLUGIN, plugin.TRAFFIC_EXTENSION], ids=lambda each: each.kind)
def test_plugins(
    api: Api, namespace: str, version: str, served: dict[str, Schema | None], carrier: plugin.Carrier
) -> None:
    """Every WasmPlugin and TrafficExtension, with all that the served schema carries, is stored as it was rendered."""
    if carrier.kind.lower() not in served:
        assert minor(version) < int(carrier.since.partition(".")[2])
        return
    schema = served[carrier.kind.lower()]
    wishes: list[tuple[Attachment, dict[str, Any], dict[str, Any]]] = [
        (WORKLOAD, {}, {"patch_context": context}) for context in ("any", "inbound", "outbound", "gateway")
    ]
    wishes += [(WORKLOAD, {"fail_policy": policy}, {"patch_context": "any"}) for policy in ("closed", "open", "reload")]
    wishes += [
        (WORKLOAD, {"env": {"A": "b"}, "host_env": ("C",)}, {"patch_context": "any"}),
        (WORKLOAD, {}, {"patch_context": "outbound", "ports": (80, 443)}),
        (WORKLOAD, {}, {"patch_context": "any", "phase": "authn", "priority": -3, "pull_secret": "s"}),
        (ON_TARGETS, {}, {"target_refs": TARGETS}),
    ]
    taken = 0
    for attachment, settings, to in wishes:
        each, where = spec(JSON, **settings), target(**to)
        if not plugin.unfit(carrier, each, where, schema):
            made = plugin.render(carrier, here(attachment, namespace), each, image(), where, schema)
            assert tried(api, made)["spec"] == made["spec"]
            taken += 1
        else:
            # It is not refused in vain: the server knows no such field, and says so where it is asked to.
            made = plugin.render(carrier, here(attachment, namespace), each, image(), where)
            with pytest.raises(ApiRefused, match=r"unknown field|Unsupported value|field not declared in schema"):
                tried(api, made)
    assert taken >= (len(wishes) if minor(version) >= 27 else 3)


def test_every_filter_finds_a_kind(api: Api, namespace: str, version: str, served: dict[str, Schema | None]) -> None:
    """With --as auto a plain filter and one with a plain text get an object that the server takes."""
    for config in ("", JSON, "world"):
        choice = choose(spec(config), image(), target(), served=served)
        if choice.kind == "envoyfilter":
            made = envoyfilter.render(
                here(WORKLOAD, namespace), spec(config), image(), target(), minor(version), served["envoyfilter"]
            )
        else:
            carrier = {"wasmplugin": plugin.WASM_PLUGIN, "trafficextension": plugin.TRAFFIC_EXTENSION}[choice.kind]
            made = plugin.render(
                carrier, here(WORKLOAD, namespace), spec(config), image(), target(), served[choice.kind]
            )
        assert tried(api, made)["kind"] == choice.label
        assert choice.label == "EnvoyFilter" or config != "world"


@pytest.mark.parametrize(
    "config",
    [
        JSON,
        '{"z":1e21,"y":100000000000000000000,"x":4.346171854424075e+16,"w":-0,"v":1.0,"u":1e-7}',
        '{"nothing":null,"list":[null,{}],"text":"\\u0000\\u2028😀"}',
    ],
)
def test_the_configuration_survives(
    control_plane: ControlPlane, api: Api, serve: Callable[..., None], namespace: str, config: str
) -> None:
    """What is stored and read again is still what the filter is shown to get, in either kind."""
    serve("istio/1.30.3")
    made = plugin.render(plugin.TRAFFIC_EXTENSION, here(WORKLOAD, namespace), spec(config), image(), target())
    text = envoyfilter.render(here(WORKLOAD, namespace), spec(config), image(), target())
    with connect(control_plane.kubeconfig) as cluster:
        cluster.apply(made)
        cluster.apply(text)
    assert api.get(place(text))["spec"] == text["spec"]
    stored = api.get(place(made))["spec"]["wasm"]["pluginConfig"]
    assert configuration.as_istio_writes(stored) == configuration.as_istio_writes(configuration.as_object(config))


@pytest.mark.parametrize(
    "config",
    ["\x00\x1f", "\x7f", "\x80\x85\x9f", "\ufeff", "\ufffe\uffff", "a\u2028b\u2029c", "😀", "\r\n\t", "- a: b\n# x"],
)
def test_any_text_survives(
    control_plane: ControlPlane, api: Api, serve: Callable[..., None], namespace: str, config: str
) -> None:
    """Any text reaches the filter as it is, though the server reads an applied object as YAML, which folds and refuses
    some characters."""
    serve("istio/1.30.3")
    made = envoyfilter.render(here(WORKLOAD, namespace), spec(config), image(), target())
    with connect(control_plane.kubeconfig) as cluster:
        cluster.apply(made)
        assert cluster.settle(made)[1] is False
    assert api.get(place(made))["spec"] == made["spec"]


def test_half_a_character(control_plane: ControlPlane, namespace: str) -> None:
    """What is no Unicode is told to be none, before anything is sent."""
    made = envoyfilter.render(here(WORKLOAD, namespace), spec("\ud800"), image(), target())
    with connect(control_plane.kubeconfig) as cluster, pytest.raises(InputError, match="is not Unicode"):
        cluster.apply(made)
