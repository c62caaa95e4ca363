"""EnvoyFilter: golden objects for old and new Istio, and what a mesh cannot carry is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.deploy.istio.samples import (
    LABELS,
    MANIFEST,
    MODULE,
    ON_TARGETS,
    SPEC,
    TARGETS,
    WORKLOAD,
    Fields,
    image,
    spec,
    target,
)
from wasme.deploy.istio.envoyfilter import render
from wasme.deploy.istio.target import Attachment
from wasme.deploy.spec import Backoff
from wasme.errors import InputError, UnsupportedImage, UsageError

_FILE = f"/var/local/lib/wasme-cache/{'ab' * 32}"
STRUCT = "type.googleapis.com/udpa.type.v1.TypedStruct"
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
STRING = "type.googleapis.com/google.protobuf.StringValue"

# What the original writes for Istio 1.7 and later, but for the names in the match and our marks.
GOLDEN: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1alpha3",
    "kind": "EnvoyFilter",
    "metadata": {
        "name": "productpage-v1-test",
        "namespace": "bookinfo",
        "labels": {"app.kubernetes.io/managed-by": "wasme", "wasme.io/filter": "test"},
        "annotations": {
            "wasme.io/workload": "Deployment/productpage-v1",
            "wasme.io/id": "test",
            "wasme.io/image": "hub.example.com/team/auth:v1",
            "wasme.io/digest": MODULE,
            "wasme.io/manifest": MANIFEST,
        },
    },
    "spec": {
        "workloadSelector": {"labels": LABELS},
        "configPatches": [
            {
                "applyTo": "HTTP_FILTER",
                "match": {
                    "context": "SIDECAR_INBOUND",
                    "listener": {
                        "filterChain": {
                            "filter": {
                                "name": "envoy.filters.network.http_connection_manager",
                                "subFilter": {"name": "envoy.filters.http.router"},
                            }
                        }
                    },
                },
                "patch": {
                    "operation": "INSERT_BEFORE",
                    "value": {
                        "name": "envoy.filters.http.wasm",
                        "typedConfig": {
                            "@type": STRUCT,
                            "typeUrl": WASM,
                            "value": {
                                "config": {
                                    "name": "test",
                                    "rootId": "add_header",
                                    "configuration": {"@type": STRING, "value": "world"},
                                    "vmConfig": {
                                        "vmId": "test",
                                        "runtime": "envoy.wasm.runtime.v8",
                                        "code": {"local": {"filename": _FILE}},
                                    },
                                }
                            },
                        },
                    },
                },
            }
        ],
    },
}


def plugin(rendered: dict[str, Any]) -> dict[str, Any]:
    """The PluginConfig in a rendered object, of either shape."""
    value = rendered["spec"]["configPatches"][0]["patch"]["value"]
    config: dict[str, Any] = (value["typedConfig"]["value"] if "typedConfig" in value else value["config"])["config"]
    return config


def names(rendered: dict[str, Any]) -> tuple[str, str]:
    """The names that the patch matches."""
    found = rendered["spec"]["configPatches"][0]["match"]["listener"]["filterChain"]["filter"]
    return found["name"], found["subFilter"]["name"]


@pytest.mark.parametrize("minor", [8, 9, 18, 19, 30, None])
def test_golden(minor: int | None) -> None:
    """From Istio 1.8 on, and where its version cannot be told, it is the original's object with canonical names."""
    assert render(WORKLOAD, SPEC, image(), target(), minor) == GOLDEN


def test_keys_come_in_the_originals_order() -> None:
    """Written out, the plugin's keys stand as the original wrote them."""
    assert list(plugin(render(WORKLOAD, SPEC, image(), target()))) == ["name", "rootId", "configuration", "vmConfig"]
    assert list(plugin(render(WORKLOAD, SPEC, image(), target()))["vmConfig"]) == ["vmId", "runtime", "code"]


@pytest.mark.parametrize("minor", [5, 6])
def test_before_1_7(minor: int) -> None:
    """Istio 1.5 and 1.6 take an untyped ``config`` whose configuration is the plain string."""
    rendered = render(WORKLOAD, SPEC, image(), target(), minor)
    assert rendered["spec"]["configPatches"][0]["patch"]["value"] == {
        "name": "envoy.filters.http.wasm",
        "config": {
            "config": {
                "name": "test",
                "rootId": "add_header",
                "configuration": "world",
                "vmConfig": {
                    "vmId": "test",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": _FILE}},
                },
            }
        },
    }


