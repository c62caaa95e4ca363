"""What goes on beside a test, in a thread of its own."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

_PAUSE = 0.05


class Loop(ABC):
    """Takes a turn every 50 ms from its start until `stop`, or until a turn says that it was the last."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._turned = threading.Condition()
        self._turns = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @abstractmethod
    def turn(self) -> bool:
        """One turn; whether it was the last."""

    def whole_turn(self, seconds: float = 60) -> bool:
        """Wait until a turn has begun and ended from now on; whether one has."""
        with self._turned:
            last = self._turns + 2  # the one that is under way may have begun before
            return self._turned.wait_for(lambda: self._turns >= last, seconds)

    def stop(self) -> None:
        """Leave everything as it is."""
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE):
            if self.turn():
                return
            with self._turned:
                self._turns += 1
                self._turned.notify_all()
