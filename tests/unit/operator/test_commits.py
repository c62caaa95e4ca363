"""What is said of the cache's list, and who writes it: also where no thread can be started, and from term to term."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

import pytest

from tests.unit.operator.test_holding import line
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster import Cluster
from wasme.errors import LeadershipLost, WasmeError
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.nodecache.commits import Commits
from wasme.operator.nodecache.intents import FilterId, Intents

OLD, NEW, LAST = line("old"), line("new", 2), line("last", 3)


class World:
    """A list with one line; each write begins when it may."""

    def __init__(self) -> None:
        self.reads: queue.SimpleQueue[threading.Event] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[Mapping[FilterId, WasmeError | None]] = queue.SimpleQueue()
        # No connection: what would be sent is told as a bug.
        self.commits = Commits(
            Cluster.__new__(Cluster), CacheOptions(), known=self.known, stored=lambda _: None,
            done=self.done.put, sweep=lambda *_: None,
        )  # fmt: skip

    def known(self) -> ConfigFacts:
        may = threading.Event()
        self.reads.put(may)
        assert may.wait(60)
        return ConfigFacts("wasme", "wasme-cache", "u", "1", {"filters": OLD.text, "images": OLD.ref})

    def let_go(self) -> None:
        self.reads.get(timeout=30).set()


def wants(found: FilterLine) -> Callable[[Intents], None]:
    return lambda intents: intents.want([found], active=False)


@pytest.fixture
def world() -> World:
    return World()


def test_no_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started who submits is told; the next one starts it, and both words are written."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            world.commits.submit(lambda intents: intents.keep("shop", "gone", []))
    world.commits.submit(wants(OLD))
    world.let_go()
    assert world.done.get(timeout=30) == {("shop", "gone"): None, ("shop", "old"): None}


def test_words_of_the_last_term(world: World) -> None:
    """What was said in a term that is over is not written in the next one, neither what waits nor what is just about
    to be sent; what is said then is.
    """
    world.commits.submit(wants(NEW))
    sending = world.reads.get(timeout=30)
    world.commits.submit(wants(LAST))
    world.commits.clear()
    world.commits.submit(wants(OLD))
    sending.set()
    told = world.done.get(timeout=30)
    assert isinstance(told[FilterId("shop", "new")], LeadershipLost)
    world.let_go()
    assert world.done.get(timeout=30) == {("shop", "old"): None}


def test_its_end_is_waited_for(world: World) -> None:
    """Joining tells whether the write that is under way is over; where nothing is, it is at once."""
    assert world.commits.join(30)
    world.commits.submit(wants(OLD))
    may = world.reads.get(timeout=30)
    assert not world.commits.join(0.2)
    threading.Timer(0.3, may.set).start()
    assert world.commits.join(30)
    assert world.done.get_nowait() == {("shop", "old"): None}
