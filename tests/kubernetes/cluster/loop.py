"""What goes on beside a test, in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

_PAUSE = 0.05


class Loop(ABC):
    """Takes a turn every 50 ms from its start until `stop`, or until a turn says that it was the last."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @abstractmethod
    def turn(self) -> bool:
        """One turn; whether it was the last."""

    def stop(self) -> None:
        """Leave everything as it is."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            if self.turn():
                return
