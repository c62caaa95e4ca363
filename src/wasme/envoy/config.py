"""Envoy configuration (v3 API) as plain values.

The default bootstrap needs no other service: its one route leads to an echo that lives in the same Envoy, behind an
internal listener, and answers with the request just as an upstream would have received it. So the answer's body shows
what the filter made of the request, and its headers show what the filter made of the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wasme.envoy.address import Address

WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
STRING = "type.googleapis.com/google.protobuf.StringValue"
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_INTERNAL = "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener"

FILTER_NAME = "envoy.filters.http.wasm"
DEFAULT_LISTEN = Address("127.0.0.1", 8080)
DEFAULT_ADMIN = Address("127.0.0.1", 19000)
UPSTREAM = "upstream"
ECHO = "echo"

# Runs in Envoy: the request line, the headers, the body.
_ECHO_SOURCE = """\
function envoy_on_request(handle)
  local headers = handle:headers()
  local answer = {headers:get(":method") .. " " .. headers:get(":path") .. "\\n",
                  "host: " .. (headers:get(":authority") or "") .. "\\n"}
  for name, value in pairs(headers) do
    if name:sub(1, 1) ~= ":" then answer[#answer + 1] = name .. ": " .. value .. "\\n" end
  end
  local body = handle:body()
  if body ~= nil then answer[#answer + 1] = "\\n" .. body:getBytes(0, body:length()) end
  handle:respond({[":status"] = "200", ["content-type"] = "text/plain; charset=utf-8"}, table.concat(answer))
end
"""


@dataclass(frozen=True, slots=True)
class WasmPlugin:
    """One Wasm filter as Envoy is to run it.

    Attributes:
        id: the plugin's and the VM's name, also in Envoy's log and statistics.
        root_id: which of the module's filters; "" for modules that do not care.
        config: what the filter gets as its configuration; "" for none.
        path: the module's file, as Envoy will see it.
    """

    id: str
    root_id: str
    config: str
    path: str

    def http_filter(self) -> dict[str, Any]:
        """The entry for ``http_filters``.

        The configuration always travels as a StringValue: Envoy 1.40 hands a Struct to the filter as protobuf bytes.
        """
        plugin: dict[str, Any] = {"name": self.id}
        if self.root_id:
            plugin["root_id"] = self.root_id
        if self.config:
            plugin["configuration"] = {"@type": STRING, "value": self.config}
        plugin["vm_config"] = {
            "vm_id": self.id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": self.path}},
        }
        return {"name": FILTER_NAME, "typed_config": {"@type": WASM, "config": plugin}}


def cluster(name: str, address: Address) -> dict[str, Any]:
    """An upstream of one endpoint: looked up by DNS unless it is an IP address."""
    made: dict[str, Any] = {"name": name, "connect_timeout": "1s", "type": "STATIC" if address.is_ip else "STRICT_DNS"}
    if not address.is_ip:
        made["dns_lookup_family"] = "V4_PREFERRED"
    return {**made, "load_assignment": _assignment(name, address.envoy())}


def admin(address: Address) -> dict[str, Any]:
    """The administration interface."""
    return {"address": address.envoy()}


def default_bootstrap(
    plugin: WasmPlugin | None = None,
    *,
    listen: Address = DEFAULT_LISTEN,
    admin_address: Address = DEFAULT_ADMIN,
    upstream: Address | None = None,
    clusters: Mapping[str, Address] | None = None,
) -> dict[str, Any]:
    """A complete bootstrap.

    Args:
        plugin: the filter that requests pass; the echo's own manager does not get it.
        listen: where requests come in.
        admin_address: the administration interface.
        upstream: where requests go; None for the echo.
        clusters: what filters may call out to, by name.
    """
    target = UPSTREAM if upstream else ECHO
    bootstrap: dict[str, Any] = {
        "admin": admin(admin_address),
        "static_resources": {
            "listeners": [
                {
                    "name": "listener_0",
                    "address": listen.envoy(),
                    # Else a second Envoy on the same port would not be told, but share the requests.
                    "enable_reuse_port": False,
                    "filter_chains": [
                        chain(
                            "ingress_http",
                            [{"match": {"prefix": "/"}, "route": {"cluster": target}}],
                            [*([plugin.http_filter()] if plugin else []), router()],
                        )
                    ],
                }
            ],
            "clusters": [
                cluster(UPSTREAM, upstream) if upstream else _echo_cluster(),
                *(cluster(name, address) for name, address in (clusters or {}).items()),
            ],
        },
    }
    if not upstream:
        bootstrap["static_resources"]["listeners"].append(_echo_listener())
        bootstrap["bootstrap_extensions"] = [
            {"name": "envoy.bootstrap.internal_listener", "typed_config": {"@type": _INTERNAL}}
        ]
    return bootstrap


def _assignment(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def router() -> dict[str, Any]:
    """The last of all HTTP filters."""
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}


def chain(prefix: str, routes: Sequence[Any], filters: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A filter chain with one HTTP connection manager, whose other settings are ``more``."""
    manager = {
        "@type": MANAGER,
        "stat_prefix": prefix,
        **more,
        "route_config": {"name": prefix, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(routes)}]},
        "http_filters": list(filters),
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}


def _echo_cluster() -> dict[str, Any]:
    address = {"envoy_internal_address": {"server_listener_name": ECHO}}
    return {"name": ECHO, "load_assignment": _assignment(ECHO, address)}


def _echo_listener() -> dict[str, Any]:
    source = {"default_source_code": {"inline_string": _ECHO_SOURCE}}
    lua = {"name": "envoy.filters.http.lua", "typed_config": {"@type": _LUA, **source}}
    never = {"match": {"prefix": "/"}, "direct_response": {"status": 500}}
    return {
        "name": ECHO,
        "internal_listener": {},
        # The echo shows the request as it comes, so its manager adds nothing of its own.
        "filter_chains": [chain(ECHO, [never], [lua, router()], generate_request_id=False)],
    }
