"""A server whose storage was put back to an earlier state: its versions are lower than what is known."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.fixtures.agents import soon
from tests.unit.deploy.cluster.scripted import Handler, opened, page, scripted, status
from wasme.deploy.cluster.kinds import CONFIG_MAP
from wasme.operator.informers.informer import Informer


@dataclass
class Server:
    """Has ConfigMaps, by their names: uid, version, value. It tells no changes, as to who asks for those after a
    version that is yet to come."""

    version: int
    items: dict[str, tuple[str, int, str]]
    away: bool = False
    lists: list[str] = field(default_factory=list)

    def __call__(self, ask: Handler, _: int) -> None:
        query = parse_qs(urlsplit(ask.path).query)
        if self.away:
            ask.give(503, status(503, "later"))
        elif "watch" in query:
            time.sleep(0.05)
            ask.give(200, b"")
        else:
            self.lists.append(query["limit"][0])
            items = [
                {"metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": str(at)}, "data": {"v": v}}
                for name, (uid, at, v) in self.items.items()
            ]
            ask.give(200, json.dumps(page([*items], version=str(self.version))).encode())


def test_what_is_known_is_put_back_too() -> None:
    """When it is back, a server with lower versions than were told is listed anew, and all that differs is told: what
    is as it was before, what was made since and is gone. One whose versions went on is asked for one object, once."""
    server = Server(500, {"a": ("u1", 450, "new"), "same": ("u2", 100, "x"), "made": ("u3", 480, "y")})
    told: list[tuple[str, str | None, str | None]] = []
    stop = threading.Event()
    with scripted(server) as at, opened(at.url, 0.2) as cluster:
        informer = Informer(cluster, CONFIG_MAP, keep=lambda obj: str(obj["data"]["v"]), window=0.3)
        informer.subscribe(lambda key, before, after: told.append((key.name, before, after)))
        thread = threading.Thread(target=informer.run, args=(stop,))
        thread.start()
        try:
            assert soon(lambda: len(told) == 3, 10)
            told.clear()

            def outage() -> None:
                server.away = True
                assert soon(lambda: informer.problem, 10)

            outage()
            server.version, server.away = 501, False
            assert soon(lambda: len(server.lists) == 2, 10)
            outage()
            assert server.lists == ["500", "1"]
            server.version = 300
            server.items = {"a": ("u1", 200, "old"), "same": ("u2", 100, "x"), "gone": ("u4", 150, "z")}
            server.away = False
            assert soon(lambda: len(told) == 3, 10)
            assert sorted(told, key=str) == [("a", "new", "old"), ("gone", None, "z"), ("made", "y", None)]
            assert (informer.store.version(("n", "a")), informer.store.version(("n", "same"))) == ("200", "100")
        finally:
            stop.set()
            thread.join(5)
