"""A status must fit into one object."""

from __future__ import annotations

from wasme.cache.reporter import fitting
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
