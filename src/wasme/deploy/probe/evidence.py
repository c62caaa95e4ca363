"""What the pages of a proxy's administration say of one filter. Pure: bytes in, facts out.

Two pages are read (https://www.envoyproxy.io/docs/envoy/latest/operations/admin): ``/config_dump`` with the listeners
(and, where filters come by discovery, ``ecds_filters``), and ``/stats``. Nothing of them is believed blindly: whatever
answers there may be old, cut, or no Envoy at all, and says so in one line.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from wasme.errors import ClusterError

_WASM = "envoy.extensions.filters.http.wasm.v3.Wasm"
_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_STRUCT = "TypedStruct"
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_COUNTER = re.compile(r"^([^\s:][^:]*): (\d+)$")
_FAILED = re.compile(r"Function: \w+ failed: .*|Wasm VM failed .*")
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
class Configured:
    """What the proxy's configuration says.

    Attributes:
        listeners: names of those that have the filter, in use now.
        waiting: names of those that have it and are not in use yet.
        refused: what Envoy refused, with its own reason, by the listener's (or extension's) name.
        old: names of listeners that lost the filter, yet still serve old connections.
        file: where the module is loaded from; "" if that is not known.
        digest: ``sha256:…`` in that name; "" if it has none.
        version: of the discovered configuration; "" if it came with the listener.
        stand_in: what is in its place: ``deny`` or ``allow``, where the mesh's agent has no module; ``pending``, where
            its configuration has not been delivered; "" where it is itself.
        failure_policy: as configured; "" for Envoy's own, which is to refuse requests.
        updated: when it was configured so, in RFC 3339; "" where that is not told.
        alone: no other plugin has the same chains.
    """

    listeners: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    old: tuple[str, ...] = ()
    file: str = ""
    digest: str = ""
    version: str = ""
    stand_in: str = ""
    failure_policy: str = ""
    updated: str = ""
    alone: bool = True


@dataclass(frozen=True, slots=True)
class Counted:
    """What the proxy has counted since its start.

    Attributes:
        created: WebAssembly VMs, of all filters.
        active: those that are there now.
        reloads: failed VMs of this filter that were replaced.
        reload_failures: failed VMs of this filter that could not be replaced.
        fetch_failures: modules that Envoy itself could not fetch.
        rejected: listener updates that Envoy refused.
    """

    created: int = 0
    active: int = 0
    reloads: int = 0
    reload_failures: int = 0
    fetch_failures: int = 0
    rejected: int = 0


def configured(listeners: bytes, extensions: bytes, sought: Sought) -> Configured:
    """Look for a filter in a proxy's configuration.

    Args:
        listeners: ``/config_dump?resource=dynamic_listeners``, or ``static_listeners``, or all of it.
        extensions: ``/config_dump?resource=ecds_filters``; b"" where the proxy has none.
        sought: the filter.

    Raises:
        ClusterError: these are no such pages.
    """
    discovered = {each[0]: each for each in _extensions(extensions)}
    found: dict[str, list[str]] = {"active_state": [], "warming_state": [], "draining_state": [], "listener": []}
    refused: dict[str, str] = {}
    plugin: _Plugin | None = None
    updated = ""
    alone = True
    for entry in _entries(listeners):
        name = str(
            entry.get("name") or _at(entry, "listener", "name") or _at(entry, "active_state", "listener", "name")
        )
        for state, names in found.items():
            listener = entry.get(state) if state == "listener" else _at(entry, state, "listener")
            hit = _plugin(listener, sought, discovered)
            if hit is not None:
                names.append(name)
                updated = max(updated, str(_at(entry, state, "last_updated") or entry.get("last_updated") or ""))
                alone = alone and _plugins(listener, discovered) == 1
                plugin = hit if state in ("active_state", "listener") or plugin is None else plugin
        error = entry.get("error_state")
        if isinstance(error, dict):
            failed = error.get("failed_configuration")
            if _plugin(failed, sought, discovered) is not None:
                known = name if entry.get("name") else str(_at(failed, "name") or "a listener")
                refused.setdefault(known, _line(error.get("details")))
    extension = next((each for each in discovered.values() if sought.named(each[0]) and each[3]), None)
    if extension is not None:
        refused[extension[0]] = extension[3]
    used = tuple(dict.fromkeys(found["active_state"] + found["listener"]))
    return Configured(
        listeners=used,
        waiting=tuple(each for each in found["warming_state"] if each not in used),
        refused=refused,
        old=tuple(each for each in found["draining_state"] if each not in used),
        updated=updated,
        alone=alone,
        **(plugin.facts() if plugin else {}),
    )


def failures(log: str, since: str) -> tuple[str, ...]:
    """The lines of a proxy's log in which a VM fails, without what stands before them.

    A VM that trapped is dead, and with the fail policies closed and open it stays so; but no counter of Envoy's tells
    (https://github.com/envoyproxy/envoy/issues/34881).

    Args:
        log: lines that begin with their time, as the kubelet gives them.
        since: when the filter was configured, in RFC 3339; lines from before are about VMs that are gone.
    """
    begun = _moment(since)
    found = []
    for line in log.splitlines():
        match = _FAILED.search(line)
        if match:
            told = _moment(line.partition(" ")[0])
            if begun is None or told is None or told >= begun:
                found.append(_line(match[0]))
    return tuple(found)


def counted(page: bytes, sought: Sought) -> Counted:
    """Read ``/stats`` as text; what is not there counts 0, since Envoy shows only what has been used.

    Raises:
        ClusterError: this is no such page.
    """
    values: dict[str, int] = {}
    for line in page.decode("utf-8", "replace").splitlines():
        match = _COUNTER.match(line)
        if match:
            values[match[1]] = int(match[2])
        elif line.strip() and ": " not in line:
            raise ClusterError(f"/stats does not read as Envoy's counters: {_line(line)}")
    reload = f"wasm.{sought.id}.vm_reload"

    def total(ending: str) -> int:
        return sum(value for name, value in values.items() if name.startswith("wasm.") and name.endswith(ending))

    return Counted(
        created=total(".created"),
        active=total(".active"),
        reloads=values.get(f"{reload}_success", 0),
        reload_failures=values.get(f"{reload}_failure", 0),
        fetch_failures=values.get("wasm.remote_load_fetch_failures", 0),
        rejected=values.get("listener_manager.lds.update_rejected", 0),
    )


@dataclass(frozen=True, slots=True)
class _Plugin:
    file: str = ""
    version: str = ""
    stand_in: str = ""
    failure_policy: str = ""

    def facts(self) -> dict[str, Any]:
        digest = _HEX.findall(self.file)
        return {
            "file": self.file,
            "digest": f"sha256:{digest[-1]}" if digest else "",
            "version": self.version,
            "stand_in": self.stand_in,
            "failure_policy": self.failure_policy,
        }


_Extension = tuple[str, Any, str, str]
"""Name, typed configuration, version, refusal."""


def _entries(page: bytes) -> list[dict[str, Any]]:
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


def _extensions(page: bytes) -> Iterator[_Extension]:
    for entry in _entries(page):
        extension = entry.get("ecds_filter")
        failed = entry.get("error_state")
        if not isinstance(extension, dict):
            extension = _at(failed, "failed_configuration")
        if isinstance(extension, dict):
            details = _line(_at(failed, "details")) if isinstance(failed, dict) else ""
            typed = extension.get("typed_config")
            yield str(extension.get("name", "")), typed, str(entry.get("version_info", "")), details


def _plugin(listener: Any, sought: Sought, discovered: Mapping[str, _Extension]) -> _Plugin | None:
    """The filter in a listener; None if it has none."""
    for place in _http_filters(listener):
        name = str(place.get("name", ""))
        typed, version = place.get("typed_config"), ""
        if isinstance(place.get("config_discovery"), dict):
            _, typed, version, _ = discovered.get(name, ("", None, "", ""))
            if typed is None and sought.named(name):
                return _Plugin(version=version, stand_in="pending")
        type_name, value = _typed(typed)
        if type_name == _WASM:
            config = value.get("config")
            if isinstance(config, dict) and (config.get("name") == sought.id or sought.named(name)):
                policy = config.get("failure_policy") or config.get("failurePolicy")
                return _Plugin(_source(config), version, failure_policy=str(policy or ""))
        elif type_name == _RBAC and sought.named(name):
            return _Plugin(version=version, stand_in="deny" if "rules" in value else "allow")
    return None


def _plugins(listener: Any, discovered: Mapping[str, _Extension]) -> int:
    """How many plugins a listener has, those of one name counted once."""
    names: set[str] = set()
    for place in _http_filters(listener):
        typed = place.get("typed_config")
        if isinstance(place.get("config_discovery"), dict):
            typed = discovered.get(str(place.get("name", "")), ("", None, "", ""))[1]
        kind, value = _typed(typed)
        if kind == _WASM:
            names.add(str(_at(value, "config", "name")))
    return len(names)


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def _http_filters(listener: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(listener, dict):
        return
    for chain in [*_list(listener, "filter_chains"), listener.get("default_filter_chain")]:
        for network in _list(chain, "filters"):
            for place in _list(_at(network, "typed_config"), "http_filters"):
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
    code = _at(machine, "code")
    file = _at(code, "local", "filename")
    if isinstance(file, str):
        return file
    remote = _at(code, "remote")
    address = _at(remote, "http_uri", "uri") or _at(remote, "httpUri", "uri")
    return address if isinstance(address, str) else ""


def _at(value: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _list(value: Any, key: str) -> Iterable[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else ()


def _line(text: Any) -> str:
    return " ".join(str(text or "no reason given").split())[:_LONGEST]
