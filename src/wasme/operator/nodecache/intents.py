"""What is to become of the cache's list: the words of many FilterDeployments, merged into one edit. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import activated, with_lines, without
from wasme.errors import CacheError

LARGEST = 900_000
"""Bytes of the list; an object may have a little more than a million."""


class FilterId(NamedTuple):
    """A filter in a namespace, as a line of the list names it."""

    namespace: str
    id: str


class Edited(NamedTuple):
    """What an edit comes to.

    Attributes:
        data: of the ConfigMap, from now on.
        removed: lines that went.
        left: lines that are there now.
        refused: filters whose lines have no room.
    """

    data: dict[str, str]
    removed: tuple[FilterLine, ...]
    left: tuple[FilterLine, ...]
    refused: Mapping[FilterId, CacheError]


@dataclass(slots=True)
class _Intent:
    """What is to become of one filter.

    Attributes:
        lines: that must be there → whether they must not be pending.
        only: that may be there; None for any.
    """

    lines: dict[FilterLine, bool] = field(default_factory=dict)
    only: set[FilterLine] | None = None


class Intents:
    """Gathers words; of two on the same filter the later one counts where they contradict each other."""

    def __init__(self) -> None:
        self._by_filter: dict[FilterId, _Intent] = {}
        self._led: dict[str, str] = {}
        self.sweeps = False
        """Whether pull secrets may be there that nobody needs."""

    def __bool__(self) -> bool:
        return bool(self._by_filter or self._led or self.sweeps)

    @property
    def filters(self) -> Collection[FilterId]:
        """Those that something was said of."""
        return self._by_filter.keys()

    @property
    def lines(self) -> set[FilterLine]:
        """Those that are to be there."""
        return {line for intent in self._by_filter.values() for line in intent.lines}

    def want(self, lines: Iterable[FilterLine], *, active: bool) -> None:
        """These lines are to be there.

        Args:
            active: and not pending; otherwise they stay as they are, and new ones are pending.
        """
        for line in lines:
            needed = line.needed
            intent = self._of(FilterId(line.namespace, line.id))
            intent.lines[needed] = intent.lines.get(needed, False) or active
            if intent.only is not None:
                intent.only.add(needed)

    def keep(self, namespace: str, filter_id: str, lines: Iterable[FilterLine]) -> None:
        """No other lines of this filter are to be there; those that are stay, and those that are not do not come."""
        intent = self._of(FilterId(namespace, filter_id))
        intent.only = {line.needed for line in lines}
        intent.lines = {line: active for line, active in intent.lines.items() if line in intent.only}

    def lead(self, registry_map: Mapping[str, str]) -> None:
        """Names of registries that are to lead somewhere, where the list does not say so already."""
        self._led.update(registry_map)

    def sweep(self) -> None:
        """Pull secrets that nobody needs are to go, also where the list stays as it is."""
        self.sweeps = True

    def edit(self, data: Mapping[str, str], largest: int = LARGEST) -> Edited:
        """Make it so.

        Args:
            data: of the ConfigMap, as read.
            largest: bytes that it may have.

        Raises:
            CacheError: its registry map, to which something is to be added, cannot be read.
        """
        before = protocol.parse_wanted(data).filters
        removed = tuple(filter(self._gone, before))
        edited = without(data, self._gone) if removed else dict(data)
        edited = self._with_map(edited)
        refused = self._refused(edited, largest)
        fits = [each for name, each in self._by_filter.items() if name not in refused]
        edited = with_lines(edited, [line._replace(pending=True) for each in fits for line in each.lines])[0]
        active = [line for each in fits for line, is_active in each.lines.items() if is_active]
        edited = activated(edited, active) if active else edited
        return Edited(edited, removed, protocol.parse_wanted(edited).filters, refused)

    def _of(self, name: FilterId) -> _Intent:
        return self._by_filter.setdefault(name, _Intent())

    def _gone(self, line: FilterLine) -> bool:
        intent = self._by_filter.get(FilterId(line.namespace, line.id))
        return intent is not None and intent.only is not None and line.needed not in intent.only

    def _with_map(self, data: dict[str, str]) -> dict[str, str]:
        if not self._led:
            return data
        there = protocol.parse_registry_map(data.get(protocol.REGISTRY_MAP, ""))
        if self._led.keys() <= there.keys():
            return data
        # What somebody chose for the nodes goes before what the operator was told.
        return {**data, protocol.REGISTRY_MAP: protocol.format_registry_map({**self._led, **there})}

    def _refused(self, data: Mapping[str, str], largest: int) -> dict[FilterId, CacheError]:
        """Filters whose lines would make the list too large, in the order in which they came."""
        size = sum(len(key) + len(value.encode()) for key, value in data.items())
        there = {line.needed for line in protocol.parse_wanted(data).filters}
        listed = set(protocol.parse_images(data.get(protocol.IMAGES, "")))
        taken: Counter[str] | None = None
        refused = {}
        for name, intent in self._by_filter.items():
            new = [line for line in intent.lines if line not in there]
            if not new:
                continue
            refs = {line.ref for line in new} - listed
            more = _bytes(new, refs)
            if size + more > largest // 2:
                if taken is None:
                    taken = _taken(there)
                if more > share(size, taken[name.namespace], largest):
                    refused[name] = _full(name.namespace, taken[name.namespace], size, len(there), largest)
                    continue
            size += more
            listed |= refs
            there.update(new)
            if taken is not None:
                taken[name.namespace] += more
        return refused


def share(size: int, own: int, largest: int = LARGEST) -> int:
    """Bytes that a namespace may add: no more than half of what the others leave, once the list is more than half full.

    So one that asks for a great deal leaves room for those that come later, and each of these does.

    Args:
        size: bytes of the list.
        own: those of them that the namespace has already.
        largest: bytes that the list may have.
    """
    others = size - own
    return max(0, min(largest - size, max(largest // 2 - size, (largest - others) // 2 - own)))


def _taken(lines: Iterable[FilterLine]) -> Counter[str]:
    """Bytes of the list by namespace."""
    by_namespace: dict[str, list[FilterLine]] = {}
    for line in lines:
        by_namespace.setdefault(line.namespace, []).append(line)
    return Counter({name: _bytes(own, {line.ref for line in own}) for name, own in by_namespace.items()})


def _bytes(lines: Iterable[FilterLine], refs: Iterable[str]) -> int:
    """What lines, and references that the list has not yet, take at most."""
    return sum(len(line._replace(pending=True).text.encode()) + 1 for line in lines) + sum(
        2 * (len(ref.encode()) + 1) for ref in refs
    )


def _full(namespace: str, own: int, size: int, filters: int, largest: int) -> CacheError:
    return CacheError(
        f"the node cache's list is full for the namespace {namespace}: {filters} filters take {size} bytes of "
        f"{largest}, and its own {own} of them; it may have half of what others leave",
        hint="another node cache takes more, or filters whose module lies on no node: cache.mode None",
    )
