"""Threads that take keys from the queue and look at them, as long as this process leads."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from wasme.errors import LeadershipLost, WasmeError
from wasme.operator.control.queue import Queue
from wasme.operator.resources.wanted import Key

log = logging.getLogger(__name__)

RESYNC = 600.0
"""Seconds after which each key is looked at again though nobody called it; a tenth more or less."""
STUCK = 600.0
"""Seconds that no look takes: what waits for others returns and is called again. Where none has ended for so long,
or one takes six times as long, something is wrong."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a look ended.

    Attributes:
        result: ``ok``; ``waiting`` for something that will call; ``failed``, to be tried again; ``gone`` for good.
        again: seconds after which to look again in any case; None for the usual time, and for a failure for what its
            growing patience says.
    """

    result: Literal["ok", "waiting", "failed", "gone"] = "ok"
    again: float | None = None


class Workers:
    """Some threads and their queue; ``stop`` ends both.

    Args:
        queue: what is to be looked at.
        look: at one key; what it raises is a failure of this key alone.
        count: of threads.
        note: told the result and the seconds of each look.
    """

    def __init__(
        self, queue: Queue, look: Callable[[Key], Looked], count: int, note: Callable[[str, float], None]
    ) -> None:
        self.queue = queue
        self._look = look
        self._note = note
        self._busy: dict[int, tuple[Key, float]] = {}
        self._ended = 0.0  # when the last look ended
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name=f"worker-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Begin."""
        for each in self._threads:
            each.start()

    def stop(self, seconds: float) -> bool:
        """Take nothing more, and wait for what is under way; whether it ended in time."""
        self.queue.stop()
        until = time.monotonic() + seconds
        for each in self._threads:
            each.join(max(0.0, until - time.monotonic()))
        return not any(each.is_alive() for each in self._threads)

    def wrong(self) -> str:
        """What is wrong with them, in one line; "" for nothing."""
        now = time.monotonic()
        for key, since in list(self._busy.values()):
            # Others that go on are not killed for one that does not, for a while.
            if now - max(since, self._ended) > STUCK or now - since > 6 * STUCK:
                return f"a worker has been at {key} for {now - since:.0f} s"
        if any(not each.is_alive() for each in self._threads):
            return "a worker has ended"
        return ""

    def _work(self, number: int) -> None:
        while (key := self.queue.get()) is not None:
            began = time.monotonic()
            self._busy[number] = (key, began)
            result = "failed"
            try:
                looked = self._look(key)
                result = looked.result
            except LeadershipLost:
                # Whoever leads next looks at all keys.
                log.debug("not finished: the lease is lost", extra={"fields": _named(key)})
                self.queue.retry(key)
            except WasmeError as error:
                self._later(key, error)
            except Exception:
                # A bug, or the network in a way that nobody thought of; others go on.
                log.exception("a bug in wasme: this FilterDeployment is tried again", extra={"fields": _named(key)})
                self.queue.retry(key)
            else:
                if looked.result == "failed":
                    self.queue.retry(key)
                    if looked.again is not None:
                        self.queue.add_after(key, looked.again)
                elif looked.result == "gone":
                    self.queue.forget(key)
                else:
                    self.queue.forget(key)
                    usual = RESYNC * (0.9 + 0.2 * random.random())  # noqa: S311
                    self.queue.add_after(key, min(usual, looked.again) if looked.again is not None else usual)
            finally:
                del self._busy[number]
                self._ended = time.monotonic()
                self.queue.done(key)
                self._note(result, time.monotonic() - began)

    def _later(self, key: Key, error: WasmeError) -> None:
        seconds = self.queue.retry(key)
        fields = {**_named(key), "reason": error.message, "again": f"{seconds:.1f}s"}
        log.warning("could not look at a FilterDeployment", extra={"fields": fields})


def _named(key: Key) -> dict[str, str]:
    return {"filterdeployment": str(key)}
