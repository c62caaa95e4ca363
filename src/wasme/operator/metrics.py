"""Numbers for Prometheus, in a registry of their own.

Counters and times are kept as things happen. What can be looked up (the queue, conditions, watches, who leads) is
looked up when Prometheus asks, so it cannot be old. Of a condition only the word that holds now is told, with the
value 1: ``wasme_filterdeployment_condition{type="Ready",status!="True"}`` finds all that are not ready.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from wasme import __version__
from wasme.operator.control.queue import Queue
from wasme.operator.resources.wanted import Key

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FRESH = 1.0


class Sources(NamedTuple):
    """What is looked up: functions that are called for each answer, from other threads.

    Attributes:
        queue: of keys, of the present term.
        leading: whether this process has the lease.
        silences: seconds since each kind's watch last gave a sign of life.
        answers: of the API server: verb and status → how many.
        conditions: of each FilterDeployment, type → status word.
    """

    queue: Callable[[], Queue]
    leading: Callable[[], bool]
    silences: Callable[[], Mapping[str, float]]
    answers: Callable[[], Mapping[tuple[str, int], int]]
    conditions: Callable[[], Iterable[tuple[Key, Mapping[str, str]]]]


class Metrics:
    """The operator's numbers."""

    def __init__(self, sources: Sources) -> None:
        self._registry = registry = CollectorRegistry()
        self._results = Counter(
            "wasme_operator_reconcile", "Looks at a FilterDeployment that ended, by result.", ["result"],
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "wasme_operator_reconcile_seconds", "How long a look at a FilterDeployment took.", buckets=_BUCKETS,
            registry=registry,
        )  # fmt: skip
        for result in ("ok", "waiting", "failed", "gone"):
            self._results.labels(result)
        registry.register(_LookedUp(sources))
        self._lock = threading.Lock()
        self._text = b""
        self._made = -_FRESH

    def reconciled(self, result: str, seconds: float) -> None:
        """One look ended: ``ok``, ``waiting`` (for nodes, pods, a rollout), ``failed`` (tried again) or ``gone``."""
        self._results.labels(result).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it in the text exposition format; made anew once a second at most, whoever asks."""
        with self._lock:
            if time.monotonic() - self._made >= _FRESH:
                self._text = generate_latest(self._registry)
                self._made = time.monotonic()
            return self._text


class _LookedUp(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def describe(self) -> Iterable[Metric]:
        """Nothing: the names are known when they are asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        queue = self._sources.queue()
        build = GaugeMetricFamily("wasme_build_info", "This program.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily("wasme_operator_queue_depth", "Keys that are due and wait for a worker.", len(queue))
        yield GaugeMetricFamily("wasme_operator_queue_delayed", "Keys that are due later.", queue.delayed)
        yield CounterMetricFamily("wasme_operator_queue_adds", "Keys that came to be due.", queue.added)
        yield CounterMetricFamily("wasme_operator_queue_retries", "Keys that failed and come again.", queue.retried)
        yield GaugeMetricFamily("wasme_operator_leader", "Whether this process works.", int(self._sources.leading()))
        silent = GaugeMetricFamily(
            "wasme_operator_watch_silence_seconds", "Since a watch last gave a sign of life.", labels=["kind"]
        )
        for kind, seconds in sorted(self._sources.silences().items()):
            silent.add_metric([kind], seconds)
        yield silent
        requests = CounterMetricFamily(
            "wasme_operator_api_requests", "Answers of the API server, without watches.", labels=["verb", "code"]
        )
        for (verb, code), count in sorted(self._sources.answers().items()):
            requests.add_metric([verb, str(code)], count)
        yield requests
        condition = GaugeMetricFamily(
            "wasme_filterdeployment_condition", "Each condition with the status word that holds now.",
            labels=["namespace", "name", "type", "status"],
        )  # fmt: skip
        for key, words in self._sources.conditions():
            for kind, status in words.items():
                condition.add_metric([key.namespace, key.name, kind, status], 1)
        yield condition
