"""WasmPlugin and TrafficExtension: golden objects, only served fields, refusals that name what and since when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.deploy.istio.samples import (
    LABELS,
    MANIFEST,
    ON_TARGETS,
    TARGETS,
    WORKLOAD,
    Fields,
    image,
    spec,
    target,
)
from wasme.deploy.istio.plugin import TRAFFIC_EXTENSION, WASM_PLUGIN, Carrier, render, unfit
from wasme.deploy.spec import Backoff
from wasme.errors import InputError, UnsupportedImage

JSON = '{"b": 1, "a": "x"}'
BOTH = pytest.mark.parametrize("carrier", [WASM_PLUGIN, TRAFFIC_EXTENSION])


def module(rendered: dict[str, Any]) -> dict[str, Any]:
    """The module's part of a rendered object."""
    body: dict[str, Any] = rendered["spec"]
    return body.get("wasm", body)


def test_wasm_plugin() -> None:
    """The whole of a WasmPlugin."""
    full = spec(JSON, fail_policy="open", env={"MODE": "strict"}, host_env=("HOSTNAME",))
    to = target(
        patch_context="outbound", phase="authz", priority=7, ports=(80, 8080), pull_secret="s", pull_policy="Always"
    )
    rendered = render(WASM_PLUGIN, WORKLOAD, full, image(), to)
    assert rendered["apiVersion"] == "extensions.istio.io/v1alpha1"
    assert rendered["kind"] == "WasmPlugin"
    assert rendered["metadata"]["name"] == "productpage-v1-test"
    assert rendered["metadata"]["labels"]["wasme.io/filter"] == "test"
    assert rendered["spec"] == {
        "selector": {"matchLabels": LABELS},
        "phase": "AUTHZ",
        "priority": 7,
        "match": [{"mode": "CLIENT", "ports": [{"number": 80}, {"number": 8080}]}],
        "url": f"oci://registry.example.com:5000/mirror/team/auth@{MANIFEST}",
        "sha256": "cd" * 32,
        "imagePullPolicy": "Always",
        "imagePullSecret": "s",
        "pluginName": "add_header",
        "pluginConfig": {"b": 1, "a": "x"},
        "failStrategy": "FAIL_OPEN",
        "vmConfig": {
            "env": [
                {"name": "MODE", "valueFrom": "INLINE", "value": "strict"},
                {"name": "HOSTNAME", "valueFrom": "HOST"},
            ]
        },
    }


def test_traffic_extension() -> None:
    """A TrafficExtension has the module's part under ``wasm``, and all else where a WasmPlugin has it."""
    to = target(phase="stats", priority=-1)
    rendered = render(TRAFFIC_EXTENSION, WORKLOAD, spec(""), image(), to)
    assert rendered["kind"] == "TrafficExtension"
    assert rendered["spec"] == {
        "selector": {"matchLabels": LABELS},
        "phase": "STATS",
        "priority": -1,
        "match": [{"mode": "SERVER"}],
        "wasm": {
            "url": f"oci://registry.example.com:5000/mirror/team/auth@{MANIFEST}",
            "sha256": "cd" * 32,
            "pluginName": "add_header",
        },
    }


@pytest.mark.parametrize(
    ("context", "mode"),
    [
        ("", "SERVER"),
        ("inbound", "SERVER"),
        ("outbound", "CLIENT"),
        ("gateway", "CLIENT"),
        ("ANY", "CLIENT_AND_SERVER"),
    ],
)
@BOTH
def test_modes(carrier: Carrier, context: str, mode: str) -> None:
    """A patch context becomes the mode of the traffic that is matched."""
    rendered = render(carrier, WORKLOAD, spec(""), image(), target(patch_context=context))
    assert rendered["spec"]["match"] == [{"mode": mode}]


@BOTH
def test_targets(carrier: Carrier) -> None:
    """Attached to targets there is no selector, and no mode unless one is asked for."""
    rendered = render(carrier, ON_TARGETS, spec(""), image(), target(target_refs=TARGETS))
    assert rendered["metadata"]["name"] == "test"
    assert rendered["spec"]["targetRefs"][0]["kind"] == "Gateway"
    assert not {"selector", "match"} & set(rendered["spec"])
    asked = target(target_refs=TARGETS, ports=(443,), patch_context="outbound")
    rendered = render(carrier, ON_TARGETS, spec(""), image(), asked)
    assert rendered["spec"]["match"] == [{"mode": "CLIENT", "ports": [{"number": 443}]}]


@pytest.mark.parametrize(
    ("policy", "word"), [("closed", "FAIL_CLOSE"), ("open", "FAIL_OPEN"), ("reload", "FAIL_RELOAD")]
)
@BOTH
def test_fail_policies(carrier: Carrier, policy: str, word: str) -> None:
    """Fail policies in Istio's words."""
    assert module(render(carrier, WORKLOAD, spec("", fail_policy=policy), image(), target()))["failStrategy"] == word