def test_1_7() -> None:
    """Istio 1.7 is the first that takes the typed shape, with the configuration as it is today."""
    made = render(WORKLOAD, spec(vm_config="c"), image(), target(), 7)["spec"]["configPatches"][0]["patch"]["value"]
    wanted = render(WORKLOAD, spec(vm_config="c"), image(), target())["spec"]["configPatches"][0]["patch"]["value"]
    assert made == wanted
    older = plugin(render(WORKLOAD, spec(vm_config="c"), image(), target(), 6))
    assert (older["configuration"], older["vmConfig"]["configuration"]) == ("world", "c")


@pytest.mark.parametrize(
    ("minor", "old"), [(5, True), (6, True), (7, True), (8, False), (18, False), (19, False), (None, False)]
)
def test_names(minor: int | None, old: bool) -> None:
    """[BUG of the original: from Istio 1.19 on its patch matched nothing.] Istio's listeners have the old names before
    1.8, and the new ones since; each version gets the names that it knows."""
    expected = (
        ("envoy.http_connection_manager", "envoy.router")
        if old
        else ("envoy.filters.network.http_connection_manager", "envoy.filters.http.router")
    )
    assert names(render(WORKLOAD, SPEC, image(), target(), minor)) == expected


@pytest.mark.parametrize(
    ("given", "context"),
    [
        ("", "SIDECAR_INBOUND"),
        ("inbound", "SIDECAR_INBOUND"),
        ("InBound", "SIDECAR_INBOUND"),
        ("OUTBOUND", "SIDECAR_OUTBOUND"),
        ("gateway", "GATEWAY"),
        ("any", None),
        ("ANY", None),
    ],
)
def test_patch_context(given: str, context: str | None) -> None:
    """The patch context is taken in any case; ``any`` is no key at all, as the original wrote it."""
    match = render(WORKLOAD, SPEC, image(), target(patch_context=given))["spec"]["configPatches"][0]["match"]
    assert match.get("context") == context
    assert ("context" in match) == (context is not None)


def test_unknown_patch_context() -> None:
    """Another one is refused in the original's words."""
    with pytest.raises(UsageError) as caught:
        render(WORKLOAD, SPEC, image(), target(patch_context="Sideways"))
    assert caught.value.message == (
        "unknown patch context Sideways, must be one of the following values: any, inbound, outbound, gateway"
    )


def test_nothing_is_there_that_was_not_given() -> None:
    """Without root id and configuration their keys are absent."""
    bare = replace(SPEC, root_id="", config="")
    assert set(plugin(render(WORKLOAD, bare, image(), target()))) == {"name", "vmConfig"}


def test_every_setting() -> None:
    """A current Istio carries every field of PluginConfig and VmConfig."""
    full = spec(
        fail_policy="reload",
        reload_backoff=Backoff(1.5, 30),
        env={"MODE": "strict"},
        host_env=("HOSTNAME",),
        vm_id="shared",
        vm_config="{}",
        capabilities=("proxy_log",),
        allow_precompiled=True,
        nack_on_code_cache_miss=True,
        allow_on_headers_stop_iteration=False,
        runtime="envoy.wasm.runtime.wamr",
    )
    assert plugin(render(WORKLOAD, full, image(), target(), 30)) == {
        "name": "test",
        "rootId": "add_header",
        "configuration": {"@type": STRING, "value": "world"},
        "vmConfig": {
            "vmId": "shared",
            "runtime": "envoy.wasm.runtime.wamr",
            "code": {"local": {"filename": _FILE}},
            "configuration": {"@type": STRING, "value": "{}"},
            "allowPrecompiled": True,
            "nackOnCodeCacheMiss": True,
            "environmentVariables": {"hostEnvKeys": ["HOSTNAME"], "keyValues": {"MODE": "strict"}},
        },
        "failurePolicy": "FAIL_RELOAD",
        "reloadConfig": {"backoff": {"baseInterval": "1.5s", "maxInterval": "30s"}},
        "capabilityRestrictionConfig": {"allowedCapabilities": {"proxy_log": {}}},
        "allowOnHeadersStopIteration": False,
    }


