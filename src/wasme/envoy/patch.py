"""Put a filter into a bootstrap of the user's.

Every HTTP connection manager of every static listener gets it, in each filter chain and in the default one, just
before the router. Managers and routers are known by the type URL of their configuration, whatever their names;
``snake_case`` and ``camelCase`` keys are both read, and what is put in follows its surroundings. The same id again
replaces the filter instead of adding a second. The values are changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, MutableSequence
from typing import Any

from wasme.envoy.address import Address
from wasme.envoy.config import FILTER_NAME, WasmPlugin, cluster
from wasme.envoy.document import drop, meant, put
from wasme.errors import InvalidBootstrap

_MANAGER = ".HttpConnectionManager"
_ROUTER = ".router.v3.Router"
_WASM = ".wasm.v3.Wasm"
_STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
_ROUTER_NAMES = ("envoy.filters.http.router", "envoy.router")
_OLD_MANAGERS = ("envoy.http_connection_manager", "envoy.filters.network.http_connection_manager")
_V3_HINT = "Envoy dropped its v2 API in 1.18: give it typed_config with the @type of the v3 message"

Node = MutableMapping[str, Any]


def insert_filter(bootstrap: Node, plugin: WasmPlugin) -> int:
    """Put ``plugin`` before the router of every HTTP connection manager.

    Args:
        bootstrap: changed in place.

    Returns:
        How many managers have it now.

    Raises:
        InvalidBootstrap: there is no manager, one has no router, or one is of Envoy's v2 API.
    """
    managers = list(_managers(bootstrap))
    if not managers:
        raise InvalidBootstrap(
            "the bootstrap has no HTTP connection manager to put the filter into",
            hint="static_resources.listeners[].filter_chains[].filters[] must hold one, with its typed_config",
        )
    for where, manager in managers:
        _insert(where, manager, plugin)
    return len(managers)


def add_clusters(bootstrap: Node, clusters: Mapping[str, Address]) -> None:
    """Add upstream clusters; one of the same name is replaced.

    Raises:
        InvalidBootstrap: ``static_resources.clusters`` is no list.
    """
    if not clusters:
        return
    resources = _child(bootstrap, "static_resources", "")
    if resources is None:
        resources = bootstrap.setdefault("static_resources", {})
    found = _children(resources, "clusters", "static_resources")
    if found is None:
        found = resources["clusters"] = []
    camel = any("loadAssignment" in each or "connectTimeout" in each for each in found if isinstance(each, Mapping))
    for name, address in clusters.items():
        made = _styled(cluster(name, address), camel=camel)
        at = [index for index, each in enumerate(found) if isinstance(each, Mapping) and each.get("name") == name]
        put(found, at[0] if at else len(found), made, instead=bool(at))


def cluster_names(bootstrap: Mapping[str, Any]) -> list[str]:
    """The names of the static clusters."""
    resources = _get(bootstrap, "static_resources") or {}
    clusters = (_get(resources, "clusters") if isinstance(resources, Mapping) else None) or []
    return [str(each["name"]) for each in clusters if isinstance(each, Mapping) and "name" in each]


def listener_addresses(bootstrap: Mapping[str, Any]) -> list[Address]:
    """Where the static listeners listen on TCP, in their order."""
    resources = _get(bootstrap, "static_resources") or {}
    listeners = (_get(resources, "listeners") if isinstance(resources, Mapping) else None) or []
    found = [_socket(each) for each in listeners]
    return [address for address in found if address]


def admin_address(bootstrap: Mapping[str, Any]) -> Address | None:
    """Where the admin interface listens; None if it has no TCP address."""
    return _socket(_get(bootstrap, "admin"))


def has_admin(bootstrap: Mapping[str, Any]) -> bool:
    """Whether the bootstrap has an admin interface with an address of any kind."""
    admin = _get(bootstrap, "admin")
    return isinstance(admin, Mapping) and bool(_get(admin, "address"))


def _socket(holder: Any) -> Address | None:
    """The socket address of a listener or the admin interface."""
    address = _get(holder, "address") if isinstance(holder, Mapping) else None
    socket = _get(address, "socket_address") if isinstance(address, Mapping) else None
    if not isinstance(socket, Mapping):
        return None
    port = _get(socket, "port_value")
    return Address(str(_get(socket, "address") or ""), port) if isinstance(port, int) else None


def _insert(where: str, manager: Node, plugin: WasmPlugin) -> None:
    filters = _children(manager, "http_filters", where)
    path = f"{where}.http_filters"
    entries = list(enumerate(filters or []))
    router = next((index for index, each in entries if _is_router(each)), None)
    if filters is None or router is None:
        raise InvalidBootstrap(
            f"{path} has no router to put the filter before",
            hint="a manager of HTTP traffic ends with the filter envoy.filters.http.router",
        )
    camel = "httpFilters" in manager or any("typedConfig" in each for _, each in entries if isinstance(each, Mapping))
    made = _styled(plugin.http_filter(), camel=camel)
    same = [index for index, each in entries if _plugin_id(each) == plugin.id]
    for index in reversed(same[1:]):
        drop(filters, index)
    put(filters, same[0] if same else router, made, instead=bool(same))


def _managers(bootstrap: Node) -> Iterator[tuple[str, Node]]:
    """Each manager's configuration, and the path to it."""
    resources = _child(bootstrap, "static_resources", "")
    if resources is None:
        return
    for index, listener in enumerate(_children(resources, "listeners", "static_resources") or []):
        where = f"static_resources.listeners[{index}]"
        _must_be_map(listener, where)
        chains = [
            (f"{where}.filter_chains[{number}]", chain)
            for number, chain in enumerate(_children(listener, "filter_chains", where) or [])
        ]
        default = _child(listener, "default_filter_chain", where)
        if default is not None:
            chains.append((f"{where}.default_filter_chain", default))
        for path, chain in chains:
            _must_be_map(chain, path)
            for number, each in enumerate(_children(chain, "filters", path) or []):
                yield from _manager_in(f"{path}.filters[{number}]", each)