@pytest.mark.parametrize(
    ("config", "settings", "said"),
    [
        ("world", {}, "the configuration: it is no JSON"),
        ("[1]", {}, "the configuration: it is no JSON object"),
        ("{}", {}, "an empty object reaches the filter as no configuration"),
        ("", {"vm_id": "v"}, "a VM id"),
        ("", {"vm_config": "c"}, "a configuration of the VM"),
        ("", {"capabilities": ("proxy_log",)}, "a list of capabilities"),
        ("", {"allow_precompiled": True}, "allow-precompiled"),
        ("", {"nack_on_code_cache_miss": True}, "nack-on-code-cache-miss"),
        ("", {"allow_on_headers_stop_iteration": False}, "allow-on-headers-stop-iteration"),
        ("", {"fail_policy": "reload", "reload_backoff": Backoff(1)}, "a reload backoff"),
        ("", {"runtime": "envoy.wasm.runtime.wamr"}, "the runtime envoy.wasm.runtime.wamr"),
        ("", {"env": {"ISTIO_META_X": "1"}}, "which Istio's agent keeps for itself"),
        ("", {"env": {"X": "y" * 2049}}, "more than 2048 characters"),
        ("", {"host_env": tuple(f"V{n}" for n in range(257))}, "more than 256 variables"),
    ],
)
@BOTH
def test_what_they_never_carry(carrier: Carrier, config: str, settings: dict[str, Any], said: str) -> None:
    """What the kinds have no field for is refused, and told where there is one."""
    with pytest.raises(InputError) as caught:
        render(carrier, WORKLOAD, spec(config, **settings), image(), target())
    assert caught.value.message.startswith(f"a {carrier.kind} cannot carry ")
    assert said in caught.value.message
    assert "--as envoyfilter" in str(caught.value.hint)


@BOTH
def test_limits(carrier: Carrier) -> None:
    """The CRD's limits themselves are carried, and nothing beyond them."""
    fit = replace(spec("", env={"X": "y" * 2048}, host_env=tuple(f"V{n}" for n in range(255))), root_id="r" * 256)
    assert not unfit(carrier, fit, target(target_refs=TARGETS * 16))
    assert unfit(carrier, replace(fit, root_id="r" * 257), target()) == ["a root id of 257 characters"]


@BOTH
def test_the_default_runtime_is_carried(carrier: Carrier) -> None:
    """The runtime that they have anyway may be named."""
    assert not unfit(carrier, spec("", runtime="envoy.wasm.runtime.v8"), target())


def test_all_reasons_are_told() -> None:
    """Several reasons stand in one message."""
    with pytest.raises(InputError, match="a VM id; nor a list of capabilities"):
        render(WASM_PLUGIN, WORKLOAD, spec("", vm_id="x", capabilities=("y",)), image(), target())


# The fields of WasmPlugin in 1.12, 1.16 and 1.20, of those that this part uses.
_1_12 = Fields("spec.priority", "spec.phase", "spec.sha256")
_1_16 = Fields("spec.match", "spec.vmConfig.env")
_1_20 = Fields("spec.match", "spec.vmConfig.env", "spec.failStrategy", failStrategy=("FAIL_CLOSE", "FAIL_OPEN"))


@pytest.mark.parametrize(
    ("schema", "settings", "to", "said"),
    [
        (_1_12, {}, {"patch_context": "outbound"}, "the patch context outbound before Istio 1.16"),
        (_1_12, {}, {}, "the patch context inbound before Istio 1.16"),
        (_1_12, {}, {"patch_context": "any", "ports": (80,)}, "ports before Istio 1.16"),
        (_1_12, {"env": {"A": "b"}}, {"patch_context": "any"}, "environment variables before Istio 1.14"),
        (_1_16, {"fail_policy": "open"}, {}, "a fail policy before Istio 1.19"),
        (_1_20, {"fail_policy": "reload"}, {}, "the fail policy reload before Istio 1.27"),
        (_1_20, {}, {"target_refs": TARGETS}, "target references before Istio 1.22"),
        (None, {}, {"target_refs": TARGETS * 17}, "more than 16 target references"),
    ],
)
def test_what_is_not_served(schema: Fields | None, settings: dict[str, Any], to: dict[str, Any], said: str) -> None:
    """A field that the served kind does not have is refused, with the Istio that first has it; never dropped."""
    with pytest.raises(InputError) as caught:
        render(WASM_PLUGIN, WORKLOAD, spec("", **settings), image(), target(**to), schema)
    assert said in caught.value.message


def test_an_old_schema_gets_no_new_field() -> None:
    """Istio 1.12 has no ``match``: all traffic and gateways, which need none, are carried without it."""
    for context in ("any", "gateway"):
        rendered = render(WASM_PLUGIN, WORKLOAD, spec(""), image(), target(patch_context=context), _1_12)
        assert "match" not in rendered["spec"]


@BOTH
def test_layouts(carrier: Carrier) -> None:
    """Istio's agent takes the original's layout and container images; another is refused with the way to a good one."""
    for layout in ("oci", "compat"):
        render(carrier, WORKLOAD, spec(""), image(layout), target())
    with pytest.raises(UnsupportedImage) as caught:
        render(carrier, WORKLOAD, spec(""), image("wasm"), target())
    assert caught.value.message.startswith("hub.example.com/team/auth:v1: Istio's agent cannot pull this image: ")
    assert "wasme push --layout compat" in str(caught.value.hint)