@pytest.mark.parametrize(
    ("minor", "policy", "fields"),
    [
        (None, "open", {"failurePolicy": "FAIL_OPEN"}),
        (25, "open", {"failurePolicy": "FAIL_OPEN"}),
        (25, "closed", {"failurePolicy": "FAIL_CLOSED"}),
        (25, "reload", {"failurePolicy": "FAIL_RELOAD"}),
        (24, "open", {"failOpen": True}),
        (24, "closed", {}),
        (7, "open", {"failOpen": True}),
        (6, "closed", {}),
        (30, "", {}),
    ],
)
def test_fail_policy(minor: int | None, policy: str, fields: dict[str, Any]) -> None:
    """Envoy 1.33, in Istio 1.25, has failure_policy; before that there is fail_open, and closed is what Envoy does."""
    rendered = plugin(render(WORKLOAD, spec(fail_policy=policy), image(), target(), minor))
    assert {key: value for key, value in rendered.items() if key.startswith("fail")} == fields


@pytest.mark.parametrize(
    ("minor", "settings", "said", "since"),
    [
        (24, {"fail_policy": "reload"}, "fail policy reload", "1.25"),
        (6, {"fail_policy": "open"}, "fail policy open", "1.7"),
        (9, {"env": {"A": "b"}}, "environment variables", "1.10"),
        (9, {"host_env": ("A",)}, "environment variables", "1.10"),
        (9, {"capabilities": ("proxy_log",)}, "capabilities", "1.10"),
        (6, {"nack_on_code_cache_miss": True}, "nack on code cache miss", "1.7"),
        (26, {"allow_on_headers_stop_iteration": True}, "allow on headers stop iteration", "1.27"),
    ],
)
def test_settings_that_the_proxy_lacks(minor: int, settings: dict[str, Any], said: str, since: str) -> None:
    """What the mesh's Envoy has no field for, and would drop, is refused, with the first Istio that has it."""
    with pytest.raises(InputError) as caught:
        render(WORKLOAD, spec(**settings), image(), target(), minor)
    assert said in caught.value.message
    assert f"Istio 1.{minor} " in caught.value.message
    assert caught.value.hint is not None
    assert f"Istio {since} " in caught.value.hint
    render(WORKLOAD, spec(**settings), image(), target(), int(since.partition(".")[2]))


def test_backoff_without_reload() -> None:
    """A backoff means nothing with another fail policy."""
    with pytest.raises(InputError, match="for fail policy reload"):
        render(WORKLOAD, spec(fail_policy="open", reload_backoff=Backoff(1)), image(), target())


def test_image_volume() -> None:
    """In an image volume the module is a file of the filter's own folder, and the layout must be a container's."""
    rendered = plugin(render(WORKLOAD, SPEC, image("compat"), target(placement="image-volume")))
    assert rendered["vmConfig"]["code"] == {"local": {"filename": "/var/local/lib/wasme/test/plugin.wasm"}}
    with pytest.raises(UnsupportedImage, match="cannot be a volume: its layout is oci") as caught:
        render(WORKLOAD, SPEC, image("oci"), target(placement="image-volume"))
    assert "--layout compat" in str(caught.value.hint)
    with pytest.raises(InputError, match=r"injector of Istio 1\.23 knows no image volumes"):
        render(WORKLOAD, SPEC, image("compat"), target(placement="image-volume"), 23)
    render(WORKLOAD, SPEC, image("compat"), target(placement="image-volume"), 24)


def test_older_proxies() -> None:
    """In a mesh that is on its way to a newer Istio, the control plane's names count, and the oldest proxy's fields."""
    older = render(WORKLOAD, spec(fail_policy="open"), image(), target(), 30, proxy=24)
    assert plugin(older)["failOpen"] is True
    assert names(older) == names(render(WORKLOAD, SPEC, image(), target(), 30))
    newer = render(WORKLOAD, spec(fail_policy="open"), image(), target(), 24, proxy=30)
    assert plugin(newer)["failOpen"] is True
    with pytest.raises(InputError, match=r"a proxy of Istio 1\.24 cannot have fail policy reload"):
        render(WORKLOAD, spec(fail_policy="reload"), image(), target(), 30, proxy=24)
    with pytest.raises(InputError, match=r"proxies of Istio 1\.11 pull no images"):
        render(WORKLOAD, SPEC, image(), target(placement="none"), 30, proxy=11)


def test_agent() -> None:
    """Without a cache, Istio's agent brings the module: a resource of its own and a filter that discovers it, by one
    name, closed while there is none."""
    first, second = render(WORKLOAD, SPEC, image(), target(placement="none"))["spec"]["configPatches"]
    assert first["applyTo"] == "EXTENSION_CONFIG"
    assert first["match"] == {"context": "SIDECAR_INBOUND"}
    assert first["patch"]["operation"] == "ADD"
    added = first["patch"]["value"]
    remote = added["typedConfig"]["value"]["config"]["vmConfig"]["code"]["remote"]
    assert remote["httpUri"]["uri"] == f"oci://registry.example.com:5000/mirror/team/auth@{MANIFEST}"
    assert remote["sha256"] == "cd" * 32
    assert second["applyTo"] == "HTTP_FILTER"
    asking = second["patch"]["value"]
    assert asking["name"] == added["name"] == "wasme.io/bookinfo/productpage-v1-test"
    assert asking["configDiscovery"]["typeUrls"][0] == WASM
    assert asking["configDiscovery"]["defaultConfig"]["rules"] == {}
    assert asking["configDiscovery"]["configSource"]["ads"] == {}


