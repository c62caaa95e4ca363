"""Which nodes hold what a FilterDeployment needs, by what their agents told and by whether these live."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.statuses import reached
from wasme.deploy.cache.waiting import BEHIND, SILENT, told_of
from wasme.operator.informers.facts import NodeTold, PodFacts
from wasme.operator.resources.report import Held

NO_AGENT = "no agent runs there"
UNREADABLE = "what its agent told cannot be read"


class NodeWord:
    """What one node's agent told last, ready to be asked.

    Attributes:
        told: the ConfigMap it stands in.
        observed: the version of the list that the agent has read; "" for none.
        modules: those that are held.
    """

    __slots__ = ("modules", "observed", "told")

    def __init__(self, told: NodeTold) -> None:
        status = told.status
        self.told = told
        self.observed = status.observed if status else ""
        self.modules = frozenset(each.module for each in status.images if each.held) if status else frozenset()

    def holds(self, lines: Iterable[FilterLine]) -> bool:
        """Whether the modules of all lines are there."""
        return all(line.module in self.modules for line in lines)


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a node does not hold the modules.

    Attributes:
        why: in one line.
        permanent: it will not get over that by itself.
        kind: the class of the agent's error, by name.
    """

    why: str
    permanent: bool = False
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Nodes:
    """What is known of the nodes that are asked about.

    Attributes:
        ready: those that are waited for.
        not_ready: those that are not: their kubelet is silent, or they are gone.
        agents: node → the agent's pod there.
        words: node → what its agent told last.
    """

    ready: Sequence[str]
    not_ready: Sequence[str]
    agents: Mapping[str, PodFacts]
    words: Mapping[str, NodeWord]


def standing(lines: Sequence[FilterLine], nodes: Nodes, since: str) -> tuple[Held, frozenset[str]]:
    """Which of the nodes hold the modules of all lines.

    A node counts only while an agent lives there: its pod is Ready. Without a pod nobody would tell that a file is not
    there any more, so what was told once is not believed.

    Args:
        since: the version of the list from which on all lines stood in it; "" for ever.

    Returns:
        That, and the kinds of errors that agents tell of the modules.
    """
    reasons = {node: reason for node in nodes.ready if (reason := _reason(lines, node, nodes, since)) is not None}
    missing = [(node, reason.why) for node, reason in reasons.items()]
    missing += [(node, "the node is not ready, and not waited for") for node in nodes.not_ready]
    held = Held(
        needed=True,
        nodes=len(nodes.ready),
        held=len(nodes.ready) - len(reasons),
        missing=tuple(missing),
        final=bool(reasons) and len(reasons) == len(nodes.ready) and all(each.permanent for each in reasons.values()),
    )
    return held, frozenset(each.kind for each in reasons.values() if each.kind)


def _reason(lines: Sequence[FilterLine], node: str, nodes: Nodes, since: str) -> _Reason | None:
    """Why a node does not hold them; None if it does."""
    word = nodes.words.get(node)
    trouble = agent_trouble(nodes.agents.get(node))
    if trouble:
        return _Reason(trouble)
    if word is None:
        return _Reason(SILENT)
    if word.told.status is None:
        return _Reason(UNREADABLE)
    for line in lines:
        if line.module in word.modules:
            continue
        entry = told_of(word.told.status, line)
        asked = not since or reached(word.observed, since)
        if entry is None or not entry.error:
            return _Reason(BEHIND if entry is None or not asked else "it is being pulled")
        return _Reason(entry.error, entry.permanent and asked, entry.kind)
    return None


def agent_trouble(pod: PodFacts | None) -> str:
    """Why an agent does not live; "" if it does."""
    if pod is None:
        return NO_AGENT
    if pod.ready:
        return ""
    return f"its agent does not live: {pod.trouble or f'pod {pod.name} is not ready'}"


def node_of(told: NodeTold, cache: str) -> str:
    """The node that a ConfigMap is of; by its name where what it says cannot be read."""
    return told.status.node if told.status else told.name.removeprefix(f"{cache}-")
