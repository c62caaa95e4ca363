"""How Gloo judges a Gateway: ``status`` of an old Gloo; of new ones a status for each namespace that a Gloo runs in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wasme.deploy.gateways import Standing

_STATES = ("Pending", "Accepted", "Rejected", "Warning")


def standing(gateway: Mapping[str, Any]) -> Standing:
    """Read a Gateway's status: the worst of what it says."""
    told = list(_states(gateway.get("status") or {}))
    for state, reason in told:
        if state == "Rejected":
            return Standing("failed", f"Gloo rejects it: {reason}" if reason else "Gloo rejects it")
    if not told or any(state not in ("Accepted", "Warning") for state, _ in told):
        return Standing("pending", "Gloo has not judged it yet")
    return Standing("ready", "; ".join(reason or "Gloo warns of it" for state, reason in told if state == "Warning"))


def _states(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    by_namespace = status.get("statuses")
    several = by_namespace.values() if isinstance(by_namespace, Mapping) and by_namespace else [status]
    for each in several:
        state = each.get("state") if isinstance(each, Mapping) else None
        if state is not None:
            name = _STATES[state] if isinstance(state, int) and 0 <= state < len(_STATES) else str(state)
            yield name, " ".join(str(each.get("reason", "")).split())
