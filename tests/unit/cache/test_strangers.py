"""What strangers, who ask for images by name, cannot make an agent do."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wasme.cache.doors import Doors
from wasme.cache.folder import Folder
from wasme.cache.metrics import Counters
from wasme.cache.pulling import Puller
from wasme.errors import RegistryError, UnsafeAnswer
from wasme.image.reference import Reference
from wasme.registry.transport import ConnectionOptions


class Inside(http.server.ThreadingHTTPServer):
    """A server on this machine that counts connections."""

    daemon_threads = True
    connections = 0

    def get_request(self) -> Any:
        self.connections += 1
        return super().get_request()


@pytest.fixture
def inside() -> Iterator[Inside]:
    with Inside(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def puller(tmp_path: Path) -> Puller:
    folder = Folder(tmp_path)
    folder.prepare()
    return Puller(folder, Doors(ConnectionOptions(plain_http=True)), Counters())


SPELLINGS = [
    "localhost", "LOCALHOST", "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0", "0.0.0.0", "[::1]",
    "[0:0:0:0:0:0:0:1]", "[::ffff:7f00:1]", "[::]", "inside.example.com",
]  # fmt: skip


@pytest.mark.parametrize("anonymous", [True, False])
@pytest.mark.parametrize("host", SPELLINGS)
def test_this_machine_under_any_name(
    monkeypatch: pytest.MonkeyPatch, inside: Inside, puller: Puller, host: str, anonymous: bool
) -> None:
    """However this machine is spelled, strangers do not have it asked: no connection is even opened."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda name, *rest, **more: look_up("127.0.0.1" if name == "inside.example.com" else name, *rest, **more),
    )  # fmt: skip
    reference = Reference.parse(f"{host}:{inside.server_port}/demo/auth:v1")
    with pytest.raises(RegistryError) as told:
        puller.pull(reference, {}.get, anonymous=anonymous, outside=True)
    assert isinstance(told.value, UnsafeAnswer), told.value
    assert "own network" in told.value.message
    assert inside.connections == 0


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254"])
def test_metadata(monkeypatch: pytest.MonkeyPatch, puller: Puller, address: str) -> None:
    """A name that stands for a cloud's metadata is not asked."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", (address, 80))])
    with pytest.raises(UnsafeAnswer, match="own network"):
        puller.pull(Reference.parse("metadata.example.com/demo/auth:v1"), {}.get, anonymous=True, outside=True)


def test_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch, inside: Inside, puller: Puller) -> None:
    """A name that stands for the Internet when it is looked up, and for this machine when it is connected, is sent
    nothing.
    """
    answers = ["203.0.113.1"]
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo",
        lambda _, *rest, **more: look_up(answers.pop() if answers else "127.0.0.1", *rest, **more),
    )  # fmt: skip
    heard: list[bytes] = []
    monkeypatch.setattr(
        http.server.BaseHTTPRequestHandler, "handle", lambda handler: heard.append(handler.rfile.readline())
    )
    with pytest.raises(UnsafeAnswer, match="own network"):
        puller.pull(
            Reference.parse(f"x.example.com:{inside.server_port}/demo/auth:v1"), {}.get, anonymous=True, outside=True
        )
    assert not any(heard)


def test_whoever_is_here_may(inside: Inside, puller: Puller) -> None:
    """Who asks from this machine may have it asked."""
    with pytest.raises(RegistryError) as told:
        puller.pull(Reference.parse(f"localhost:{inside.server_port}/demo/auth:v1"), {}.get, anonymous=True)
    assert not isinstance(told.value, UnsafeAnswer)
    assert inside.connections
