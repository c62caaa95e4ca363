"""How Envoy Gateway judges a policy: the conditions that it writes into ``status.ancestors`` (Gateway API)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wasme.deploy.gateways import Standing

Object = Mapping[str, Any]


def standing(policy: Object) -> Standing:
    """Read a policy's status; what was said of an older generation does not count."""
    generation = policy["metadata"].get("generation", 0)
    accepted: list[Object] = []
    remarks: list[str] = []
    for where, condition in _conditions(policy):
        if condition.get("observedGeneration", generation) < generation:
            continue
        kind, holds = condition.get("type"), condition.get("status")
        if kind == "Accepted":
            if holds == "False":
                return Standing("failed", f"{where}{_told(condition)}")
            if holds == "True":
                accepted.append(condition)
        elif holds == "True" and kind in ("Overridden", "Warning"):
            remarks.append(f"{where}{_told(condition)}")
    if not accepted:
        return Standing("pending", "Envoy Gateway has not judged it yet")
    return Standing("ready", "; ".join(dict.fromkeys(remarks)))


def _conditions(policy: Object) -> Iterator[tuple[str, Object]]:
    ancestors = (policy.get("status") or {}).get("ancestors") or ()
    for ancestor in ancestors:
        ref = ancestor.get("ancestorRef") or {}
        section = f":{ref['sectionName']}" if ref.get("sectionName") else ""
        where = f"{ref.get('kind', 'Gateway')}/{ref.get('name', '')}{section}: " if len(ancestors) > 1 else ""
        for condition in ancestor.get("conditions") or ():
            yield where, condition


def _told(condition: Object) -> str:
    message = " ".join(str(condition.get("message", "")).split())
    return f"{condition.get('reason', '')}: {message}" if message else str(condition.get("reason", ""))
