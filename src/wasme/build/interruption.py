"""While something is made that must be taken away again, SIGTERM and SIGHUP end it as Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_NUMBERS = (signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """What becomes of a signal: it unwinds the stack at once, or when what must not be halved is done."""

    def __init__(self) -> None:
        self._waits = False
        self._pending = 0

    def take(self, number: int, _frame: object = None) -> None:
        """Handle one signal; after it no other, until the stack is unwound."""
        if self._waits:
            self._pending = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """A part that is done wholly, such as making a folder and noting its name, or taking it away."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
            number, self._pending = self._pending, 0
            if number:
                self.take(number)


@contextlib.contextmanager
def terminated_as_exit() -> Iterator[Interruption]:
    """SIGTERM and SIGHUP unwind the stack, so that compilers are ended and folders taken away with us.

    In another thread than the main one, which no signal reaches, nothing changes.

    Yields:
        What can let a signal wait.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    # Ctrl-C is ours only where nobody else has taken it.
    ours = [*_NUMBERS, *([signal.SIGINT] if signal.getsignal(signal.SIGINT) is signal.default_int_handler else [])]
    before = {number: signal.signal(number, interruption.take) for number in ours}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
