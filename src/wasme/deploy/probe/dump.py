"""Envoy's configuration dump: which listeners have which HTTP filters, and which of those are WebAssembly. Pure.

The dump is the protocol's own messages as JSON (envoy/admin/v3/config_dump.proto); what is not of that shape is passed
over, since whatever answers there may be no Envoy, or a later one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from wasme.errors import ClusterError

_WASM = "envoy.extensions.filters.http.wasm.v3.Wasm"
_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_STRUCT = "TypedStruct"
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Sought:
    """Which filter is looked for.

    Attributes:
        id: the plugin's name in Envoy's configuration.
        names: names that its place in the filter chain may have; a name that begins with ``/`` is an ending.
    """

    id: str
    names: tuple[str, ...] = ()

    def named(self, name: str) -> bool:
        """Whether a place in a filter chain is the filter's, by its name."""
        return name in self.names or any(each[0] == "/" and name.endswith(each) for each in self.names)


@dataclass(frozen=True, slots=True)
class Plugin:
    """What stands in a filter's place in a chain.

    Attributes:
        file: where its module is loaded from; "" if that is not known.
        version: of the discovered configuration; "" if it came with the listener.
        stand_in: ``deny``, ``allow`` or ``pending`` for what is there in place of the filter; "" for itself.
        failure_policy: as configured; "".
        updated: when the discovered configuration came; "" if it came with the listener.
        place: its name in the chain, under which it was discovered; "" if it came with the listener.
        name: the plugin's, by which Envoy counts; "" if it is not itself.
    """

    file: str = ""
    version: str = ""
    stand_in: str = ""
    failure_policy: str = ""
    updated: str = ""
    place: str = ""
    name: str = ""

    def facts(self) -> dict[str, Any]:
        """The same by name, with the digest that the file's name holds."""
        digest = _HEX.findall(self.file)
        return {
            "file": self.file,
            "digest": f"sha256:{digest[-1]}" if digest else "",
            "version": self.version,
            "stand_in": self.stand_in,
            "failure_policy": self.failure_policy,
            "place": self.place,
            "name": self.name,
        }


class Extension(NamedTuple):
    """A filter's configuration that came by discovery.

    Attributes:
        name: the filter's place in chains.
        typed: its typed configuration.
        version: of it.
        refusal: why Envoy refused a newer one; "" if it did not.
        updated: when it came, in RFC 3339.
    """

    name: str = ""
    typed: Any = None
    version: str = ""
    refusal: str = ""
    updated: str = ""


_MISSING = Extension()


def entries(page: bytes) -> list[dict[str, Any]]:
    """The entries of a configuration dump, those of a dump of everything included."""
    if not page.strip():
        return []
    try:
        dump = msgspec.json.decode(page)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ClusterError("/config_dump is no JSON that can be read") from None
    configs = dump.get("configs", []) if isinstance(dump, dict) else None
    if not isinstance(configs, list):
        raise ClusterError("/config_dump does not read as Envoy's")
    result = []
    for each in configs:
        if isinstance(each, dict):
            result.append(each)
            for name in ("dynamic_listeners", "static_listeners", "ecds_filters"):
                result += [inner for inner in _list(each, name) if isinstance(inner, dict)]
    return result


def discovered_in(page: bytes) -> Iterator[Extension]:
    """The extensions of a dump of ``ecds_filters``: what came last, whether Envoy took it or not."""
    for entry in entries(page):
        extension = entry.get("ecds_filter")
        failed = entry.get("error_state")
        if not isinstance(extension, dict):
            extension = at(failed, "failed_configuration")
        if isinstance(extension, dict):
            yield Extension(
                str(extension.get("name", "")),
                extension.get("typed_config"),
                str(entry.get("version_info", "")),
                one_line(at(failed, "details")) if isinstance(failed, dict) else "",
                str(entry.get("last_updated", "")),
            )


def plugin_in(listener: Any, sought: Sought, discovered: Mapping[str, Extension]) -> Plugin | None:
    """The filter in a listener; None if it has none."""
    for place in _http_filters(listener):
        name = str(place.get("name", ""))
        came, found_as = Extension(name, place.get("typed_config")), ""
        if isinstance(place.get("config_discovery"), dict):
            came, found_as = discovered.get(name, _MISSING), name
            if came.typed is None and sought.named(name):
                return Plugin(version=came.version, stand_in="pending", place=found_as)
        type_name, value = _typed(came.typed)
        if type_name == _WASM:
            config = value.get("config")
            if isinstance(config, dict) and (config.get("name") == sought.id or sought.named(name)):
                policy = config.get("failure_policy") or config.get("failurePolicy")
                return Plugin(
                    _source(config),
                    came.version,
                    "",
                    str(policy or ""),
                    came.updated,
                    found_as,
                    str(config.get("name")),
                )
        elif type_name == _RBAC and sought.named(name):
            return Plugin("", came.version, "deny" if "rules" in value else "allow", "", came.updated, found_as)
    return None


def plugin_count(listener: Any, discovered: Mapping[str, Extension]) -> int:
    """How many plugins a listener has, those of one name counted once."""
    names: set[str] = set()
    for place in _http_filters(listener):
        typed = place.get("typed_config")
        if isinstance(place.get("config_discovery"), dict):
            typed = discovered.get(str(place.get("name", "")), _MISSING).typed
        kind, value = _typed(typed)
        if kind == _WASM:
            names.add(str(at(value, "config", "name")))
    return len(names)


def _http_filters(listener: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(listener, dict):
        return
    for chain in [*_list(listener, "filter_chains"), listener.get("default_filter_chain")]:
        for network in _list(chain, "filters"):
            for place in _list(at(network, "typed_config"), "http_filters"):
                if isinstance(place, dict):
                    yield place


def _typed(config: Any) -> tuple[str, dict[str, Any]]:
    """Type and value of a typed configuration, a TypedStruct's of what is in it."""
    if not isinstance(config, dict):
        return "", {}
    name, value = str(config.get("@type", "")), config
    if name.endswith(_STRUCT):
        name = str(config.get("type_url") or config.get("typeUrl") or "")
        inner = config.get("value")
        value = inner if isinstance(inner, dict) else {}
    return name.rpartition("/")[2], value


def _source(config: Mapping[str, Any]) -> str:
    """Where the module comes from: a file, or an address."""
    machine = config.get("vm_config") or config.get("vmConfig")
    code = at(machine, "code")
    file = at(code, "local", "filename")
    if isinstance(file, str):
        return file
    remote = at(code, "remote")
    address = at(remote, "http_uri", "uri") or at(remote, "httpUri", "uri")
    return address if isinstance(address, str) else ""


def at(value: Any, *path: str) -> Any:
    """What lies below keys of nested objects; None where there is nothing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _list(value: Any, key: str) -> Iterable[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else ()


def one_line(text: Any) -> str:
    """Somebody else's words, fit for a message."""
    return " ".join(str(text or "no reason given").split())[:_LONGEST]
