"""Targets, workloads and long words within an object that has room for 1.5 MB.

An object holds its managedFields as well, which name each item of ``targets`` once more; so a third of the room is
for what is told here. What is not well comes first, and the rest is counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from wasme.operator.resources.report import Held, TargetState

Item = TypeVar("Item")

MESSAGE = 2048
"""Bytes of a condition's message; the API server takes 32 KiB, and nobody reads them."""
LINE = 512
"""Bytes of a reason in a list."""
SHOWN = 5
"""How many of a list are named in a message."""
_TARGETS = 256 << 10
_WORKLOADS = 128 << 10
_LOGIN = re.compile(r"""(?<![^\s/@'"])[^\s/@'":]++:[^\s/@'"]++@(?!sha\d+:)""")
_KEYS = ("provider", "kind", "namespace", "name")
_WORST_FIRST = {"Failed": 0, "Pending": 1, "Succeeded": 2}


def cut(text: str, most: int) -> str:
    """A text on one line, in at most so many bytes of UTF-8.

    What looks like ``user:password@`` is left out, wherever the text comes from: many more may read a status and Events
    than what they speak of.
    """
    line = _LOGIN.sub("…@", " ".join(text.split()))
    raw = line.encode(errors="replace")
    if len(raw) <= most:
        return raw.decode()
    return raw[: most - 4].decode(errors="ignore").rstrip() + " …"


def some(items: Sequence[str]) -> str:
    """The first of them, and how many more: ``a; b and 3 more``."""
    told = "; ".join(cut(each, LINE // 2) for each in items[:SHOWN])
    return f"{told} and {len(items) - SHOWN} more" if len(items) > SHOWN else told


def nodes(held: Held) -> str:
    """How many nodes hold the module, and what is with the others.

    The note stands before the nodes, of which there may be many: it says what helps.
    """
    told = f"{held.held} of {held.nodes} nodes hold the module" if held.nodes else "no node runs pods of it yet"
    note = f"; {held.note}" if held.note else ""
    left = some([f"{node}: {why}" for node, why in sorted(held.missing)])
    return f"{told}{note}; {left}" if left and not held.complete else told + note


def targets(states: Iterable[TargetState]) -> list[dict[str, Any]]:
    """``status.targets``: by namespace, kind and name, as many as there is room for."""
    unique: dict[tuple[str, ...], TargetState] = {}
    for each in sorted(states, key=_worst_first):
        unique.setdefault((each.provider, each.kind, each.namespace, each.name), each)
    chosen = _within(unique.values(), _target, _TARGETS)
    return sorted(chosen, key=lambda each: (each["provider"], each["namespace"], each["kind"], each["name"]))


def workloads(states: Iterable[TargetState]) -> dict[str, Any]:
    """``status.workloads``, the original's map by name alone.

    Where two targets have one name (a Gateway and a Service, say) the worse one is told, with its kind in front.
    """
    named: dict[str, list[TargetState]] = {}
    for each in sorted(states, key=_worst_first):
        named.setdefault(each.name, []).append(each)
    chosen = _within(named.values(), _workload, _WORKLOADS)
    return {each["name"]: {key: each[key] for key in each if key != "name"} for each in sorted(chosen, key=_name)}


def _worst_first(state: TargetState) -> tuple[int, str, str, str, str]:
    return (_WORST_FIRST[state.state], state.namespace, state.kind, state.name, state.provider)


def _name(told: Mapping[str, Any]) -> str:
    return str(told["name"])


def _target(state: TargetState) -> dict[str, Any]:
    told = {
        "provider": state.provider,
        "kind": state.kind,
        "namespace": state.namespace,
        "name": state.name,
        "object": state.object,
        "state": state.state,
        "reason": cut(state.reason, LINE),
    }
    return {name: value for name, value in told.items() if value or name not in ("object", "reason")}


def _workload(states: Sequence[TargetState]) -> dict[str, Any]:
    worst = states[0]
    reason = f"{worst.kind}: {worst.reason}" if worst.reason and len(states) > 1 else worst.reason
    told = {"name": worst.name, "state": worst.state}
    return {**told, "reason": cut(reason, LINE)} if reason else told


def _within(items: Iterable[Item], made: Callable[[Item], dict[str, Any]], room: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        each = made(item)
        room -= len(json.dumps(each))
        if room < 0:
            break
        found.append(each)
    return found


def last(before: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored status says of nodes, targets and workloads, without what no schema of ours would take."""
    made: dict[str, Any] = {}
    if nodes := known(before.get("nodes"), {"total": int, "cached": int, "summary": str}):
        made["nodes"] = nodes
    found = before.get("targets")
    if isinstance(found, list):
        read = [known(each, dict.fromkeys((*_KEYS, "object", "state", "reason"), str)) for each in found]
        unique = {
            tuple(each[name] for name in _KEYS): each
            for each in read
            if each and all(name in each for name in _KEYS) and each.get("state") in _WORST_FIRST
        }
        made["targets"] = list(unique.values())
        if type(before.get("targetCount")) is int:
            made["targetCount"] = before["targetCount"]
    stored = before.get("workloads")
    if isinstance(stored, Mapping):
        states = {name: known(each, {"state": str, "reason": str}) for name, each in stored.items()}
        # The original left the state out where it was Pending, proto3's zero.
        made["workloads"] = {
            name: each if each.get("state") in _WORST_FIRST else {**each, "state": "Pending"}
            for name, each in states.items()
            if each is not None
        }
    return made


def known(value: Any, fields: Mapping[str, type]) -> dict[str, Any] | None:
    """The fields of a stored object that have the type they should have; None where it is no object."""
    if not isinstance(value, Mapping):
        return None
    return {name: value[name] for name, kind in fields.items() if type(value.get(name)) is kind}
