"""Errors of the cluster, told with what was being done to the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from wasme.errors import CacheError, ClusterError


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Errors from inside begin with ``what`` and a colon, the original's prefixes; their kind and hint stay."""
    try:
        yield
    except (ClusterError, CacheError) as error:
        raise type(error)(f"{what}: {error.message}", hint=error.hint) from error


def listed(names: Iterable[str], most: int = 10) -> str:
    """Names joined by commas, sorted; many are cut, and how many more there are is told."""
    ordered = sorted(names)
    cut = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + cut


def go_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: ``1m0s``, ``30s``, ``1h0m0s``, ``500ms``."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    text = f"{rest:g}s"
    if hours:
        return f"{hours:g}h{minutes:g}m{text}"
    return f"{minutes:g}m{text}" if minutes else text
