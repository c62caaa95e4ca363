"""The cache's list as the operator reads it: one parse for each version of it, and what it changed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine
from wasme.errors import CacheError
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.nodecache.gates import Gate
from wasme.operator.nodecache.intents import FilterId

log = logging.getLogger(__name__)


class Asked:
    """One version of the list.

    Attributes:
        facts: the ConfigMap.
        lines: filter → its lines, none of them pending → whether they are.
        registry_map: a registry's name → where its traffic goes; {} where it cannot be read.
    """

    def __init__(self, facts: ConfigFacts) -> None:
        self.facts = facts
        self.lines: dict[FilterId, dict[FilterLine, bool]] = {}
        for line in protocol.parse_wanted({protocol.FILTERS: facts.data.get(protocol.FILTERS, "")}).filters:
            self.lines.setdefault(FilterId(line.namespace, line.id), {})[line.needed] = line.pending
        self.registry_map = read_map(facts)

    def pending(self, line: FilterLine) -> bool | None:
        """Whether a line is pending; None where it does not stand there."""
        return self.lines.get(FilterId(line.namespace, line.id), {}).get(line.needed)

    def has(self, lines: Iterable[FilterLine]) -> bool:
        """Whether all lines stand there, pending or not."""
        return all(self.pending(line) is not None for line in lines)

    def needs(self, lines: Iterable[FilterLine]) -> bool:
        """Whether all lines stand there, and none is pending."""
        return all(self.pending(line) is False for line in lines)


class Followed:
    """The list from version to version; belongs to who holds the lock.

    Attributes:
        now: the list; None where there is none.
        gates: lines that became needed while we looked, until their nodes have read so.
        since: lines that came while we looked → the version that they came with.
    """

    def __init__(self) -> None:
        self.now: Asked | None = None
        self.gates: dict[FilterLine, Gate] = {}
        self.since: dict[FilterLine, str] = {}
        self._seen = False

    def look(self, facts: ConfigFacts | None) -> set[FilterId] | None:
        """Take in the list as it is known now.

        Returns:
            The filters of which lines are others than before; None for all: there is a list where there was none, or
            another one, or none.
        """
        before = self.now
        first, self._seen = not self._seen, True
        if facts is (before.facts if before else None):
            return set()
        self.now = now = Asked(facts) if facts else None
        if first:
            return set()  # what is needed by now the nodes have read long since
        if now is None or before is None or before.facts.uid != now.facts.uid:
            self.gates.clear()
            self.since.clear()
            if now is not None:
                self._note({}, now)
            return None
        changed = {
            name for name in before.lines.keys() | now.lines.keys() if before.lines.get(name) != now.lines.get(name)
        }
        if changed:
            self._note(before.lines, now, changed)
        return changed

    def version_of(self, lines: Iterable[FilterLine]) -> str:
        """The version from which on all of these stood there; "" for ever."""
        return max((self.since.get(line.needed, "") for line in lines), key=_number, default="")

    def _note(
        self, before: Mapping[FilterId, Mapping[FilterLine, bool]], now: Asked, names: Iterable[FilterId] | None = None
    ) -> None:
        gate = Gate(now.facts.version, time.monotonic())
        for name in now.lines if names is None else names:
            old, new = before.get(name, {}), now.lines.get(name, {})
            for line in old.keys() - new.keys():
                self.gates.pop(line, None)
                self.since.pop(line, None)
            for line, pending in new.items():
                if line not in old:
                    self.since[line] = now.facts.version
                if not pending and old.get(line) is not False:
                    self.gates[line] = gate


def read_map(facts: ConfigFacts | None) -> Mapping[str, str]:
    """Where the list leads registries' names; nowhere where it cannot be read, which the agents tell."""
    try:
        return protocol.parse_registry_map(facts.data.get(protocol.REGISTRY_MAP, "")) if facts else {}
    except CacheError as error:
        log.warning("the registry map of the cache's list cannot be read", extra={"fields": {"reason": error.message}})
        return {}


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
