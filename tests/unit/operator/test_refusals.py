"""What could not be written into the cache's list: told for as long as it is so, and sent again now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

import pytest

from tests.fixtures.agents import soon
from tests.unit.operator.test_holding import line
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster
from wasme.errors import CacheError, ClusterError, LeadershipLost, WasmeError
from wasme.operator.control.queue import Queue
from wasme.operator.control.workers import Looked, Workers
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache import refusals
from wasme.operator.nodecache.holding import Holding
from wasme.operator.nodecache.intents import FilterId
from wasme.operator.nodecache.refusals import FIRST, LONGEST, Refusals
from wasme.operator.resources.wanted import Key

OPTIONS = CacheOptions()
NAME, KEY = FilterId("shop", "auth"), Key("shop", "auth")


class Server(Cluster):
    """Refuses each write, for as long as it has a reason."""

    def __init__(self, refusal: WasmeError | None) -> None:
        self.refusal = refusal
        self.list: dict[str, Any] = {}
        self.asked = 0

    def patch(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        meta = {**self.list["metadata"], "resourceVersion": str(100 + self.asked)}
        return {**self.list, "metadata": meta, "data": _[3]["data"]}


class World:
    """One filter, workers as the operator has them, and a list without a server behind it."""

    def __init__(self, refusal: WasmeError | None, data: dict[str, str]) -> None:
        self.server = Server(refusal)
        stores = Stores(self.server, OPTIONS)
        self.holding = Holding(self.server, stores, OPTIONS, self.call, step=0.0)
        self.queue = Queue()
        self.results: list[str] = []
        self.submitted = 0
        self.workers = Workers(self.queue, self.look, 1, lambda result, _: self.results.append(result))
        self.server.list = {
            "apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": OPTIONS.name, "namespace": OPTIONS.namespace, "uid": "list", "resourceVersion": "1"},
        }  # fmt: skip
        stores.config._changed("ADDED", self.server.list)
        submit = self.holding.commits.submit

        def counted(say: Any) -> None:
            self.submitted += 1
            submit(say)

        self.holding.commits.submit = counted  # type: ignore[method-assign]

    def call(self, keys: Collection[Key]) -> None:
        for key in keys:
            self.queue.add(key)

    def look(self, key: Key) -> Looked:
        need = [line("auth")]
        self.holding.waiting(key, need)
        return Looked("ok" if self.holding.want(need) else "waiting")


def full() -> dict[str, str]:
    return {"filters": "\n".join(line(f"f{number}", number).text for number in range(1, 5000))}


@pytest.mark.parametrize("kind", ["full", "refused"])
def test_it_is_not_sent_all_the_time(kind: str) -> None:
    """A line that has no room, or that the API server refuses, is sent once and then stays refused: the look fails,
    is tried more and more seldom, and never tells that it waits for something."""
    world = World(ClusterError("forbidden") if kind == "refused" else None, full() if kind == "full" else {})
    world.workers.start()
    world.queue.add(KEY)
    try:
        time.sleep(2.8)
        assert soon(lambda: len(world.results) >= 2)
    finally:
        world.workers.stop(30)
    assert world.submitted == 1
    assert world.results[0] == "waiting"
    assert set(world.results[1:]) == {"failed"}
    assert 2 <= len(world.results) <= 5
    assert world.queue.failures(KEY) == len(world.results) - 1


def test_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is refused again nobody is called for it and it stays failed; when it is written it is called."""
    monkeypatch.setattr(refusals, "FIRST", 0.1)
    world = World(ClusterError("forbidden"), {})
    called = threading.Event()
    world.holding._call = lambda _: called.set()
    need = [line("auth")]
    world.holding.waiting(KEY, need)
    assert not world.holding.want(need)
    assert called.wait(30)
    called.clear()
    time.sleep(0.2)
    for _ in range(20):
        with pytest.raises(ClusterError):
            world.holding.want(need)
    assert soon(lambda: world.server.asked >= 2)
    time.sleep(0.4)
    assert not called.is_set(), "it knows that already"
    world.server.refusal = None
    with pytest.raises(ClusterError):
        world.holding.want(need)
    assert called.wait(30)
    assert world.holding.want(need)


def test_for_how_long() -> None:
    """Some seconds, longer after each refusal, up to minutes; at once where the list is another one, or where
    something else is said."""
    now = 100.0
    found = Refusals(lambda: now)
    waits = []
    for _ in range(9):
        found.sent(NAME, "a word")
        found.came(NAME, CacheError("full"), "7")
        assert found.of(NAME, "a word")
        assert not found.is_due(NAME, "7")
        began = now
        while not found.is_due(NAME, "7"):
            now += 0.5
        waits.append(now - began)
        assert not found.is_due(NAME, "7"), "one sends it"
    assert FIRST <= waits[0] < waits[2] < waits[4]
    assert waits[4] > 30
    assert waits[-1] <= 1.3 * LONGEST
    assert found.is_due(NAME, "8")
    assert not found.is_due(NAME, "8")
    assert found.of(NAME, "another word") is None
    assert found.of(FilterId("shop", "other"), "a word") is None
    found.sent(NAME, "another word")
    assert found.came(NAME, None, "9")
    assert found.of(NAME, "a word"), "that was not written"
    found.sent(NAME, "a word")
    assert found.came(NAME, None, "9")
    assert found.of(NAME, "a word") is None


def test_a_lost_lease_is_told_once() -> None:
    """Who leads again says it anew."""
    found = Refusals()
    found.sent(NAME, "a word")
    found.came(NAME, LeadershipLost("somebody else leads"), "7")
    assert found.of(NAME, "a word")
    assert found.of(NAME, "a word") is None
