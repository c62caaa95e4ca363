"""Gates of many nodes for many filters: who waits for which node, without looking at all of them each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.unit.operator.test_holding import line
from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.deploy.cluster import Cluster
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.holding import Holding
from wasme.operator.resources.wanted import Key

OPTIONS = CacheOptions()


class World:
    """What the informers tell, without an API server: nothing here is written."""

    def __init__(self, nodes: int) -> None:
        self.stores = Stores(Cluster.__new__(Cluster), OPTIONS)
        self.called: list[Key] = []
        self.version = 100
        self.holding = Holding(Cluster.__new__(Cluster), self.stores, OPTIONS, self.call)
        self.nodes = [f"node-{number}" for number in range(nodes)]
        for node in self.nodes:
            self.agent(node)
            self.tell(node, "1")

    def call(self, keys: Collection[Key]) -> None:
        self.called.extend(keys)

    def see(self, informer: Any, obj: dict[str, Any], change: str = "MODIFIED") -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        informer._changed(change, obj)

    def agent(self, node: str, *, ready: bool = True) -> None:
        """A node that is ready, and a pod of an agent there."""
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        meta = {"name": f"agent-{node}", "namespace": OPTIONS.namespace, "uid": node, "labels": {"app": OPTIONS.name}}
        status = {"phase": "Running", "conditions": [condition]}
        self.see(self.stores.pods, {"metadata": meta, "spec": {"nodeName": node}, "status": status})
        ready_node = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.see(self.stores.nodes, {"metadata": {"name": node, "uid": node}, "status": ready_node})

    def tell(self, node: str, observed: str, *images: ImageStatus) -> None:
        status = NodeStatus(node, "1", observed, (), images)
        self.see(self.stores.told, protocol.status_object(OPTIONS.name, OPTIONS.namespace, "u", status))

    def leave(self, node: str) -> None:
        """What it told goes with a node."""
        told = NodeStatus(node, "1", "1", (), ())
        self.see(self.stores.told, protocol.status_object(OPTIONS.name, OPTIONS.namespace, "u", told), "DELETED")

    def remove(self, node: str) -> None:
        """A node is deleted, and what it told stays, as an autoscaler leaves it."""
        self.see(self.stores.nodes, {"metadata": {"name": node, "uid": node}, "status": {}}, "DELETED")

    def list(self, *texts: str) -> str:
        """The cache's list; its version."""
        meta = {"name": OPTIONS.name, "namespace": OPTIONS.namespace, "uid": "list"}
        self.see(self.stores.config, {"metadata": meta, "data": {"filters": "\n".join(texts)}})
        return str(self.version)

    def active(self, lines: dict[Key, FilterLine]) -> str:
        """Lines that become needed, each somebody's; the version of the list."""
        for key, each in lines.items():
            self.holding.waiting(key, [each])
        self.list(*(f"{each.text} pending" for each in lines.values()))
        version = self.list(*(each.text for each in lines.values()))
        self.called.clear()
        return version


def test_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand filters wait for five hundred nodes: what the nodes tell costs less than a second altogether, and each
    filter is called once, when the last node has told, or the last that does not hold its module.
    """
    monkeypatch.setattr("wasme.operator.nodecache.gates.SOON", 60.0)  # nobody is called because of the time
    world = World(500)
    world.list()
    lines = {Key("shop", f"f{number}"): line(f"f{number}", number) for number in range(1000)}
    version = world.active(lines)
    begun = time.thread_time()
    assert not any(world.holding.activate([each]) for each in lines.values())
    asked = time.thread_time() - begun
    first = line("f7", 7)
    world.tell("node-499", "1", ImageStatus(first.ref, first.manifest, first.module, 9, held=True))
    assert world.called == [Key("shop", "f7")], "whose module came, and nobody else"
    world.called.clear()
    begun = time.thread_time()
    for node in world.nodes[:-1]:
        world.tell(node, version)
    told = time.thread_time() - begun
    assert world.called == [Key("shop", "f7")], "the last node holds it, and may as well be late"
    world.tell("node-499", version)
    assert set(world.called) == lines.keys()
    assert len(world.called) == len(lines) + 1, "its module is told as gone there, too"
    assert all(world.holding.activate([each]) for each in lines.values())
    assert asked < 1, f"{asked:.2f} s for a thousand that begin to wait"
    assert told < 1, f"{told:.2f} s for what five hundred nodes told"


def test_for_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter waits for nodes that have neither read that it is needed nor hold its modules; for one that is gone
    nobody waits, and after a while only for those whose agents live.
    """
    monkeypatch.setattr("wasme.operator.nodecache.gates.SOON", 4.0)
    monkeypatch.setattr("wasme.operator.nodecache.gates.SLOW", 60.0)
    world = World(4)
    auth = line("auth")
    held = ImageStatus(auth.ref, auth.manifest, auth.module, 9, held=True)
    world.list()
    version = world.active({Key("shop", "auth"): auth})
    world.tell("node-0", "1", held)
    world.tell("node-1", version)
    assert not world.holding.activate([auth])
    world.called.clear()
    world.tell("node-2", "1")
    assert not world.called
    world.tell("node-2", "1", held)
    assert not world.holding.activate([auth]), "for node-3"
    time.sleep(4.1)
    assert not world.holding.activate([auth]), "its agent lives"
    world.agent("node-3", ready=False)
    assert world.holding.activate([auth])


def test_node_that_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a node that is gone nobody waits any more."""
    monkeypatch.setattr("wasme.operator.nodecache.gates.SOON", 60.0)  # nobody is called because of the time
    world = World(2)
    auth = line("auth")
    world.list()
    version = world.active({Key("shop", "auth"): auth})
    assert not world.holding.activate([auth])
    world.tell("node-0", version)
    assert not world.called
    world.leave("node-1")
    assert soon(lambda: world.called == [Key("shop", "auth")]), "told late, for it may be a write of our own"
    assert world.holding.activate([auth])


def test_word_of_a_node_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a node that is deleted nobody waits, though what it told stays: neither who began to before nor who comes
    after that; once it is back it is waited for again.
    """
    monkeypatch.setattr("wasme.operator.nodecache.gates.SOON", 60.0)  # nobody is called because of the time
    world = World(2)
    auth, late = line("auth"), line("late", 2)
    world.list()
    version = world.active({Key("shop", "auth"): auth})
    assert not world.holding.activate([auth])
    world.tell("node-0", version)
    assert not world.called
    world.remove("node-1")
    assert soon(lambda: world.called == [Key("shop", "auth")])
    assert world.holding.activate([auth])
    world.tell("node-0", world.active({Key("shop", "late"): late}))
    assert world.holding.activate([late])
    world.list()
    world.active({Key("shop", "auth"): auth})
    world.agent("node-1")
    world.tell("node-0", str(world.version))
    assert not world.holding.activate([auth])


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no timer can be started the next look starts it: who waits is called when the time is over."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    world = World(1)
    auth = line("auth")
    world.list()
    world.active({Key("shop", "auth"): auth})
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            world.holding.activate([auth])
    assert not world.holding.activate([auth])
    assert soon(lambda: Key("shop", "auth") in world.called)
