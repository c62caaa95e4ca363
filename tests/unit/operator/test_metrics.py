"""What Prometheus reads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wasme import __version__
from wasme.operator import metrics as module
from wasme.operator.control.queue import Queue
from wasme.operator.metrics import Metrics, Sources
from wasme.operator.resources.wanted import Key

ODD = 'quote"back\\slash'


def read(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample, by name and label values, through the parser of Prometheus' own library."""
    return {
        (sample.name, *(str(value) for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks by result, their times, the queue, who leads, silent watches, answers, conditions: as they are now."""
    monkeypatch.setattr(module, "_FRESH", 0.0)
    queue = Queue()
    conditions = {"Ready": "False", "Degraded": "True"}
    leads = [False]
    metrics = Metrics(
        Sources(
            lambda: queue, lambda: leads[0], lambda: {"Pod": 1.5}, lambda: {("apply", 200): 7, ("apply", 409): 1},
            lambda: [(Key("shop", ODD), conditions)],
        )
    )  # fmt: skip
    found = read(metrics)
    assert found["wasme_operator_reconcile_total", "failed"] == 0, "a rate needs the zero"
    for result, seconds in (("ok", 0.02), ("ok", 4.0), ("failed", 0.3)):
        metrics.reconciled(result, seconds)
    queue.add(Key("shop", "a"))
    queue.add_after(Key("shop", "b"), 60)
    queue.retry(Key("shop", "c"))
    leads[0] = True
    conditions["Ready"] = "True"
    found = read(metrics)
    assert (found["wasme_operator_reconcile_total", "ok"], found["wasme_operator_reconcile_total", "failed"]) == (2, 1)
    assert found["wasme_operator_reconcile_seconds_count",] == 3
    assert found["wasme_operator_reconcile_seconds_bucket", "0.05"] == 1
    assert found["wasme_operator_queue_depth",] == 1
    assert found["wasme_operator_queue_delayed",] == 2
    assert found["wasme_operator_queue_adds_total",] == 1
    assert found["wasme_operator_queue_retries_total",] == 1
    assert found["wasme_operator_leader",] == 1
    assert found["wasme_operator_watch_silence_seconds", "Pod"] == 1.5
    assert found["wasme_operator_api_requests_total", "409", "apply"] == 1
    assert found["wasme_filterdeployment_condition", ODD, "shop", "True", "Ready"] == 1
    assert ("wasme_filterdeployment_condition", ODD, "shop", "False", "Ready") not in found
    assert any(key[0] == "wasme_build_info" and __version__ in key for key in found)


def test_a_flood_of_questions() -> None:
    """Whoever asks all the time gets what was made within the last second: it costs one look at everything."""
    looked: list[int] = []

    def conditions() -> list[tuple[Key, dict[str, str]]]:
        looked.append(1)
        return []

    metrics = Metrics(Sources(Queue, bool, dict, dict, conditions))
    for _ in range(100):
        metrics.text()
    assert len(looked) <= 2
