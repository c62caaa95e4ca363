"""Upkeep: files that changed behind the agent's back are noticed, files that nobody needs go, memory is kept."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable

import msgspec

from wasme.cache import collection, memory, wishes
from wasme.cache.folder import Folder
from wasme.cache.holdings import DISK, Holdings
from wasme.cache.lanes import Lanes
from wasme.cache.loop import Loop
from wasme.cache.metrics import Counters
from wasme.errors import CacheError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.5
"""A changed file is told within three seconds: this, hashing it, and writing the status."""
_SAVE_SECONDS = 10.0
_COLLECT_SECONDS = 60.0
_NO_LIMIT = 1 << 62
_CHANGED = "changed on disk"
"""A lane of its own: what looks changed does not wait behind what is hashed for the hour's sake."""


class Upkeep:
    """Runs on the loop's thread.

    Args:
        loop, lanes, folder, kept, holdings, counters: the agent's; ``kept`` is its memory.
        grace: seconds that a file stays which nobody needs.
        limit: bytes that all files together may have before such files go earlier; 0 is no limit.
        check_interval: seconds in which each held file is hashed again; 0 never does.
        settled: whether it is known what is wanted; nothing is removed before.
    """

    def __init__(
        self,
        loop: Loop,
        lanes: Lanes,
        folder: Folder,
        kept: memory.Memory,
        holdings: Holdings,
        counters: Counters,
        *,
        grace: float,
        limit: int,
        check_interval: float,
        settled: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._lanes = lanes
        self._folder = folder
        self._memory = kept
        self._holdings = holdings
        self._counters = counters
        self._grace = grace
        self._limit = limit
        self._check_interval = check_interval
        self._settled = settled
        self._hashed: dict[str, float] = {}
        self._suspected: set[str] = set()
        self._saved = b""
        self.files = 0
        self.size = 0

    def start(self) -> None:
        """Begin; before the loop does."""
        self._loop.later(self._between, self._look)
        self._loop.later(_SAVE_SECONDS, self._save_again)
        self._loop.later(self._pause, self._collect_again)

    @property
    def _pause(self) -> float:
        return min(max(self._grace / 4, 1.0), _COLLECT_SECONDS)

    @property
    def _between(self) -> float:
        return min(_LOOK_SECONDS, self._check_interval or _LOOK_SECONDS)

    def _look(self) -> None:
        """Notice held files that look changed; hash those whose turn it is."""
        now = time.monotonic()
        held = {item.module for item in self._holdings.items.values() if item.held}
        self._hashed = {module: self._hashed.get(module, now) for module in held}
        for module in [module for module in held if not self._folder.unchanged(module)]:
            spoiled = self._folder.spoiled(module)
            if spoiled:
                self._damaged(module, spoiled)
            elif module not in self._suspected:
                self._suspected.add(module)
                self._lanes.submit(_CHANGED, functools.partial(self._check, module))
        due = [module for module in held if self._check_interval and now - self._hashed[module] >= self._check_interval]
        for module in sorted(due, key=self._hashed.__getitem__)[:8]:
            self._hashed[module] = now
            self._lanes.submit(DISK, functools.partial(self._check, module))
        self._loop.later(self._between, self._look)

    def _check(self, module: str) -> bool:
        """Runs in a lane of the disk."""
        right = self._folder.check(module)
        self._loop.call(functools.partial(self._checked, module, right=right))
        return True

    def _checked(self, module: str, *, right: bool) -> None:
        self._suspected.discard(module)
        if not right:
            self._damaged(module, self._folder.spoiled(module) or "its content on disk has changed")

    def _damaged(self, module: str, why: str) -> None:
        held = any(item.held and item.module == module for item in self._holdings.items.values())
        if not held or self._folder.unchanged(module):
            return  # known already, or it has come back in between
        self._counters.add("damaged_files")
        try:
            was_there = self._folder.remove(module)
        except CacheError as error:
            log.error(error.message)
            was_there = True
        told = "a module was changed on disk and is pulled again" if was_there else "a module was removed from the disk"
        log.warning(told, extra={"fields": {"digest": module}})
        self._holdings.lost(module, f"{module}: {why}; it is pulled again")

    def collect(self, *, pressure: bool = False) -> None:
        """Take away what nobody needs.

        Args:
            pressure: the disk is full: the grace period does not count.
        """
        sizes = self._folder.sizes()
        if self._settled():
            choice = collection.choose(
                sizes,
                wishes.needed(self._holdings.items.values()) | self._remembered(),
                self._holdings.spared(),
                self._memory.unneeded,
                now=time.time(),
                grace=self._grace,
                limit=self._limit,
                pressure=pressure,
            )
            for module in choice.remove:
                try:
                    self._folder.remove(module)
                except CacheError as error:
                    log.error(error.message)
                    continue
                self._counters.add("collected_files")
                log.info("removing image no longer needed", extra={"fields": {"digest": module}})
                sizes.pop(module, None)
            self._memory.unneeded = choice.unneeded
        self.files, self.size = len(sizes), sum(sizes.values())

    def room(self) -> int:
        """Bytes that there are for what is not on the list; makes some room if it can. Some may be promised already."""
        if not self._limit:
            return _NO_LIMIT
        self.size = sum(self._folder.sizes().values())
        if self.size >= self._limit:
            self.collect()
        return self._limit - self.size

    def save(self) -> None:
        """Keep the memory, if it has changed."""
        listed = {item.wish.manifest for item in self._holdings.items.values()} | set(self._memory.tags.values())
        sizes = self._folder.sizes() if len(self._memory.modules) > 2 * len(listed) + 100 else None
        if sizes is not None:
            self._memory.modules = {
                root: found for root, found in self._memory.modules.items() if root in listed or found[0] in sizes
            }
        encoded = msgspec.json.encode(self._memory)
        if encoded != self._saved:
            self._saved = encoded
            memory.save(self._folder.path, self._memory)

    def _remembered(self) -> set[str]:
        """Modules of tags that this agent has not looked up yet."""
        found = (self._memory.modules.get(root) for root in self._memory.tags.values())
        return {each[0] for each in found if each is not None}

    def _save_again(self) -> None:
        self.save()
        self._loop.later(_SAVE_SECONDS, self._save_again)

    def _collect_again(self) -> None:
        self.collect()
        self._loop.later(self._pause, self._collect_again)
