"""Holdings: makes what is wished for be here, and stay here.

All of it runs on the loop's thread; only the jobs that it sends down the lanes run elsewhere. A wish is first looked
for on disk, then asked for at its registry, again and again with growing pauses until it is here; a tag is then looked
up again at each interval.
"""

from __future__ import annotations

import functools
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from wasme.cache import wishes
from wasme.cache.doors import Names
from wasme.cache.folder import Folder, NoRoom
from wasme.cache.lanes import Lanes
from wasme.cache.loop import Loop
from wasme.cache.memory import Memory
from wasme.cache.metrics import Counters
from wasme.cache.pulling import Found, Puller, Stopped
from wasme.cache.wishes import Item, Wish
from wasme.deploy.cache.protocol import Wanted
from wasme.errors import (
    CacheError,
    ContentMismatch,
    Forbidden,
    InputError,
    RemoteNotFound,
    Unauthorized,
    Unreachable,
    UnsafeAnswer,
    UnsupportedImage,
    WasmeError,
)
from wasme.image.reference import Reference

log = logging.getLogger(__name__)

DISK = "disk"
"""The lane for what is read here and nowhere else."""
_FIRST_RETRY = 1.0
_LONGEST_RETRY = 300.0
_FIRST_MENDING = 1.0
"""Seconds between the word that a file is not right any more and the one that it is: long enough to be heard."""
_LONGEST_MENDING = 60.0
_QUIET = 300.0
"""Seconds without a loss after which the next one is the first again."""
_PERMANENT = (Forbidden, InputError, RemoteNotFound, Unauthorized, UnsafeAnswer, UnsupportedImage)


class Change(NamedTuple):
    """One image's state has changed on this node.

    Attributes:
        ref: as typed.
        module: what is here now; "" with an error.
        error: why it is not.
    """

    ref: str
    module: str = ""
    error: str = ""