def test_agent_open() -> None:
    """With fail policy open everything passes until the module is there."""
    patches = render(WORKLOAD, spec(fail_policy="open"), image(), target(placement="none", patch_context="any"))
    discovery = patches["spec"]["configPatches"][1]["patch"]["value"]["configDiscovery"]
    assert "rules" not in discovery["defaultConfig"]
    assert "match" not in patches["spec"]["configPatches"][0]


def test_agent_refusals() -> None:
    """Old proxies pull nothing, an EnvoyFilter hands over no secret, and the agent takes three layouts only."""
    with pytest.raises(InputError, match=r"Istio 1\.11 pull no images"):
        render(WORKLOAD, SPEC, image(), target(placement="none"), 11)
    render(WORKLOAD, SPEC, image(), target(placement="none"), 12)
    with pytest.raises(InputError, match="pull secret"):
        render(WORKLOAD, SPEC, image(), target(placement="none", pull_secret="s"))
    with pytest.raises(UnsupportedImage, match="Istio's agent cannot pull this image") as caught:
        render(WORKLOAD, SPEC, image("wasm"), target(placement="none"))
    assert "wasme push --layout compat" in str(caught.value.hint)
    # The node cache takes every layout.
    render(WORKLOAD, SPEC, image("wasm"), target())


def test_target_refs() -> None:
    """Attached to gateways and services it is one object called as the filter, for any context."""
    rendered = render(ON_TARGETS, SPEC, image(), target(target_refs=TARGETS), 30, Fields("spec.targetRefs"))
    assert rendered["metadata"]["name"] == "test"
    assert rendered["spec"]["targetRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
    ]
    assert "workloadSelector" not in rendered["spec"]
    assert "context" not in rendered["spec"]["configPatches"][0]["match"]
    assert "wasme.io/workload" not in rendered["metadata"]["annotations"]
    with pytest.raises(InputError, match=r"cannot carry target references before Istio 1\.22"):
        render(ON_TARGETS, SPEC, image(), target(target_refs=TARGETS), 20, Fields())


def test_priority() -> None:
    """A higher priority sees a request first: Istio inserts by ascending priority, each nearer to the router."""
    rendered = render(WORKLOAD, SPEC, image(), target(priority=5), 30, Fields("spec.priority"))
    assert rendered["spec"]["priority"] == -5
    assert "priority" not in render(WORKLOAD, SPEC, image(), target(priority=0))["spec"]
    with pytest.raises(InputError, match="cannot carry a priority"):
        render(WORKLOAD, SPEC, image(), target(priority=5), 9, Fields())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phase": "authn"}, "cannot carry the phase authn"),
        ({"ports": (80,)}, "cannot carry ports"),
        ({"pull_policy": "Always"}, "cannot carry a pull policy"),
        ({"priority": -(2**31)}, "cannot carry the priority -2147483648"),
    ],
)
def test_what_no_envoyfilter_carries(given: dict[str, Any], said: str) -> None:
    """What an EnvoyFilter has no field for is refused, and told where there is one."""
    with pytest.raises(InputError, match=said) as caught:
        render(WORKLOAD, SPEC, image(), target(**given))
    assert "--as wasmplugin" in str(caught.value.hint)


def test_long_id_has_a_label() -> None:
    """An id longer than a label's value may be is labelled by its beginning and a hash."""
    long = "a" * 100
    attachment = Attachment.to_workload(long, "Deployment", "w", "ns", LABELS)
    rendered = render(attachment, replace(SPEC, id=long), image(), target())
    label = rendered["metadata"]["labels"]["wasme.io/filter"]
    assert len(label) <= 63
    assert label.startswith("aaa")
    assert rendered["metadata"]["annotations"]["wasme.io/id"] == long


def test_pods_without_labels() -> None:
    """A workload whose pods have no label cannot be selected: an empty selector would be the whole namespace."""
    with pytest.raises(UsageError, match="no labels"):
        Attachment.to_workload("test", "Deployment", "w", "ns", {})
