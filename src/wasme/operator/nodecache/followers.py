"""Which FilterDeployments count on which lines of the cache's list, and on which nodes: who is called for what."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from wasme.deploy.cache.protocol import FilterLine
from wasme.operator.nodecache.intents import FilterId
from wasme.operator.resources.wanted import Key

Lines = tuple[FilterLine, ...]


class Followers:
    """Belongs to who holds the lock."""

    def __init__(self) -> None:
        self._lines: dict[Key, Lines] = {}
        self._keys: dict[FilterId, Key] = {}
        self._by_module: dict[str, set[Key]] = {}
        self._nodes: dict[FilterId, frozenset[str]] = {}

    def clear(self) -> None:
        """Nobody follows anything."""
        for each in (self._lines, self._keys, self._by_module, self._nodes):
            each.clear()

    @property
    def all(self) -> set[Key]:
        """Everybody who counts on a line."""
        return set(self._lines)

    @property
    def lines(self) -> set[FilterLine]:
        """Those that somebody counts on."""
        return {line for lines in self._lines.values() for line in lines}

    def follow(self, key: Key, lines: Lines) -> None:
        """From now on one counts on these lines, and no others."""
        if self._lines.get(key, ()) == lines:
            return
        self.leave(key)
        if lines:
            self._lines[key] = lines
        for line in lines:
            self._keys[FilterId(line.namespace, line.id)] = key
            self._by_module.setdefault(line.module, set()).add(key)

    def leave(self, key: Key) -> None:
        """One counts on nothing any more."""
        for line in self._lines.pop(key, ()):
            name = FilterId(line.namespace, line.id)
            if self._keys.get(name) == key:
                self.forget(name)
            keys = self._by_module.get(line.module, set())
            keys.discard(key)
            if not keys:
                self._by_module.pop(line.module, None)

    def own(self, name: FilterId, key: Key) -> None:
        """One is called for a filter, without counting on its lines."""
        self._keys[name] = key

    def forget(self, name: FilterId) -> None:
        """Nobody is called for a filter any more."""
        self._keys.pop(name, None)
        self._nodes.pop(name, None)

    def run_on(self, lines: Lines, nodes: Iterable[str]) -> frozenset[str]:
        """The pods that load these modules run on some nodes; these."""
        names = _one(frozenset(nodes))
        self._nodes.update((FilterId(line.namespace, line.id), names) for line in lines)
        return names

    def of(self, name: FilterId) -> Key | None:
        """Who is called for a filter."""
        return self._keys.get(name)

    def of_all(self, names: Iterable[FilterId]) -> set[Key]:
        """Who is called for some filters."""
        return {self._keys[name] for name in names if name in self._keys}

    def of_modules(self, modules: Iterable[str]) -> set[Key]:
        """Who counts on one of some modules."""
        return {key for module in modules for key in self._by_module.get(module, ())}

    def on(self, node: str) -> set[Key]:
        """Those whose pods run on a node."""
        return self.of_all(name for name, nodes in self._nodes.items() if node in nodes)


@functools.lru_cache(maxsize=1024)
def _one(names: frozenset[str]) -> frozenset[str]:
    """Many FilterDeployments have the same nodes: they are kept once."""
    return names