class Holdings:
    """The images that this node must hold.

    Args:
        loop: whose thread this runs on.
        lanes: where pulls run.
        puller: what they do.
        folder: where modules lie.
        memory: what the last agent left.
        counters: what is counted.
        given: references of the command line.
        tag_interval: seconds until a tag is looked up again; 0 never does.
        changed: told of each change.
        no_room: asked to make room when the disk is full.
    """

    def __init__(
        self,
        loop: Loop,
        lanes: Lanes,
        puller: Puller,
        folder: Folder,
        memory: Memory,
        counters: Counters,
        *,
        given: Sequence[str] = (),
        tag_interval: float = 60.0,
        changed: Callable[[Change], None],
        no_room: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._lanes = lanes
        self._puller = puller
        self._folder = folder
        self._memory = memory
        self._counters = counters
        self._given = tuple(given)
        self._tag_interval = tag_interval
        self._changed = changed
        self._no_room = no_room
        self.items: dict[Wish, Item] = {}
        self.wanted = Wanted()
        self.observed = ""

    def want(self, wanted: Wanted, observed: str = "", *, whole: bool = True) -> None:
        """Hold this from now on.

        Args:
            wanted: what is to be here, beside what the command line named.
            observed: the version of the list that says so.
            whole: nothing else is wanted, so what is remembered of other references is forgotten.
        """
        before = {item.wish.ref for item in self.items.values()}
        self.wanted, self.observed = wanted, observed
        wished = wishes.wishes(wanted, self._given)
        old = self.items
        self.items = {wish: old.get(wish) or Item(wish) for wish in wished}
        for item in self.items.values():
            if not item.turn:
                self._begin(item)
            elif not item.held and not item.busy:
                self._pull(item)  # whoever changed the list may have mended what was wrong
        for item in [item for wish, item in old.items() if wish not in self.items]:
            item.turn = -1
            self._answer(item, Unreachable(f"{item.wish.ref} is no longer on the list"))
        listed = {item.wish.ref for item in self.items.values()}
        if listed != before:
            log.info("detected refs [%s]", " ".join(dict.fromkeys(wish.ref for wish in wished)))
        for remembered in (self._memory.tags, self._memory.past, self._memory.announced):
            for ref in remembered.keys() - listed if whole else ():
                del remembered[ref]

    def of(self, text: str, reference: Reference) -> Item | None:
        """The wish for an image under any spelling of its name: the one that follows it before one that is pinned."""
        named = [item for item in self.items.values() if item.reference == reference or item.wish.ref == text]
        return min(named, key=lambda item: (bool(item.wish.manifest), not item.held), default=None)

    def lost(self, module: str, why: str) -> None:
        """A module is not here any more, or not what it was: tell so, then get it again.

        Args:
            why: what is wrong, which is told until it is here again or the registry refuses it.
        """
        now = time.monotonic()
        for item in self.items.values():
            if item.module == module and item.held:
                item.held = False
                item.error, item.kind = why, CacheError.__name__
                told = self._memory.announced.get(item.wish.ref, [])
                if module in told:
                    told.remove(module)
                item.losses = item.losses + 1 if now - item.lost_at < _QUIET else 1
                item.lost_at = now
                if not item.busy:
                    # A disk that spoils all that is written to it must not become the registry's trouble.
                    pause = min(_LONGEST_MENDING, _FIRST_MENDING * 2.0 ** max(0, min(item.losses - 2, 10)))
                    self._again(item, pause)

    def spared(self) -> set[str]:
        """Modules that listed tags stood for before they moved, where no filter's line tells which one is in use."""
        pinned = {line.ref for line in self.wanted.filters}
        return {module for ref, modules in self._memory.past.items() if ref not in pinned for module in modules}

    def _begin(self, item: Item) -> None:
        item.turn = 1
        try:
            item.reference = wishes.asked_for(item.wish)
        except WasmeError as error:
            item.checked = True
            self._failed(item, error)
            return
        item.busy = True
        remembered = self._remembered(item)
        self._lanes.submit(DISK, functools.partial(self._look, item, remembered))

    def _remembered(self, item: Item) -> Found | None:
        """What the last agent knew of it."""
        root = item.wish.manifest or self._memory.tags.get(item.wish.ref, "")
        if not root and item.reference is not None and item.reference.digest is not None:
            root = item.reference.digest
        module, size = self._memory.modules.get(root, (item.wish.module, 0))
        if not module or (item.wish.module and module != item.wish.module):
            return None
        return Found(root, module, size)

    def _look(self, item: Item, remembered: Found | None) -> bool:
        """Runs in the disk's lane: is it here already?"""
        here = None
        if remembered is not None and self._folder.holds(remembered.module):
            here = remembered._replace(size=self._folder.size(remembered.module))
        self._loop.call(functools.partial(self._looked, item, here))
        return True

    def _looked(self, item: Item, here: Found | None) -> None:
        item.busy = False
        item.checked = True
        if item.turn < 0:
            return
        if here is not None:
            item.found, item.held = here, True
            self._announce(item)
        if here is not None and not item.follows:
            self._answer(item, here)
        else:
            self._pull(item)

    def _pull(self, item: Item) -> None:
        reference = item.reference
        if reference is None or item.busy:
            return
        item.busy = True
        item.turn += 1
        if not item.held:
            log.info("pulling ref %s", item.wish.ref)
        self._lanes.submit(
            reference.domain, functools.partial(self._try, item, reference, wishes.namespaces(self.wanted, item.wish))
        )

    def _try(self, item: Item, reference: Reference, namespaces: Names) -> bool:
        """Runs in the registry's lane; whether the registry could be reached."""
        result: Found | WasmeError
        try:
            result = self._puller.pull(reference, self._memory.modules.get, namespaces=namespaces)
        except Stopped:
            return True
        except WasmeError as error:
            result = error
        except Exception as error:
            log.exception("a bug in wasme: the image stays away")
            result = WasmeError(f"{reference}: a bug in wasme: {type(error).__name__}")
        if self._puller.stopping.is_set() and isinstance(result, WasmeError):
            return True  # the connection was closed under it
        self._loop.call(functools.partial(self._tried, item, result))
        return not isinstance(result, Unreachable)

    def _tried(self, item: Item, result: Found | WasmeError) -> None:
        item.busy = False
        self._counters.add("pulls", result="failed" if isinstance(result, WasmeError) else "ok")
        if isinstance(result, Found):
            self._memory.modules[result.manifest] = (result.module, result.size)
        if item.turn < 0:
            return
        if isinstance(result, WasmeError):
            self._failed(item, result)
        elif item.wish.module and result.module != item.wish.module:
            told = f"{item.wish.ref}@{item.wish.manifest} holds {result.module}, and not {item.wish.module}"
            self._failed(item, ContentMismatch(told), permanent=True)
        else:
            self._arrived(item, result)

    def _arrived(self, item: Item, found: Found) -> None:
        before = item.found
        item.found = found
        item.held = True
        item.error, item.kind, item.failures, item.permanent = "", "", 0, False
        if not item.wish.manifest:
            if before is not None and before.module != found.module:
                log.info("tag moved", extra={"fields": {"image": item.wish.ref, "digest": found.module}})
                past = self._memory.past.setdefault(item.wish.ref, [])
                past[:] = [*(module for module in past if module not in (before.module, found.module)), before.module]
            self._memory.tags[item.wish.ref] = found.manifest
        self._announce(item)
        self._answer(item, found)
        if item.follows and self._tag_interval:
            # Spread, so that the nodes of a cluster and the tags of a list do not all ask at once.
            self._again(item, self._tag_interval * random.uniform(0.9, 1.1))  # noqa: S311

    def _failed(self, item: Item, error: WasmeError, *, permanent: bool = False) -> None:
        news = (type(error).__name__, error.message) != (item.kind, item.error)
        event = type(error).__name__ != item.kind
        item.error, item.kind = error.message, type(error).__name__
        item.permanent = permanent or isinstance(error, _PERMANENT)
        item.failures += 1
        if news:
            log.error("caching image failed: %s", error.message, extra={"fields": {"image": item.wish.ref}})
        if event and not item.held:
            self._memory.announced.pop(item.wish.ref, None)
            self._changed(Change(item.wish.ref, error=error.message))
        if isinstance(error, NoRoom):
            self._no_room()
        self._answer(item, error)
        first = max(_FIRST_RETRY, self._tag_interval) if item.held else _FIRST_RETRY
        pause = min(max(_LONGEST_RETRY, first), first * 2.0 ** min(item.failures - 1, 20))
        self._again(item, pause * random.uniform(0.75, 1.25))  # noqa: S311

    def _again(self, item: Item, seconds: float) -> None:
        turn = item.turn

        def due() -> None:
            if item.turn == turn:  # otherwise it was tried, or given up, in between
                self._pull(item)

        self._loop.later(seconds, due)

    def _announce(self, item: Item) -> None:
        """One Event for each module that a reference comes to stand for here."""
        if not item.held or item.found is None:
            return
        told = self._memory.announced.setdefault(item.wish.ref, [])
        if item.found.module not in told:
            told.append(item.found.module)
            del told[:-8]
            self._changed(Change(item.wish.ref, module=item.found.module))

    @staticmethod
    def _answer(item: Item, result: Found | WasmeError) -> None:
        waiters, item.waiters = item.waiters, []
        for waiter in waiters:
            give(waiter, result)


def give(waiter: Future[Found], result: Found | WasmeError) -> None:
    """Hand a result to who waits, unless that one has gone."""
    if waiter.set_running_or_notify_cancel():
        if isinstance(result, Found):
            waiter.set_result(result)
        else:
            waiter.set_exception(result)


def counts(items: Mapping[Wish, Item]) -> dict[str, int]:
    """How many images are held, on their way, and failing."""
    found = {"held": 0, "pending": 0, "failed": 0}
    for item in items.values():
        found["held" if item.held else "failed" if item.error else "pending"] += 1
    return found
