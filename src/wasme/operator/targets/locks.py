"""One lock for each of many things, there only as long as somebody wants it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable, Iterator


class Locks:
    """Locks by key. Two FilterDeployments on one workload must not change it by turns."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def held(self, key: Hashable) -> Iterator[None]:
        """Wait until nobody else holds the key, and hold it."""
        with self._guard:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks[key]
                if users == 1:
                    del self._locks[key]
                else:
                    self._locks[key] = (lock, users - 1)
