"""What the pages of a proxy's administration say of a filter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.probe.dump import Sought
from wasme.deploy.probe.evidence import Configured, Counted, Logged, configured, counted, logged
from wasme.deploy.probe.verdict import Verdict, judge
from wasme.errors import ClusterError

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
DIGEST = "ab" * 32
SOUGHT = Sought("auth", ("/istio.details-v1-auth",))


def plugin(name: str = "auth", file: str = f"/var/local/lib/wasme-cache/{DIGEST}") -> dict[str, Any]:
    return {"name": name, "vm_config": {"code": {"local": {"filename": file}}}}


def wasm(**settings: str) -> dict[str, Any]:
    return {"name": "envoy.filters.http.wasm", "typed_config": {"@type": WASM, "config": plugin(**settings)}}


def listener(*filters: dict[str, Any], where: str = "filter_chains") -> dict[str, Any]:
    chain = {"filters": [{"name": "hcm", "typed_config": {"http_filters": list(filters)}}]}
    return {"name": "virtualInbound", where: [chain] if where == "filter_chains" else chain}


def dump(**states: Any) -> bytes:
    entry = {"@type": "DynamicListener", "name": "virtualInbound", **states}
    return json.dumps({"configs": [entry]}).encode()


def active(*filters: dict[str, Any], **where: str) -> bytes:
    return dump(active_state={"listener": listener(*filters, **where), "last_updated": "2026-01-02T00:00:00.000Z"})


def ecds(typed: dict[str, Any] | None, **more: Any) -> bytes:
    extension = {"name": "extensions.istio.io/wasmplugin/istio.details-v1-auth", "typed_config": typed}
    entry = {"version_info": "7", **({"ecds_filter": extension} if typed else {}), **more}
    return json.dumps({"configs": [entry]}).encode()


def place(**more: Any) -> dict[str, Any]:
    return {"name": "extensions.istio.io/wasmplugin/istio.details-v1-auth", "config_discovery": {}, **more}


@pytest.mark.parametrize("where", ["filter_chains", "default_filter_chain"])
def test_in_use(where: str) -> None:
    """The filter is found by its plugin's name in any chain, with its file's digest and the time."""
    found = configured(active(wasm(), where=where), b"", SOUGHT)
    assert found.listeners == ("virtualInbound",)
    assert (found.digest, found.updated, found.alone) == (f"sha256:{DIGEST}", "2026-01-02T00:00:00.000Z", True)


def test_typed_struct() -> None:
    """In a TypedStruct, as EnvoyFilters are sent, the same is found, in camel case too."""
    config = {
        "name": "auth",
        "vmConfig": {"code": {"local": {"filename": f"/x/{DIGEST}"}}},
        "failurePolicy": "FAIL_OPEN",
    }
    for key in ("type_url", "typeUrl"):
        struct = {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", key: WASM, "value": {"config": config}}
        found = configured(active({"name": "x", "typed_config": struct}), b"", SOUGHT)
        assert (found.digest, found.failure_policy) == (f"sha256:{DIGEST}", "FAIL_OPEN")


def test_of_another_name() -> None:
    """Another filter's plugin, and other kinds of filters, are not taken for it; beside it they are noticed."""
    assert configured(active(wasm(name="other"), {"name": "lua"}, {}), b"", SOUGHT) == Configured()
    assert configured(active(wasm(name="other"), wasm()), b"", SOUGHT).alone is False


def test_discovered() -> None:
    """A WasmPlugin is a name in the chain and a configuration of its own, with its version; the name is Istio's."""
    typed = {
        "@type": WASM,
        "config": plugin("extensions.istio.io/wasmplugin/istio.details-v1-auth", f"/d/{DIGEST}.wasm"),
    }
    for told in ("2026-01-01T00:00:00.000Z", "2026-01-03T00:00:00.000Z"):
        found = configured(active(place()), ecds(typed, last_updated=told), SOUGHT)
        assert found.updated == told, "its VMs are as old as it, the listener may be older or younger"
    assert (found.listeners, found.digest, found.version) == (("virtualInbound",), f"sha256:{DIGEST}", "7")


