"""A download must keep going, and is one for all."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from wasme.cache import pulling
from wasme.cache.doors import Doors
from wasme.cache.folder import Folder
from wasme.cache.metrics import Counters
from wasme.errors import Unauthorized, Unreachable
from wasme.image.descriptor import Descriptor
from wasme.registry.transport import ConnectionOptions

BODY = b"\0asm\1\0\0\0" + b"x" * 112
LAYER = Descriptor(media_type="application/wasm", digest="sha256:" + hashlib.sha256(BODY).hexdigest(), size=len(BODY))


def flight() -> pulling._Flight:
    return pulling._Flight(outside=False)


class Trickle:
    """A byte now and then."""

    def read(self, size: int, /) -> bytes:
        time.sleep(0.01)
        return b"x" if size else b""


def test_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that sends a byte now and then, which no time-out notices, is given up after the grace."""
    monkeypatch.setattr(pulling, "_GRACE_SECONDS", 0.1)
    source = pulling._Paced(Trickle(), "sha256:" + "a" * 64, Counters(), threading.Event(), flight())
    begun = time.monotonic()

    def read_on() -> None:
        while source.read(100):
            assert time.monotonic() - begun < 50

    with pytest.raises(Unreachable, match="too few"):
        read_on()
    assert time.monotonic() - begun > 0.1


def test_stop() -> None:
    """A download ends when the agent does."""
    stopping = threading.Event()
    source = pulling._Paced(Trickle(), "sha256:" + "a" * 64, Counters(), stopping, flight())
    assert source.read(1) == b"x"
    stopping.set()
    with pytest.raises(pulling.Stopped):
        source.read(1)


class Slow:
    """A repository that gives ten bytes in each beat, or halts after the first ten."""

    def __init__(self, beat: float = 0.1) -> None:
        self.beat = beat
        self.downloads = 0
        self.refused = 0
        self.begun = threading.Event()
        self.halt = threading.Event()
        self.halt.set()

    @contextlib.contextmanager
    def fetch(self, layer: Descriptor) -> Iterator[Any]:
        if self.refused:
            self.refused -= 1
            time.sleep(self.beat)
            raise Unauthorized("no")
        self.downloads += 1
        yield Body(self)


class Body:
    def __init__(self, repository: Slow) -> None:
        self._repository = repository
        self._rest = BODY

    def read(self, size: int, /) -> bytes:
        time.sleep(self._repository.beat)
        if len(self._rest) < len(BODY):
            self._repository.begun.set()
            self._repository.halt.wait(90)
        block, self._rest = self._rest[:10], self._rest[10:]
        return block


@pytest.fixture
def puller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pulling.Puller:
    monkeypatch.setattr(pulling, "_PATIENCE", 3.0)
    monkeypatch.setattr(pulling, "_LOOK_SECONDS", 0.05)
    folder = Folder(tmp_path)
    folder.prepare()
    return pulling.Puller(folder, Doors(ConnectionOptions()), Counters())


def get(puller: pulling.Puller, repository: Slow, *, outside: bool = False) -> tuple[str, int]:
    return puller._layer(cast("Any", repository), LAYER, 1 << 20, packed=False, outside=outside)


def test_one_download_however_long_it_takes(puller: pulling.Puller) -> None:
    """While a download makes progress, all who want the module wait for it."""
    slow = Slow()
    with ThreadPoolExecutor(4) as pool:
        assert {*pool.map(lambda _: get(puller, slow), range(4))} == {(LAYER.digest, len(BODY))}
    assert slow.downloads == 1
    assert not puller._flights


def test_download_that_stands_still_holds_up_nobody(puller: pulling.Puller) -> None:
    """When nothing more comes of it, another goes alone."""
    stuck, other = Slow(), Slow(0.0)
    stuck.halt.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(get, puller, stuck)
        assert stuck.begun.wait(30)
        assert get(puller, other) == (LAYER.digest, len(BODY))
        assert not first.done()
        stuck.halt.set()
        assert first.result(60) == (LAYER.digest, len(BODY))


def test_after_a_failure_one_tries_for_all(puller: pulling.Puller) -> None:
    """When a download fails, one of those who waited for it is the next, and the others wait on."""
    slow = Slow(0.05)
    slow.refused = 1
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(get, puller, slow) for _ in range(4)]
        failed = [each.exception() for each in results if each.exception()]
    assert [type(each) for each in failed] == [Unauthorized]
    assert slow.downloads == 1


def test_stranger_holds_up_nobody(puller: pulling.Puller) -> None:
    """What the node must have does not wait for a registry that a stranger chose, however steadily that one sends."""
    theirs, ours = Slow(0.2), Slow(0.0)
    with ThreadPoolExecutor(1) as pool:
        guest = pool.submit(get, puller, theirs, outside=True)
        assert theirs.begun.wait(30)
        assert get(puller, ours) == (LAYER.digest, len(BODY))
        assert not guest.done()
        assert guest.result(60) == (LAYER.digest, len(BODY))
    assert (theirs.downloads, ours.downloads) == (1, 1)


def test_who_waits_ends_with_the_agent(puller: pulling.Puller) -> None:
    """Who waits for another's download ends when the agent does."""
    stuck = Slow()
    stuck.halt.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(get, puller, stuck)
        assert stuck.begun.wait(30)
        second = pool.submit(get, puller, stuck)
        time.sleep(0.1)
        puller.stopping.set()
        with pytest.raises(pulling.Stopped):
            second.result(30)
        stuck.halt.set()
        with pytest.raises(pulling.Stopped):
            first.result(30)
