"""A status must fit into one object, and stay told."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from tests.fixtures.agents import soon
from wasme.cache import reporter
from wasme.cache.reporter import Reporter, fitting
from wasme.deploy.cache.protocol import ImageStatus, NodeStatus, encode_status


def status(count: int, error: str) -> NodeStatus:
    images = tuple(ImageStatus(f"registry.example.com/filters/{number:05}:v1", error=error) for number in range(count))
    return NodeStatus("alpha", problems=("a line",), images=images)


def test_usual() -> None:
    """A status of usual size is told as it is."""
    usual = status(500, "x" * 500)
    assert fitting(usual) == usual


def test_errors_are_cut_first() -> None:
    """Where cutting the errors is enough, every image is still told."""
    found = fitting(status(3000, "x" * 500))
    assert len(found.images) == 3000
    assert len(encode_status(found)) <= 900_000


def test_the_last_are_left_out() -> None:
    """Where it is not, the last are left out, as few as must, and that is told."""
    found = fitting(status(30_000, "x" * 500))
    assert 700_000 < len(encode_status(found)) <= 900_000
    assert found.images[0].ref.endswith("00000:v1")
    left = 30_000 - len(found.images)
    assert found.problems == ("a line", f"{left} images are left out here, since the status would be too large")


class Server:
    """What an API server is asked to keep."""

    def __init__(self) -> None:
        self.written: list[float] = []

    def apply(self, path: str, obj: object) -> None:
        self.written.append(time.monotonic())

    def interrupt(self) -> None:
        pass


def test_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status is written again after a long while although nothing has changed, and not before."""
    assert reporter._AGAIN >= 1800
    monkeypatch.setattr(reporter, "_AGAIN", 1.0)
    server = Server()
    told = Reporter(cast("Any", server), "wasme", "wasme-cache", "alpha")
    told.start()
    try:
        told.status(status(1, ""), "uid")
        assert soon(lambda: len(server.written) == 3)
    finally:
        told.stop()
    first, second, third = server.written[:3]
    assert 0.7 < second - first < 15
    assert 0.7 < third - second < 15
