"""Counters in memory that all workers share, told in Prometheus' text format.

Each worker writes to a row of its own, so no lock is needed; whoever is asked adds the rows up. A row outlives its
worker: nothing that was counted is lost, and counting goes on there when its place's next worker but one takes it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctypes import Array, c_uint64

ROUTES = ("manifest", "blob", "upload", "tags", "referrers", "catalog", "api", "page", "other")
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")
_COUNTERS = {
    "wasme_hub_received_bytes_total": "Bytes of request bodies that were read.",
    "wasme_hub_sent_bytes_total": "Bytes of response bodies that were begun.",
    "wasme_hub_request_microseconds_total": "Time from request to response header, all requests together.",
    "wasme_hub_failed_logins_total": "Wrong credentials.",
}
_NAMES = tuple(_COUNTERS)
_REQUESTS = len(_NAMES)
_ROW = _REQUESTS + len(ROUTES) * len(CLASSES)
RECEIVED, SENT, MICROSECONDS, FAILED_LOGINS = range(_REQUESTS)


class Counters:
    """One worker's row of the shared counters.

    Args:
        shared: what ``share`` made, before the workers were started.
        row: what ``Rows.claim`` gave this worker.
    """

    def __init__(self, shared: Array[c_uint64], row: int) -> None:
        self._shared: Any = shared
        self._base = row * _ROW

    def add(self, counter: int, amount: int) -> None:
        """Count up ``RECEIVED``, ``SENT``, ``MICROSECONDS`` or ``FAILED_LOGINS``."""
        self._shared[self._base + counter] += amount

    def request(self, route: str, status: int) -> None:
        """Count an answered request."""
        self._shared[self._base + _REQUESTS + ROUTES.index(route) * len(CLASSES) + status // 100 - 1] += 1

    def render(self, gauges: dict[str, tuple[str, int]]) -> str:
        """The text for Prometheus.

        Args:
            gauges: name -> (help, value), measured now.
        """
        return "\n".join([*self._lines(), *_gauge_lines(gauges)]) + "\n"

    def _total(self, index: int) -> int:
        return sum(self._shared[index::_ROW])

    def _lines(self) -> Iterator[str]:
        yield "# HELP wasme_hub_requests_total Requests answered."
        yield "# TYPE wasme_hub_requests_total counter"
        for route_number, route in enumerate(ROUTES):
            for class_number, status in enumerate(CLASSES):
                if value := self._total(_REQUESTS + route_number * len(CLASSES) + class_number):
                    yield f'wasme_hub_requests_total{{route="{route}",status="{status}"}} {value}'
        for number, name in enumerate(_NAMES):
            yield f"# HELP {name} {_COUNTERS[name]}"
            yield f"# TYPE {name} counter"
            yield f"{name} {self._total(number)}"


class Rows:
    """Which row a worker writes to; known to the process that starts the workers.

    Each place among the workers has two rows, in turns: a worker may still be answering its last requests when the next
    one in its place begins.
    """

    def __init__(self, workers: int) -> None:
        self._started = [0] * workers

    def claim(self, place: int) -> int:
        """The row of the worker that is now started in ``place`` (0 to workers - 1)."""
        row = 2 * place + self._started[place] % 2
        self._started[place] += 1
        return row


def share(workers: int) -> Array[c_uint64]:
    """Memory for the rows of ``workers``, to be handed to each of them."""
    shared: Array[c_uint64] = multiprocessing.get_context().RawArray("Q", 2 * workers * _ROW)
    return shared


def _gauge_lines(gauges: dict[str, tuple[str, int]]) -> Iterator[str]:
    for name, (text, value) in gauges.items():
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} gauge"
        yield f"{name} {value}"
