"""The agent of each node: whether it lives, and what it told last. As the stores have it, ready to be asked often."""

from __future__ import annotations

from collections.abc import Mapping

from wasme.deploy.cache.options import CacheOptions
from wasme.operator.informers.facts import NodeTold, PodFacts
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.standing import Nodes, NodeWord, agent_trouble, node_of


class Agents:
    """Of all nodes; belongs to who holds the lock.

    Args:
        stores: what is known of them.
        cache: whose agents.

    Attributes:
        words: node → what its agent told last.
    """

    def __init__(self, stores: Stores, cache: CacheOptions) -> None:
        self._stores = stores
        self._cache = cache
        self._pods: Mapping[str, PodFacts] | None = None
        self._answering: frozenset[str] | None = None
        self.words: dict[str, NodeWord] = {}
        for told in stores.told.store.all():
            self.told(None, told)

    def told(self, before: NodeTold | None, after: NodeTold | None) -> set[str]:
        """An agent has told something else than before; the nodes of which that is."""
        nodes = {node_of(each, self._cache.name) for each in (before, after) if each is not None}
        if before is not None:
            node = node_of(before, self._cache.name)
            if node in self.words and self.words[node].told.name == before.name:
                self.words.pop(node)
        if after is not None:
            self.words[node_of(after, self._cache.name)] = NodeWord(after)
        return nodes

    def changed(self) -> None:
        """A node, or the pod of an agent, is otherwise than before."""
        self._pods = self._answering = None

    def is_one(self, pod: PodFacts) -> bool:
        """Whether a pod is an agent's."""
        return pod.namespace == self._cache.namespace and pod.labels.get("app") == self._cache.name

    def has_node(self, name: str) -> bool:
        """Whether there is such a node, ready or not."""
        return self._stores.nodes.store.get(("", name)) is not None

    def answering(self) -> frozenset[str]:
        """Nodes that are ready, and whose agents live: only these are waited for."""
        if self._answering is None:
            pods = self._living()
            ready = self._stores.ready_nodes()
            self._answering = frozenset(node for node in ready if not agent_trouble(pods.get(node)))
        return self._answering

    def nodes(self, names: frozenset[str]) -> Nodes:
        """What is known of some nodes."""
        facts = {name: self._stores.nodes.store.get(("", name)) for name in names}
        ready = sorted(name for name, each in facts.items() if each is not None and each.ready)
        return Nodes(ready, sorted(names - set(ready)), self._living(), self.words)

    def _living(self) -> Mapping[str, PodFacts]:
        if self._pods is None:
            self._pods = self._stores.agents()
        return self._pods
