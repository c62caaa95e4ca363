"""A download must keep going."""

from __future__ import annotations

import threading
import time

import pytest

from wasme.cache import pulling
from wasme.cache.metrics import Counters
from wasme.errors import Unreachable


class Trickle:
    """A byte now and then."""

    def read(self, size: int, /) -> bytes:
        time.sleep(0.01)
        return b"x" if size else b""


def test_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that sends a byte now and then, which no time-out notices, is given up after the grace."""
    monkeypatch.setattr(pulling, "_GRACE_SECONDS", 0.1)
    source = pulling._Paced(Trickle(), "sha256:" + "a" * 64, Counters(), threading.Event())
    begun = time.monotonic()

    def read_on() -> None:
        while source.read(100):
            assert time.monotonic() - begun < 5

    with pytest.raises(Unreachable, match="too few"):
        read_on()
    assert time.monotonic() - begun > 0.1


def test_stop() -> None:
    """A download ends when the agent does."""
    stopping = threading.Event()
    source = pulling._Paced(Trickle(), "sha256:" + "a" * 64, Counters(), stopping)
    assert source.read(1) == b"x"
    stopping.set()
    with pytest.raises(pulling.Stopped):
        source.read(1)
