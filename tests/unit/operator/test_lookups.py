"""Whoever names registries chooses hosts: many that are silent hold up nobody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.fixtures import faulty
from tests.fixtures.agents import soon
from tests.unit.operator.test_images import World, hole, wanted
from wasme.errors import Unreachable
from wasme.image.layouts import Draft
from wasme.operator.registries.lookups import Lookups

__all__ = ["hole"]

Put = Callable[..., Draft]


def test_a_hundred_silent_hosts_hold_up_nobody(
    hole: str, faulty_registry: faulty.Registry, holds_image: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wildcard name has as many silent hosts as somebody likes. One worker gets past a hundred of them at once, an
    image of a registry that answers is there soon, and one that moves there is seen; a bounded number of threads wait.
    """
    real = socket.getaddrinfo
    port = int(hole.rpartition(":")[2])

    def wildcard(host: Any, *args: Any, **more: Any) -> Any:
        return real("127.0.0.1" if str(host).endswith(".silent.example") else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", wildcard)
    world = World(interval=0.2)
    draft = holds_image(faulty_registry, "demo/auth", "v1")
    good = wanted(f"{faulty_registry.host}/demo/auth:v1", policy="Always")
    world.images.resolve(good)
    before = threading.active_count()
    begun = time.monotonic()
    for number in range(100):
        with pytest.raises(Unreachable, match="has not answered yet"):
            world.images.resolve(wanted(f"h{number}.silent.example:{port}/demo/auth:v1", f"h{number}", plain_http=True))
    assert time.monotonic() - begun < 100 * 0.1, "a worker waits for hosts that nobody knows"
    assert threading.active_count() - before <= 16
    second = holds_image(faulty_registry, "demo/auth", "v1", 30_000)
    assert second.module.digest != draft.module.digest
    begun = time.monotonic()
    assert soon(lambda: world.images.resolve(good).module.digest == second.module.digest)
    assert time.monotonic() - begun < 20


def test_hosts_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many registries are named, only so many are remembered, and none that is being asked is forgotten."""
    monkeypatch.setattr("wasme.operator.registries.lookups._HOSTS", 20)
    lookups = Lookups(rest=0.0)
    over = threading.Event()
    with pytest.raises(Unreachable):
        lookups.get("held.example", "held", over.wait, lambda: None)

    def answered(number: int) -> bool:
        with suppress(Unreachable):  # a slow machine's answer comes later
            return lookups.get(f"h{number}.example", number, lambda: 1, lambda: None) == 1
        return False

    for number in range(200):
        assert soon(lambda number=number: answered(number))  # type: ignore[misc]
    assert len(lookups._hosts) <= 20
    assert "held.example" in lookups._hosts
    called = threading.Event()
    with pytest.raises(Unreachable):
        lookups.get("held.example", "held", over.wait, called.set)
    over.set()
    assert called.wait(30)


def test_one_that_nobody_knows_is_waited_for() -> None:
    """A registry takes some tenths of a second to answer for the first time: who asks gets the answer, and is not sent
    away to come back; some such registries may come one after the other.
    """
    lookups = Lookups(moment=30.0)
    for number in range(4):
        found = lookups.get(f"h{number}.example", number, lambda: time.sleep(0.2) or "there", lambda: None)
        assert found == "there"


def test_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started nothing is lost: who asks for the same again has it looked up."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lookups = Lookups(moment=0.2)
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        with pytest.raises(Unreachable, match="has not answered yet"):
            lookups.get("a.example", "name", lambda: "found", lambda: None)
    called = threading.Event()
    with pytest.raises(Unreachable, match="has not answered yet"):
        lookups.get("a.example", "name", lambda: called.wait(30) and "found", called.set)
    assert called.wait(30), "by the work that was asked for first"
    assert lookups.get("a.example", "name", lambda: "again", lambda: None) == "again"
