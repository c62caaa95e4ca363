"""Agents that have fallen silent: what a node told stays on the API server when nobody is there any more to change it.

An agent writes only when something changes, so silence alone says nothing. But it tells with each status which state of
the cache's list it has read; one that is behind the list for a while is dead, or cannot reach the API server. Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from wasme.deploy.cache.protocol import NodeStatus
from wasme.deploy.cache.statuses import reached

PATIENCE = timedelta(seconds=10)
"""How long an agent may take to read a new list."""

Object = dict[str, Any]


def written(obj: Object) -> str:
    """When somebody last changed an object, as the server has it (RFC 3339, UTC); "" if it does not say."""
    metadata = obj["metadata"]
    times = [str(each["time"]) for each in metadata.get("managedFields") or () if each.get("time")]
    return max(times, default=str(metadata.get("creationTimestamp") or ""))


def behind(status: NodeStatus, told: str, wanted: Object, now: datetime | None = None) -> str:
    """Since when an agent has not read the list, in words; "" for one that is as far as it must be.

    Args:
        status: what it told last.
        told: when that was, as of ``written``.
        wanted: the cache's own ConfigMap.
        now: None for now.
    """
    changed = _parsed(written(wanted))
    late = changed is None or (now or datetime.now(UTC)) - changed > PATIENCE
    if reached(status.observed, str(wanted["metadata"].get("resourceVersion", ""))) or not late:
        return ""
    return f"its agent has not read the list since {told or 'it began'}, and what it told is old"


def age(told: str, now: datetime | None = None) -> str:
    """How long ago a time was, as kubectl writes it: ``12s``, ``5m``, ``3h``, ``2d``; "" for no time."""
    then = _parsed(told)
    if then is None:
        return ""
    seconds = max(0, int(((now or datetime.now(UTC)) - then).total_seconds()))
    for length, letter in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * length:
            return f"{seconds // length}{letter}"
    return f"{seconds}s"


def _parsed(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
