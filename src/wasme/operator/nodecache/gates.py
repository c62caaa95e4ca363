"""Gates: how long filters that are about to appear wait for nodes which may start pods without their modules.

Many filters become needed at one version of the list, and many nodes read it one after the other. So a filter that
waits does so for one node at a time: when that one tells something, the next one is looked for, and no other filter is
looked at.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.statuses import reached
from wasme.deploy.cache.telling import listed
from wasme.operator.nodecache.agents import Agents
from wasme.operator.nodecache.intents import FilterId

log = logging.getLogger(__name__)

SOON, SLOW = 1.0, 6.0
"""Seconds for all nodes to read what they should close their gate for; and for those that live and did not."""

Lines = Sequence[FilterLine]


@dataclass(eq=False, slots=True)
class Gate:
    """Lines became needed at one version of the list: nodes that do not hold them are about to close their gate.

    Attributes:
        version: that one.
        since: when it was seen, of the monotonic clock.
        unread: nodes that have not read that version; None as long as nobody asked.
        waiting: filters that wait → their lines, and the node that they wait for now.
        timed: somebody looks again when the time is over.
    """

    version: str
    since: float
    unread: set[str] | None = None
    waiting: dict[FilterId, tuple[Lines, str]] = field(default_factory=dict)
    timed: bool = False

    @property
    def past(self) -> float:
        """Seconds since."""
        return time.monotonic() - self.since


class Gates:
    """Those of the list; belongs to who holds the lock.

    Args:
        gates: line → its gate, as the list is followed; those that are closed are taken from it.
        agents: of the nodes.
        over: called, without the lock, when filters that wait at a gate should look again, for its time is over.
    """

    def __init__(self, gates: MutableMapping[FilterLine, Gate], agents: Agents, over: Callable[[Gate], None]) -> None:
        self._gates = gates
        self._agents = agents
        self._over = over
        self._open: set[Gate] = set()

    def closed(self, lines: Lines) -> bool:
        """Whether no pod starts any more where it would miss the module of a line; who waits is told of otherwise."""
        return all(self._closed(line, lines) for line in lines)

    def told(self, nodes: set[str]) -> set[FilterId]:
        """Nodes have told something: the filters that need not wait any more."""
        done: set[FilterId] = set()
        for gate in list(self._open):
            unread = self._unread(gate)
            for node in nodes:
                (unread.add if self._is_late(gate, node) else unread.discard)(node)
            for name, (lines, late) in list(gate.waiting.items()):
                if late not in nodes:
                    continue
                other = self._late(gate, lines)
                if other is None:
                    gate.waiting.pop(name)
                    done.add(name)
                else:
                    gate.waiting[name] = (lines, other)
            if not gate.waiting or gate.past > 2 * SLOW:
                self._open.discard(gate)
        return done

    def _closed(self, line: FilterLine, lines: Lines) -> bool:
        gate = self._gates.get(line)
        if gate is None:
            return True
        name = FilterId(line.namespace, line.id)
        late = self._late(gate, lines)
        if late is None or gate.past >= SLOW:
            if late is not None:
                fields = {"nodes": listed(set(self._all_late(gate, lines)) & self._agents.answering())}
                log.warning(
                    "nodes do not answer: pods may start there before the image is there", extra={"fields": fields}
                )
            self._gates.pop(line, None)
            gate.waiting.pop(name, None)
            return True
        gate.waiting[name] = (lines, late)
        self._open.add(gate)
        if not gate.timed:
            for seconds in (SOON, SLOW):
                timer = threading.Timer(max(0.0, seconds - gate.past) + 0.02, self._over, (gate,))
                timer.daemon = True
                timer.start()
            gate.timed = True  # where none can be started, who looks next tries it again
        return False

    def _late(self, gate: Gate, lines: Lines) -> str | None:
        """A node that is still waited for."""
        late = self._all_late(gate, lines)
        if gate.past < SOON:
            return next(late, None)
        answering = self._agents.answering()
        return next((node for node in late if node in answering), None)

    def _all_late(self, gate: Gate, lines: Lines) -> Iterator[str]:
        """Nodes that may start pods which need the modules, and do not hold them: they have not read yet that they
        must not."""
        words = self._agents.words
        return (node for node in self._unread(gate) if not words[node].holds(lines))

    def _unread(self, gate: Gate) -> set[str]:
        """Of a gate: kept up while somebody waits, made anew after that."""
        if gate.unread is None or (gate.unread and gate not in self._open):
            gate.unread = {node for node in self._agents.words if self._is_late(gate, node)}
        return gate.unread

    def _is_late(self, gate: Gate, node: str) -> bool:
        word = self._agents.words.get(node)
        # What an agent told stays when its node is deleted, and there no pod starts.
        return word is not None and not reached(word.observed, gate.version) and self._agents.has_node(node)
