"""What the pages of a proxy's administration say of one filter. Pure: bytes in, facts out.

Two pages are read (https://www.envoyproxy.io/docs/envoy/latest/operations/admin): ``/config_dump`` with the listeners
(and, where filters come by discovery, ``ecds_filters``), and ``/stats``; and the proxy's log. Nothing of them is
believed blindly: whatever answers there may be old, cut, or no Envoy at all, and says so in one line.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from wasme.deploy.probe.dump import Plugin, Sought, at, discovered_in, entries, one_line, plugin_count, plugin_in
from wasme.errors import ClusterError

_COUNTER = re.compile(r'^([^\s:][^:]*): (\d+|".*")$')
_REFUSED = re.compile(r"(?:TypedExtensionConfig|[Cc]onfig update) rejected: (.*)")
_FAILED = re.compile(r"Function: \w+ failed: .*|Wasm VM failed .*")


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
        place: the name under which it was discovered; "" if it came with the listener.
        name: the plugin's, by which Envoy counts.
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
    place: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Counted:
    """What the proxy has counted since its start.

    Attributes:
        created: WebAssembly VMs, of all filters.
        active: those that are there now.
        reloads: failed VMs of this filter that were replaced.
        reload_failures: failed VMs of this filter that could not be replaced.
        fetch_failures: modules that Envoy itself could not fetch.
        refusals: of this filter's discovered configuration.
        accepted: the version of it that Envoy took last; "" if it took none, or does not count it.
    """

    created: int = 0
    active: int = 0
    reloads: int = 0
    reload_failures: int = 0
    fetch_failures: int = 0
    refusals: int = 0
    accepted: str = ""


@dataclass(frozen=True, slots=True)
class Logged:
    """What the proxy has logged since the filter was configured as it is.

    Attributes:
        failures: of VMs, the last one last.
        refusals: of discovered configurations, whosever, the last one last.
    """

    failures: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


def configured(listeners: bytes, extensions: bytes, sought: Sought) -> Configured:
    """Look for a filter in a proxy's configuration.

    Args:
        listeners: ``/config_dump?resource=dynamic_listeners``, or ``static_listeners``, or all of it.
        extensions: ``/config_dump?resource=ecds_filters``; b"" where the proxy has none.
        sought: the filter.

    Raises:
        ClusterError: these are no such pages.
    """
    discovered = {each.name: each for each in discovered_in(extensions)}
    found: dict[str, list[str]] = {"active_state": [], "warming_state": [], "draining_state": [], "listener": []}
    refused: dict[str, str] = {}
    plugin: Plugin | None = None
    updated = ""
    alone = True
    for entry in entries(listeners):
        name = str(entry.get("name") or at(entry, "listener", "name") or at(entry, "active_state", "listener", "name"))
        for state, names in found.items():
            listener = entry.get(state) if state == "listener" else at(entry, state, "listener")
            hit = plugin_in(listener, sought, discovered)
            if hit is not None:
                names.append(name)
                taken = str(at(entry, state, "last_updated") or entry.get("last_updated") or "")
                # What was discovered is as old as itself, whatever happened to the listener since.
                updated = max(updated, hit.updated or taken)
                alone = alone and plugin_count(listener, discovered) == 1
                plugin = hit if state in ("active_state", "listener") or plugin is None else plugin
        error = entry.get("error_state")
        if isinstance(error, dict):
            failed = error.get("failed_configuration")
            if plugin_in(failed, sought, discovered) is not None:
                known = name if entry.get("name") else str(at(failed, "name") or "a listener")
                refused.setdefault(known, one_line(error.get("details")))
    extension = next((each for each in discovered.values() if sought.named(each.name) and each.refusal), None)
    if extension is not None:
        refused[extension.name] = extension.refusal
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


def logged(log: str, since: str) -> Logged:
    """Read a proxy's log, for what no counter and no dump tells.

    A VM that trapped is dead, and with the fail policies closed and open it stays so, uncounted
    (https://github.com/envoyproxy/envoy/issues/34881). And of a discovered configuration that Envoy refused, the dump
    shows the refused one, without a word.

    Args:
        log: lines that begin with their time, as the kubelet gives them.
        since: when the filter was configured, in RFC 3339; lines from before are about what is gone.
    """
    begun = _moment(since)
    found: dict[str, list[str]] = {"failures": [], "refusals": []}
    for line in log.splitlines():
        for kind, pattern in (("failures", _FAILED), ("refusals", _REFUSED)):
            match = pattern.search(line)
            if match:
                told = _moment(line.partition(" ")[0])
                if begun is None or told is None or told >= begun:
                    found[kind].append(one_line(match[match.lastindex or 0]))
    return Logged(tuple(found["failures"]), tuple(found["refusals"]))


def counted(page: bytes, configuration: Configured) -> Counted:
    """Read ``/stats`` as text; what is not there counts 0, since Envoy shows only what has been used.

    Raises:
        ClusterError: this is no such page.
    """
    values: dict[str, str] = {}
    for line in page.decode("utf-8", "replace").splitlines():
        match = _COUNTER.match(line)
        if match:
            values[match[1]] = match[2].strip('"')
        elif line.strip() and ": " not in line:
            raise ClusterError(f"/stats does not read as Envoy's counters: {one_line(line)}")

    def number(name: str) -> int:
        text = values.get(name, "0")
        return int(text) if text.isdecimal() else 0

    def total(ending: str) -> int:
        return sum(number(name) for name in values if name.startswith("wasm.") and name.endswith(ending))

    reload = f"wasm.{configuration.name}.vm_reload"
    discovery = f"extension_config_discovery.http_filter.{configuration.place}"
    return Counted(
        created=total(".created"),
        active=total(".active"),
        reloads=number(f"{reload}_success"),
        reload_failures=number(f"{reload}_failure"),
        fetch_failures=number("wasm.remote_load_fetch_failures"),
        refusals=number(f"{discovery}.update_rejected"),
        accepted=values.get(f"{discovery}.version_text", ""),
    )


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
