"""Wishes: the images that this node must hold, and how far each of them is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from wasme.cache.pulling import Found
from wasme.deploy.cache.protocol import ImageStatus, Wanted
from wasme.image.reference import Reference


class Wish(NamedTuple):
    """One image.

    Attributes:
        ref: as typed.
        manifest: the digest at which a filter was deployed; "" follows the reference's tag.
        module: what that filter's proxies load; "" where only the image is wanted.
    """

    ref: str
    manifest: str = ""
    module: str = ""


def wishes(wanted: Wanted, given: Sequence[str] = ()) -> tuple[Wish, ...]:
    """All that is wished for, each once: deployed filters first, for pods wait for them.

    Args:
        wanted: what the cluster, or the reference file, says.
        given: references of the command line.
    """
    found = [Wish(line.ref, line.manifest, line.module) for line in wanted.filters]
    return tuple(dict.fromkeys([*found, *map(Wish, given), *map(Wish, wanted.images)]))


class Item:
    """How far one wish is; belongs to the loop's thread.

    Attributes:
        wish: which.
        reference: what is asked for; None where the wish names nothing.
        found: what it stands for, once that is known.
        checked: whether the folder was looked at.
        held: the module is there.
        error: why the last try failed; "" after a success.
        kind: the error's class, by name.
        permanent: whether time alone will not mend it.
        failures: tries in a row that failed.
        losses: how often the file was spoiled on disk, time after time.
        lost_at: when that was last, of the monotonic clock.
        busy: a try is under way.
        turn: counts tries, so that a timer of an earlier one is known.
        waiters: who waits for it.
    """

    __slots__ = (
        "busy", "checked", "error", "failures", "found", "held", "kind", "losses", "lost_at", "permanent", "reference",
        "turn", "waiters", "wish",
    )  # fmt: skip

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.reference: Reference | None = None
        self.found: Found | None = None
        self.checked = False
        self.held = False
        self.error = ""
        self.kind = ""
        self.permanent = False
        self.failures = 0
        self.losses = 0
        self.lost_at = 0.0
        self.busy = False
        self.turn = 0
        self.waiters: list[Future[Found]] = []

    @property
    def module(self) -> str:
        """The module that must be there; "" until it is known."""
        return self.wish.module or (self.found.module if self.found else "")

    @property
    def follows(self) -> bool:
        """Whether it stands for a tag, which may move."""
        return not self.wish.manifest and self.reference is not None and self.reference.digest is None

    @property
    def status(self) -> ImageStatus:
        """As the node's status tells it."""
        found = self.found
        return ImageStatus(
            ref=self.wish.ref,
            manifest=self.wish.manifest or (found.manifest if found else ""),
            module=self.module,
            size=found.size if found else 0,
            held=self.held,
            error="" if self.held else self.error,
            kind="" if self.held else self.kind,
            permanent=not self.held and self.permanent,
        )


def asked_for(wish: Wish) -> Reference:
    """What to ask the registry for.

    Raises:
        InvalidReference: the wish names nothing.
    """
    reference = Reference.parse(wish.ref)
    if wish.manifest:
        return Reference(reference.domain, reference.path, None, wish.manifest)
    return reference


def namespaces(wanted: Wanted, wish: Wish) -> frozenset[str]:
    """The namespaces whose filters need an image; for one whose tag is followed, those with a filter of that name."""
    return frozenset(
        line.namespace
        for line in wanted.filters
        if line.ref == wish.ref and wish.manifest in ("", line.manifest) and wish.module in ("", line.module)
    )


def ready(wanted: Wanted, items: dict[Wish, Item]) -> tuple[set[str], set[str]]:
    """The namespaces whose filters all have their module here, and those where one is known to be missing.

    A filter that is still pending keeps nobody waiting.
    """
    found = {line: items.get(Wish(line.ref, line.manifest, line.module)) for line in wanted.filters if not line.pending}
    waiting = {line.namespace for line, item in found.items() if item is None or not item.held}
    missing = {line.namespace for line, item in found.items() if item is not None and item.checked and not item.held}
    return {line.namespace for line in wanted.filters} - waiting, missing


def gated(wanted: Wanted) -> set[str]:
    """The namespaces whose pods wait for some module."""
    return {line.namespace for line in wanted.filters if not line.pending}


def needed(items: Iterable[Item]) -> set[str]:
    """The modules that some wish needs, as far as they are known."""
    return {item.module for item in items if item.module}