def _manager_in(where: str, network_filter: Node) -> Iterator[tuple[str, Node]]:
    _must_be_map(network_filter, where)
    typed = _child(network_filter, "typed_config", where)
    if typed is None:
        if network_filter.get("name") in _OLD_MANAGERS and "config" in network_filter:
            raise InvalidBootstrap(f"{where} has `config`, which is Envoy's v2 API", hint=_V3_HINT)
        return
    url, message = _unwrapped(typed)
    if url.endswith(_MANAGER):
        if ".v2." in url:
            raise InvalidBootstrap(f"{where} has the type {url.rpartition('/')[2]}, Envoy's v2 API", hint=_V3_HINT)
        yield f"{where}.typed_config", message


def _unwrapped(typed: Node) -> tuple[str, Node]:
    """The type URL and the message of an Any, looking into a TypedStruct."""
    url = str(typed.get("@type", ""))
    if url.endswith(_STRUCTS):
        value = typed.get("value")
        return str(_get(typed, "type_url") or ""), value if isinstance(value, MutableMapping) else {}
    return url, typed


def _is_router(http_filter: Any) -> bool:
    if not isinstance(http_filter, MutableMapping):
        return False
    typed = _get(http_filter, "typed_config")
    if isinstance(typed, MutableMapping) and _unwrapped(typed)[0].endswith(_ROUTER):
        return True
    return http_filter.get("name") in _ROUTER_NAMES


def _plugin_id(http_filter: Any) -> str | None:
    """The id of a Wasm filter; None for any other filter."""
    typed = _get(http_filter, "typed_config") if isinstance(http_filter, MutableMapping) else None
    if not isinstance(typed, MutableMapping):
        return None
    url, message = _unwrapped(typed)
    if not url.endswith(_WASM) and http_filter.get("name") != FILTER_NAME:
        return None
    plugin = message.get("config")
    return str(plugin.get("name", "")) if isinstance(plugin, Mapping) else None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _styled(value: Any, *, camel: bool) -> Any:
    """The same value with ``camelCase`` keys; every key of ours is a field's name."""
    if not camel:
        return value
    if isinstance(value, dict):
        return {_camel(key): _styled(each, camel=True) for key, each in value.items()}
    return [_styled(each, camel=True) for each in value] if isinstance(value, list) else value


def _get(node: Mapping[str, Any], name: str) -> Any:
    value = meant(node.get(name))
    return meant(node.get(_camel(name))) if value is None else value


def _child(node: Node, name: str, where: str) -> Node | None:
    value = _get(node, name)
    if value is not None:
        _must_be_map(value, f"{where}.{name}" if where else name)
    return value  # type: ignore[no-any-return]


def _children(node: Node, name: str, where: str) -> MutableSequence[Any] | None:
    value = _get(node, name)
    if value is not None and not isinstance(value, MutableSequence):
        raise InvalidBootstrap(f"{where}.{name} is not a list")
    return value


def _must_be_map(value: Any, where: str) -> None:
    if not isinstance(value, MutableMapping):
        raise InvalidBootstrap(f"{where} is not a mapping")
