"""What FilterDeployments ask of the node cache: lines of its list, pull secrets, and which nodes hold the modules.

Nothing here waits. What must be written goes out with what others write (``commits``); what nodes must do first is
told by their statuses. Who asks gets the answer of this moment, and its key is called when that may be another one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import replace

from wasme.deploy.cache import protocol, secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.secrets import Place
from wasme.deploy.cluster import Cluster
from wasme.errors import WasmeError
from wasme.operator.informers.facts import ConfigFacts, NodeFacts, NodeTold, PodFacts
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.agents import Agents
from wasme.operator.nodecache.asked import Asked, Followed
from wasme.operator.nodecache.commits import STEP, Commits, absent
from wasme.operator.nodecache.followers import Followers
from wasme.operator.nodecache.gates import Gate, Gates
from wasme.operator.nodecache.intents import FilterId, Intents
from wasme.operator.nodecache.refusals import Refusals
from wasme.operator.nodecache.sharing import Sharing
from wasme.operator.nodecache.standing import standing
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.report import Held
from wasme.operator.resources.wanted import Key, Wanted

Lines = tuple[FilterLine, ...]


class Holding:
    """Safe to use from many threads.

    Args:
        cluster: where.
        stores: what is known of it.
        options: which cache.
        call: is given the keys of FilterDeployments that are to be looked at again.
        routes: where registries' names lead; None: to themselves, or where the list leads them.
        step: seconds between two writes of the list, while there are many.
    """

    def __init__(
        self,
        cluster: Cluster,
        stores: Stores,
        options: CacheOptions,
        call: Callable[[Collection[Key]], None],
        routes: Routes | None = None,
        *,
        step: float = STEP,
    ) -> None:
        self._stores = stores
        self._options = options
        self._call = call
        self._lock = threading.RLock()
        self._list = Followed()
        self._followers = Followers()
        self._agents = Agents(stores, options)
        self._gates = Gates(self._list.gates, self._agents, self._opened)
        self._refusals = Refusals()
        self._leaving: set[FilterId] = set()
        self._notes: dict[FilterId, str] = {}
        self._unseen: dict[Key, Place] = {}
        """FilterDeployments that nobody has looked at yet in this term → whose pull secret may be theirs."""
        self._sharing = Sharing(cluster, options, routes or Routes(options, stores.cache_config), self._counted_on)
        self.commits = Commits(
            cluster, options, known=stores.cache_config, stored=stores.put, done=self._written,
            sweep=self._sharing.sweep, step=step,
        )  # fmt: skip
        stores.config.subscribe(self._list_changed)
        stores.told.subscribe(self._node_told)
        stores.pods.subscribe(self._pod_changed)
        stores.nodes.subscribe(self._node_changed)

    @property
    def options(self) -> CacheOptions:
        """Which cache."""
        return self._options

    def begin(self, wanted: Iterable[Wanted] = ()) -> None:
        """Another operator may have worked until now: what was done for whom, what failed, and what is left of pull
        secrets, is found anew.

        Args:
            wanted: what FilterDeployments ask for that are not being deleted: until they are looked at their pull
                secrets stay.
        """
        pulling = [each for each in wanted if each.order is not None and each.image.pull_secret]
        with self._lock:
            self._unseen = {each.key: secrets.place(each.key.namespace, each.image.reference) for each in pulling}
            self._followers.clear()
            for each in (self._leaving, self._notes, self._refusals):
                each.clear()
            self._sharing.forget()
            self.commits.clear()
        self.commits.submit(Intents.sweep)

    def waiting(self, key: Key, lines: Iterable[FilterLine]) -> None:
        """From now on a FilterDeployment is called when something changes about these lines, and no others."""
        needed = tuple(line.needed for line in lines)
        with self._lock:
            self._followers.follow(key, needed)
            is_last = self._unseen.pop(key, None) is not None and not self._unseen
        if is_last:
            self.commits.submit(Intents.sweep)

    def want(self, lines: Iterable[FilterLine], wanted: Wanted | None = None) -> bool:
        """Ask every node for the modules of some lines; new ones are pending.

        Args:
            wanted: whose they are: its key is called from now on, its pull secret is shared with the agents, and where
                the operator's own map leads its registry they are led, too.

        Returns:
            Whether the list says so; it soon will, otherwise, and the key is called.

        Raises:
            CacheError: there is no list, or no room in it.
            Unauthorized: the pull secret is missing.
            ClusterError: the API server did not do it.
        """
        lines = tuple(line.needed for line in lines)
        for line in lines:
            protocol.parse_filter(line.text, f"the filter {line.id}")
        if wanted is not None:
            self.waiting(wanted.key, lines)
        with self._lock:
            self._leaving.difference_update(FilterId(line.namespace, line.id) for line in lines)
            asked = self._require_list()
            if wanted is not None:
                note = self._sharing.note(wanted)
                self._notes.update((FilterId(line.namespace, line.id), note) for line in lines)
        led = self._sharing.share(wanted) if wanted is not None and lines else {}
        if asked.has(lines) and led.keys() <= asked.registry_map.keys():
            return True

        def say(intents: Intents) -> None:
            intents.want(lines, active=False)
            intents.lead(led)

        self._submit(dict.fromkeys(_names(lines), (lines, False)), say)
        return False

    def activate(self, lines: Iterable[FilterLine]) -> bool:
        """Let no pod start any more on a node without the modules, for the filters are about to appear.

        Returns:
            Whether that is so: the list says that they are needed, and the nodes without them have read it, or had
            time to. Otherwise the key is called.

        Raises:
            CacheError: there is no list, or no room in it.
            ClusterError: the API server did not do it.
        """
        lines = tuple(line.needed for line in lines)
        with self._lock:
            asked = self._require_list()
            if asked.needs(lines):
                return self._gates.closed(lines)
        words = dict.fromkeys(_names(lines), (lines, True))
        self._submit(words, lambda intents: intents.want(lines, active=True))
        return False

    def keep(self, namespace: str, filter_id: str, lines: Iterable[FilterLine] = ()) -> bool:
        """A filter needs no other lines than these any more; they themselves are not added.

        Returns:
            Whether there are no others; soon there will be none, otherwise.

        Raises:
            ClusterError: the API server did not do it when it was asked last.
        """
        name = FilterId(namespace, filter_id)
        kept = frozenset(line.needed for line in lines)
        with self._lock:
            asked = self._look()
            if asked is None or not asked.lines.get(name, {}).keys() - kept:
                return True
        self._submit({name: kept}, lambda intents: intents.keep(namespace, filter_id, kept))
        return False

    def forget(self, namespace: str, filter_id: str, key: Key | None = None) -> bool:
        """A filter needs nothing any more.

        Args:
            key: is called when that is written.

        Returns:
            Whether the list has none of its lines.

        Raises:
            ClusterError: the API server did not do it when it was asked last.
        """
        name = FilterId(namespace, filter_id)
        with self._lock:
            self._leaving.add(name)  # before it is written: its pull secret goes with its last line
        if self.keep(namespace, filter_id):
            with self._lock:
                self._leaving.discard(name)
                owner = key or self._followers.of(name)
                if owner is not None:
                    self._followers.leave(owner)
                    self._unseen.pop(owner, None)
                self._followers.forget(name)
                self._notes.pop(name, None)
                self._refusals.forget(name)
            if self._sharing.has(namespace):  # its line may have been refused, or its end not been heard of
                self.commits.submit(Intents.sweep)
            return True
        if key is not None:
            with self._lock:
                self._followers.own(name, key)
        return False

    def standing(self, lines: Iterable[FilterLine], nodes: Iterable[str]) -> Held:
        """Which of some nodes hold the modules of all lines, by agents that live.

        Args:
            nodes: that run pods which load them; those that are not ready do not count.
        """
        lines = tuple(line.needed for line in lines)
        if not lines:
            return Held()
        with self._lock:
            self._look()
            names = self._followers.run_on(lines, nodes)
            held, kinds = standing(lines, self._agents.nodes(names), self._list.version_of(lines))
            note = self._notes.get(FilterId(lines[0].namespace, lines[0].id), "")
        again = self._sharing.refused(lines) if kinds & protocol.NO_ACCESS else None
        return replace(held, note=note, again=again) if note or again is not None else held

    def _submit(self, words: Mapping[FilterId, Hashable], say: Callable[[Intents], None]) -> None:
        """Have something written; what was refused is sent anew now and then, and refused until it is written.

        Args:
            words: what is said of each filter.
            say: says it.
        """
        with self._lock:
            version = self._version
            errors = [error for name, word in words.items() if (error := self._refusals.of(name, word)) is not None]
            due = [name for name in words if self._refusals.is_due(name, version)]
            is_due = bool(due) or not errors
            if is_due:
                for name, word in words.items():
                    self._refusals.sent(name, word)
        if is_due:
            self.commits.submit(say)
        if errors:
            raise errors[0]

    # All of these hold the lock.

    @property
    def _version(self) -> str:
        return self._list.now.facts.version if self._list.now is not None else ""

    def _look(self) -> Asked | None:
        """The list as it is now; who is concerned by what is new in it is called."""
        changed = self._list.look(self._stores.cache_config())
        if changed is None:
            self._tell(self._followers.all)
        elif changed:
            self._tell(self._followers.of_all(changed))
        return self._list.now

    def _require_list(self) -> Asked:
        asked = self._look()
        if asked is None:
            raise absent(self._options)
        return asked

    def _tell(self, keys: Iterable[Key]) -> None:
        found = set(keys)
        if found:
            self._call(found)

    # What happens; from the informers' threads, the writer's, and timers'.

    def _counted_on(self) -> set[Place]:
        """The places of lines that somebody counts on, written or not, and of what nobody has looked at yet."""
        with self._lock:
            lines = [each for each in self._followers.lines if FilterId(each.namespace, each.id) not in self._leaving]
            unseen = set(self._unseen.values())
        return secrets.places(lines) | unseen

    def _written(self, result: Mapping[FilterId, WasmeError | None]) -> None:
        with self._lock:
            self._look()
            news = [name for name, error in result.items() if self._refusals.came(name, error, self._version)]
            self._tell(self._followers.of_all(news))

    def _list_changed(self, _key: Key, _before: ConfigFacts | None, _after: ConfigFacts | None) -> None:
        with self._lock:
            self._look()

    def _node_told(self, _key: Key, before: NodeTold | None, after: NodeTold | None) -> None:
        """A node's status is another one: call whom its modules concern, and whose gate is closed now."""
        images = [set(each.status.images) if each and each.status else set() for each in (before, after)]
        modules = {each.module for each in images[0] ^ images[1]}
        with self._lock:
            keys = self._followers.of_modules(modules)
            nodes = self._agents.told(before, after)
            if (before is None) or (after is None) or (before.status is None) != (after.status is None):
                keys.update(*map(self._followers.on, nodes))
            self._tell(keys | self._followers.of_all(self._gates.told(nodes)))

    def _pod_changed(self, _key: Key, before: PodFacts | None, after: PodFacts | None) -> None:
        """An agent's pod came, went, or lives otherwise than before."""
        nodes = {each.node for each in (before, after) if each is not None and self._agents.is_one(each)}
        if not nodes:
            return
        with self._lock:
            self._agents.changed()
            self._tell(key for node in nodes for key in self._followers.on(node))

    def _node_changed(self, key: Key, before: NodeFacts | None, after: NodeFacts | None) -> None:
        if (before.ready if before else None) == (after.ready if after else None):
            return
        with self._lock:
            self._agents.changed()
            self._tell(self._followers.on(key.name) | self._followers.of_all(self._gates.told({key.name})))

    def _opened(self, gate: Gate) -> None:
        """The time for a gate is over: who waits looks again."""
        with self._lock:
            self._tell(self._followers.of_all(gate.waiting))


def _names(lines: Lines) -> Iterable[FilterId]:
    return (FilterId(line.namespace, line.id) for line in lines)