@pytest.mark.parametrize(("rules", "stand_in"), [({"rules": {}}, "deny"), ({}, "allow")])
def test_stand_in(rules: dict[str, Any], stand_in: str) -> None:
    """Istio's agent puts an RBAC filter in the place of a module that it could not get."""
    found = configured(active(place()), ecds({"@type": RBAC, **rules}), SOUGHT)
    assert found.stand_in == stand_in
    verdict = judge(found, Counted(active=3, created=3))
    assert verdict.state == "stand-in"
    assert ("refuses" if stand_in == "deny" else "lets through") in verdict.reason


def test_not_delivered() -> None:
    """A place whose configuration has not come is pending."""
    found = configured(active(place()), b"", SOUGHT)
    assert judge(found, Counted(active=3, created=3)).state == "pending"


def test_refused() -> None:
    """Envoy's reason for refusing a listener or a discovered configuration that has the filter is taken over."""
    error = {"failed_configuration": listener(wasm()), "details": "Invalid path: /x\n  (nowhere)"}
    found = configured(dump(error_state=error), b"", SOUGHT)
    assert judge(found, Counted()) == Verdict(
        "rejected", "Envoy refuses the configuration: virtualInbound: Invalid path: /x (nowhere)"
    )
    failed = {"failed_configuration": {"name": place()["name"]}, "details": "Unable to create Wasm plugin"}
    found = configured(active(place()), ecds(None, error_state=failed), SOUGHT)
    assert "Unable to create Wasm plugin" in judge(found, Counted()).reason
    others = {"failed_configuration": listener(wasm(name="other")), "details": "no"}
    assert configured(dump(error_state=others), b"", SOUGHT).refused == {}


@pytest.mark.parametrize(
    ("accepted", "refusals", "log", "reason"),
    [
        ("6", 1, ("no",), " (an older one of it is in use): extensions.istio.io/wasmplugin/istio.details-v1-auth: no"),
        ("", 1, (), ": extensions.istio.io/wasmplugin/istio.details-v1-auth: the log of istio-proxy says why"),
        ("", 0, ("no",), ": extensions.istio.io/wasmplugin/istio.details-v1-auth: no"),
        ("7", 1, ("no",), None),
        ("7", 0, (), None),
        ("", 0, (), None),
    ],
)
def test_refused_and_dumped(accepted: str, refusals: int, log: tuple[str, ...], reason: str | None) -> None:
    """A dump shows the configuration that came last (here version 7) even where Envoy refused it: what it took is told
    by its counters, and where those are hidden, as in Istio, by its log.
    """
    typed = {"@type": WASM, "config": plugin("extensions.istio.io/wasmplugin/istio.details-v1-auth")}
    found = configured(active(place()), ecds(typed), SOUGHT)
    name = "extension_config_discovery.http_filter.extensions.istio.io/wasmplugin/istio.details-v1-auth"
    page = f'{name}.version_text: "{accepted}"\n{name}.update_rejected: {refusals}\nwasm.v8.active: 3\n'
    verdict = judge(found, counted(page.encode(), found), log=Logged((), log))
    expected = Verdict("running") if reason is None else Verdict("rejected", f"Envoy refuses the configuration{reason}")
    assert verdict == expected


def test_waiting_and_old() -> None:
    """A listener that warms up is pending; one that drains has no new connection, so the filter is absent."""
    assert (
        judge(configured(dump(warming_state={"listener": listener(wasm())}), b"", SOUGHT), Counted()).state == "pending"
    )
    found = configured(dump(draining_state={"listener": listener(wasm())}), b"", SOUGHT)
    assert found.old == ("virtualInbound",)
    assert judge(found, Counted()).state == "absent"


def test_static_and_whole_dump() -> None:
    """A dump of everything, and a bootstrap's own listeners, are read as well."""
    static = {"@type": "x.ListenersConfigDump", "static_listeners": [{"listener": listener(wasm())}]}
    assert configured(json.dumps({"configs": [{"@type": "y"}, static]}).encode(), b"", SOUGHT).listeners


