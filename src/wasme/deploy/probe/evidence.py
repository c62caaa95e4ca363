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

_COUNTER = re.compile(r"^([^\s:][^:]*): (\d+)$")
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
                updated = max(updated, taken, hit.updated)
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
                found.append(one_line(match[0]))
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
            raise ClusterError(f"/stats does not read as Envoy's counters: {one_line(line)}")
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


def _moment(text: str) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
