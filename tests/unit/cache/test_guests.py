"""Guests together get no more room than there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasme.cache.doors import Doors
from wasme.cache.folder import Folder
from wasme.cache.guests import Busy, Guests
from wasme.cache.holdings import Holdings
from wasme.cache.lanes import Lanes
from wasme.cache.loop import Loop
from wasme.cache.memory import Memory
from wasme.cache.metrics import Counters
from wasme.cache.pulling import LARGEST, Found, Puller
from wasme.cache.upkeep import Upkeep
from wasme.registry.transport import ConnectionOptions


class Parts:
    """The rooms of an agent whose loop and lanes stand still, so that each step can be seen."""

    def __init__(self, directory: Path, limit: int) -> None:
        folder, kept, counters = Folder(directory), Memory(), Counters()
        folder.prepare()
        loop, lanes = Loop(lambda: None), Lanes()
        lanes.stop()
        puller = Puller(folder, Doors(ConnectionOptions()), counters)
        holdings = Holdings(loop, lanes, puller, folder, kept, counters, changed=lambda _: None, no_room=lambda: None)
        self.upkeep = Upkeep(
            loop, lanes, folder, kept, holdings, counters, grace=3600.0, limit=limit, check_interval=0.0,
            settled=lambda: True,
        )  # fmt: skip
        self.guests = Guests(loop, lanes, puller, folder, kept, holdings, policy="anonymous", room=self.upkeep.room)
        self._loop = loop

    def ask(self, name: str) -> BaseException | None:
        """What somebody who asks for an image is told at once."""
        waiter = self.guests.fetch(name)
        self._loop._inbox.get_nowait()()
        return waiter.exception() if waiter.done() else None


def test_room_is_promised_once(tmp_path: Path) -> None:
    """What one guest may fill is nobody else's until it is known how much came; then the rest is there again."""
    parts = Parts(tmp_path, LARGEST + 1000)
    assert parts.ask("registry.example.com/a/one:v1") is None
    assert parts.ask("registry.example.com/a/two:v1") is None
    assert list(parts.guests._promised.values()) == [LARGEST, 1000]
    assert isinstance(parts.ask("registry.example.com/a/three:v1"), Busy)
    (first, second) = parts.guests._flights
    (tmp_path / ("a" * 64)).write_bytes(b"x" * 600)
    parts.guests._tried(first, Found("sha256:" + "b" * 64, "sha256:" + "a" * 64, 600))
    assert parts.ask("registry.example.com/a/three:v1") is None
    parts.guests._tried(second, Busy("no"))
    assert sum(parts.guests._promised.values()) <= LARGEST + 1000 - 600


@pytest.mark.parametrize("limit", [0])
def test_no_limit(tmp_path: Path, limit: int) -> None:
    """Without a limit each gets what a module may have."""
    parts = Parts(tmp_path, limit)
    for name in "abcd":
        assert parts.ask(f"registry.example.com/a/{name}:v1") is None
    assert set(parts.guests._promised.values()) == {LARGEST}