@pytest.mark.parametrize(
    ("page", "verdict"),
    [
        ("wasm.envoy.wasm.runtime.v8.active: 3\nwasm.envoy.wasm.runtime.v8.created: 4\n", Verdict("running")),
        ("wasm.envoy.wasm.runtime.v8.created: 4", Verdict("failed", "no VM is left of 4")),
        ("", Verdict("failed", "there is no VM for it")),
        ("wasm.remote_load_fetch_failures: 2", Verdict("failed", "Envoy could not fetch the module (2 times)")),
        ("wasm.envoy.wasm.runtime.v8.active: 3\nwasm.auth.vm_reload_success: 2",
         Verdict("running", "its VM failed and was replaced 2 times")),
        ("wasm.envoy.wasm.runtime.v8.active: 3\nwasm.auth.vm_reload_failure: 2",
         Verdict("failed", "its VM failed, and 2 times no new one could be made")),
        ("wasm.envoy.wasm.runtime.v8.active: 3\nwasm.other.vm_reload_failure: 2", Verdict("running")),
    ],
)  # fmt: skip
def test_counters(page: str, verdict: Verdict) -> None:
    """VMs that are gone, that could not be replaced, modules that could not be fetched: from the counters."""
    found = configured(active(wasm()), b"", SOUGHT)
    assert judge(found, counted(page.encode(), found)) == verdict


def test_log() -> None:
    """Failures of VMs are taken from the log, in Envoy's format and Istio's, those since the configuration."""
    log = (
        "2026-01-01T23:59:59.123456789Z [2026-01-01 23:59:59.1][1][error][wasm] Function: proxy_on_log failed: old\n"
        "2026-01-02T08:00:01.123456789+08:00 2026-01-02T00:00:01Z\terror\tenvoy wasm external/x.cc:38\t"
        "Function: proxy_on_tick failed: Uncaught RuntimeError: unreachable\tthread=21\n"
        "2026-01-02T00:00:02Z [info] Function is fine\nnot a time Function: f failed: kept\n"
    )
    assert logged(log, "2026-01-02T00:00:00.000Z").failures == (
        "Function: proxy_on_tick failed: Uncaught RuntimeError: unreachable thread=21",
        "Function: f failed: kept",
    )
    assert logged("", "") == Logged()


@pytest.mark.parametrize("page", [b"<html>", b"[]", b'{"configs": 1}', b"\xff", b"[" * 100_000, b"null", b"1"])
def test_no_such_page(page: bytes) -> None:
    """What is no configuration dump is refused in one line."""
    with pytest.raises(ClusterError, match=r"^/config_dump [^\n]*$"):
        configured(page, b"", SOUGHT)
    with pytest.raises(ClusterError, match=r"^/config_dump [^\n]*$"):
        configured(active(wasm()), page, SOUGHT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["configs", "name", "active_state", "error_state", "listener", "filter_chains", "filters", "typed_config",
             "http_filters", "@type", "value", "config", "vm_config", "code", "local", "filename", "ecds_filter",
             "failed_configuration", "details", "config_discovery", "default_filter_chain", "dynamic_listeners"]
        ),
        inner | st.sampled_from([WASM, RBAC, "auth", "udpa.type.v1.TypedStruct"]),
        max_size=5,
    ),
    max_leaves=40,
)  # fmt: skip


@given(JSON, JSON, st.binary(max_size=80))
def test_lies(one: Any, other: Any, page: bytes) -> None:
    """Whatever JSON or bytes a proxy answers, the outcome is facts or one error of the tree."""
    told = ""
    try:
        configured(json.dumps({"configs": [one]}).encode(), json.dumps({"configs": [other]}).encode(), SOUGHT)
        counted(page, Configured())
    except ClusterError as error:
        told = error.message
    assert "\n" not in told
    logged(page.decode("utf-8", "replace"), "")
