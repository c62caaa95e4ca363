"""Where a filter goes in a bootstrap of values."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from wasme.envoy.address import Address
from wasme.envoy.config import MANAGER, ROUTER, WasmPlugin, cluster, default_bootstrap
from wasme.envoy.patch import add_clusters, admin_address, cluster_names, has_admin, insert_filter, listener_addresses
from wasme.errors import UsageError

PLUGIN = WasmPlugin("i", "r", "v", "/f.wasm")


def _bootstrap(*managers: dict[str, Any]) -> dict[str, Any]:
    return {"static_resources": {"listeners": [{"filter_chains": [{"filters": [each]}]} for each in managers]}}


def _manager(*filters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "n", "typed_config": {"@type": MANAGER, "http_filters": list(filters), **more}}


def _filters(bootstrap: dict[str, Any], listener: int = 0) -> list[str]:
    typed = bootstrap["static_resources"]["listeners"][listener]["filter_chains"][0]["filters"][0]["typed_config"]
    return [each["name"] for each in typed["http_filters"]]


def test_the_default_bootstrap_has_the_filter_once() -> None:
    """The echo's own manager stands behind an internal listener: requests come to it already filtered."""
    bootstrap = default_bootstrap(PLUGIN)
    assert _filters(bootstrap) == ["envoy.filters.http.wasm", "envoy.filters.http.router"]
    assert _filters(bootstrap, 1) == ["envoy.filters.http.lua", "envoy.filters.http.router"]


@pytest.mark.parametrize(
    "router",
    [
        {"name": "envoy.router"},
        {"name": "envoy.filters.http.router"},
        {"name": "x", "typed_config": {"@type": ROUTER}},
        {"name": "x", "typedConfig": {"@type": ROUTER}},
        {"name": "x", "typed_config": {"@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": ROUTER}},
        {"name": "x", "typed_config": {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "typeUrl": ROUTER}},
    ],
)
def test_before_the_router_however_it_is_written(router: dict[str, Any]) -> None:
    """The router is known by type or name; what stands before and behind it stays where it is."""
    bootstrap = _bootstrap(_manager({"name": "a"}, router, {"name": "z"}))
    assert insert_filter(bootstrap, PLUGIN) == 1
    assert _filters(bootstrap) == ["a", "envoy.filters.http.wasm", router["name"], "z"]


def test_camel_case_gets_camel_case() -> None:
    """A file in camelCase gets a filter in camelCase, with the same values."""
    bootstrap = {
        "staticResources": {
            "listeners": [
                {
                    "defaultFilterChain": {
                        "filters": [{"typedConfig": {"@type": MANAGER, "httpFilters": [{"name": "envoy.router"}]}}]
                    }
                }
            ]
        }
    }
    insert_filter(bootstrap, PLUGIN)
    chain: Any = bootstrap["staticResources"]["listeners"][0]["defaultFilterChain"]
    assert chain["filters"][0]["typedConfig"]["httpFilters"][0] == {
        "name": "envoy.filters.http.wasm",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "i",
                "rootId": "r",
                "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "v"},
                "vmConfig": {
                    "vmId": "i",
                    "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": "/f.wasm"}},
                },
            },
        },
    }
    again = deepcopy(bootstrap)
    insert_filter(again, PLUGIN)
    assert again == bootstrap


def test_empty_parts_are_left_out() -> None:
    """Neither an empty root id nor an empty configuration is written: both are optional in Envoy."""
    plugin = WasmPlugin("i", "", "", "/f").http_filter()["typed_config"]["config"]
    assert sorted(plugin) == ["name", "vm_config"]


def test_other_filters_with_the_same_name_stay() -> None:
    """Only a Wasm filter of the same id is replaced, also one in a TypedStruct; another id or kind stays."""
    mine = WasmPlugin("i", "", "old", "/old").http_filter()
    struct = {
        "name": "w",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": mine["typed_config"]["@type"],
            "value": {"config": {"name": "i"}},
        },
    }
    other = WasmPlugin("other", "", "", "/o").http_filter()
    lua = {"name": "i", "typed_config": {"@type": "lua", "config": {"name": "i"}}}
    for old in (mine, struct):
        manager = _manager(other, lua, old, {"name": "envoy.router"})
        insert_filter(_bootstrap(manager), PLUGIN)
        assert manager["typed_config"]["http_filters"] == [other, lua, PLUGIN.http_filter(), {"name": "envoy.router"}]


def test_clusters() -> None:
    """Names are listed, added, replaced; an address that is a name is looked up by DNS, an IP address is not."""
    bootstrap: dict[str, Any] = {"staticResources": {"clusters": [{"name": "a", "connectTimeout": "1s"}]}}
    add_clusters(bootstrap, {"a": Address("10.0.0.1", 1), "b|c": Address("auth.example", 2)})
    assert cluster_names(bootstrap) == ["a", "b|c"]
    assert [each["type"] for each in bootstrap["staticResources"]["clusters"]] == ["STATIC", "STRICT_DNS"]
    assert "loadAssignment" in bootstrap["staticResources"]["clusters"][1]
    assert cluster("x", Address("::1", 1))["type"] == "STATIC"
    assert cluster("x", Address("1.2.3.999", 1))["type"] == "STRICT_DNS"


def test_ports_and_admin() -> None:
    """Listeners in order, then the admin interface; 0, Unix sockets and internal listeners have none to publish."""
    bootstrap = default_bootstrap(listen=Address("0.0.0.0", 80), admin_address=Address("127.0.0.1", 0))
    assert listener_addresses(bootstrap) == [Address("0.0.0.0", 80)]
    assert admin_address(bootstrap) == Address("127.0.0.1", 0)
    assert listener_addresses({}) == []
    assert has_admin({"admin": {"address": {"pipe": {"path": "/x"}}}})
    assert not has_admin({"admin": {"access_log": []}})
    assert admin_address({"admin": {"address": {"pipe": {"path": "/x"}}}}) is None


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:65535", "::1", 65535), ("a.b-c:80", "a.b-c", 80)],
)
def test_addresses(text: str, host: str, port: int) -> None:
    """HOST:PORT and [IPv6]:PORT are read, and written the same."""
    address = Address.parse(text, "--x")
    assert (address.host, address.port, str(address)) == (host, port, text)


@pytest.mark.parametrize(
    "text", ["", "80", ":80", "a:", "a:b", "a:65536", "a:-1", "::1:80", "[::1]80", "a b:1", "http://a:1", "a:\u0661"]
)
def test_wrong_addresses(text: str) -> None:
    """Anything else is refused in one line that names the flag."""
    with pytest.raises(UsageError, match=r"^--x: "):
        Address.parse(text, "--x")


def test_anywhere_is_reached_on_loopback() -> None:
    """An Envoy that listens everywhere is asked on loopback."""
    assert str(Address("0.0.0.0", 1).reachable) == "127.0.0.1:1"
    assert str(Address("::", 1).reachable) == "[::1]:1"
