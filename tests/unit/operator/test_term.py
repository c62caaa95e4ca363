"""A term: the lease goes when nothing is being written any more, and neither its beginning nor its end is unhealthy."""

from __future__ import annotations

import threading

import pytest

from tests.unit.deploy.cluster.scripted import opened, scripted, status
from tests.unit.operator.test_holding import line
from wasme.operator import daemon
from wasme.operator.control.workers import Workers
from wasme.operator.daemon import Operator
from wasme.operator.options import Options


def test_the_list_is_written_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A term does not end while the node cache's list is being written by a thread of its own."""
    writing, may = threading.Event(), threading.Event()
    over = threading.Event()
    over.set()
    with scripted(lambda ask, _: ask.give(503, status(503, "later"))) as server, opened(server.url, 0.5) as cluster:
        operator = Operator(cluster, Options(port=0, elect=False))
        commits = operator._holding.commits

        def known() -> None:
            writing.set()
            assert may.wait(60)

        monkeypatch.setattr(commits, "_known", known)
        commits.submit(lambda intents: intents.want([line("auth")], active=False))
        assert writing.wait(30)
        term = threading.Thread(target=operator._lead, args=(over,))
        term.start()
        term.join(1.0)
        assert term.is_alive()
        may.set()
        term.join(30)
        assert not term.is_alive()
        assert commits.join(0)


def test_neither_beginning_nor_ending_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong before the workers have started, when they have ended, and while the node cache's list is still
    being written after them; in between a worker that has ended is."""
    over = threading.Event()
    told: dict[str, str] = {}
    with scripted(lambda ask, _: ask.give(503, status(503, "later"))) as server, opened(server.url, 0.5) as cluster:
        operator = Operator(cluster, Options(port=0, elect=False))

        class Watched(Workers):
            def start(self) -> None:
                told["beginning"] = operator._wrong()
                super().start()

            def stop(self, seconds: float) -> bool:
                ended = super().stop(seconds)
                told["ending"] = operator._wrong()
                return ended

        def wait() -> bool:
            assert operator._workers is not None
            assert Workers.stop(operator._workers, 5)
            told["between"] = operator._wrong()
            return True

        def join(_: float) -> bool:
            told["writing"] = operator._wrong()
            return True

        monkeypatch.setattr(daemon, "Workers", Watched)
        monkeypatch.setattr(operator._holding.commits, "join", join)
        monkeypatch.setattr(over, "wait", wait)
        operator._lead(over)
    assert told == {"beginning": "", "between": "a worker has ended", "ending": "", "writing": ""}
