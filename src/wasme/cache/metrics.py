"""Numbers for Prometheus (text exposition format 0.0.4), without a library."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "pulls": "Pulls that ended, by result.",
    "downloaded_bytes": "Bytes of modules and layers that came from registries.",
    "collected_files": "Modules removed since no image needed them.",
    "damaged_files": "Modules that were found changed on disk.",
    "http_requests": "HTTP requests answered, by status code.",
    "http_sent_bytes": "Bytes of modules sent.",
    "api_requests": "Requests to the Kubernetes API server, by verb and result.",
    "watch_restarts": "Times that the watch of the cache's ConfigMap was opened.",
}
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

Labels = tuple[tuple[str, str], ...]


class Counters:
    """What only grows; safe from threads."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, Labels], int] = {}
        self._seconds = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1, /, **labels: str) -> None:
        """Count; ``name`` is a key of the table above."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def took(self, seconds: float) -> None:
        """Note how long a pull that brought a module took."""
        at = next((number for number, bound in enumerate(_BUCKETS) if seconds <= bound), len(_BUCKETS))
        with self._lock:
            self._seconds[at] += 1
            self._sum += seconds

    def lines(self) -> Iterable[str]:
        """All of it as text."""
        with self._lock:
            values = dict(self._values)
            counts, total = list(self._seconds), self._sum
        for name, told in _COUNTERS.items():
            full = f"wasme_cache_{name}_total"
            yield from _head(full, "counter", told)
            found = sorted((labels, value) for (each, labels), value in values.items() if each == name)
            for labels, value in found or [((), 0)]:
                yield sample(full, value, dict(labels))
        full = "wasme_cache_pull_seconds"
        yield from _head(full, "histogram", "How long pulls took that brought a module.")
        below = 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), counts, strict=True):
            below += count
            yield sample(f"{full}_bucket", below, {"le": bound})
        yield sample(f"{full}_sum", total)
        yield sample(f"{full}_count", below)


def gauge(name: str, told: str, values: Iterable[tuple[Mapping[str, str], float]]) -> Iterable[str]:
    """One thing that goes up and down."""
    full = f"wasme_cache_{name}"
    yield from _head(full, "gauge", told)
    for labels, value in values:
        yield sample(full, value, labels)


def sample(name: str, value: float, labels: Mapping[str, str] | None = None) -> str:
    """One line."""
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in (labels or {}).items())
    return f"{name}{{{inside}}} {value:.17g}" if inside else f"{name} {value:.17g}"


def _head(name: str, kind: str, told: str) -> tuple[str, str]:
    return f"# HELP {name} {told}", f"# TYPE {name} {kind}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
