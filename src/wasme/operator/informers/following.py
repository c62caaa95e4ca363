"""Informers, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from wasme.operator.informers.informer import Informer


class Following:
    """The threads of some informers.

    Args:
        informers: all that are followed.
    """

    def __init__(self, informers: Sequence[Informer[Any]]) -> None:
        self._informers = informers
        self._threads: list[threading.Thread] = []

    def start(self, stop: threading.Event) -> None:
        """Follow until ``stop`` is set."""
        for each in self._informers:
            thread = threading.Thread(target=each.run, args=(stop,), name=f"informer-{each.kind.plural}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def join(self, seconds: float) -> bool:
        """Wait until nothing is followed any more, up to a window after ``stop``; whether that is so.

        Before the cluster is closed: a connection that is closed while a thread reads from it may give the thread the
        bytes of the next one.
        """
        until = time.monotonic() + seconds
        for each in self._threads:
            each.join(max(0.0, until - time.monotonic()))
        return not any(each.is_alive() for each in self._threads)

    def wrong(self) -> str:
        """What is wrong that does not mend itself, in one line; "" for nothing."""
        ended = [each.name for each in self._threads if not each.is_alive()]
        return f"{ended[0]} has ended" if ended else ""
