"""HTTP over a forwarded port, and the websocket below it: answers that are wrong, cut, endless or late."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.cluster.answers import Asking
from wasme.deploy.cluster.forward import Forwarded
from wasme.deploy.probe import admin
from wasme.deploy.probe.admin import Admin
from wasme.errors import ClusterError, ClusterUnreachable


class Pipe:
    """What a proxy sends, piece by piece."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent = b""
        self.closed = False

    def send(self, data: bytes) -> None:
        self.sent += data

    def receive(self, most: int = 65536) -> bytes:
        if not self.pieces:
            return b""
        first = self.pieces.pop(0)
        if len(first) > most:
            self.pieces.insert(0, first[most:])
        return first[:most]

    # As the stream below a websocket.

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.receive(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sent += buffer

    def close(self) -> None:
        self.closed = True


def frame(payload: bytes, *, opcode: int = 2, final: bool = True) -> bytes:
    """A websocket frame as a server sends it: not masked."""
    head = bytes([(0x80 if final else 0) | opcode])
    size = len(payload)
    return head + (bytes([size]) if size < 126 else bytes([126]) + struct.pack(">H", size)) + payload


def forwarded(*pieces: bytes, seconds: float = 5) -> tuple[Forwarded, Pipe]:
    pipe = Pipe(*pieces)
    return Forwarded(pipe, Asking("forward a port of", "Pod n/p", "https://server"), time.monotonic() + seconds), pipe


PORTS = frame(b"\x00\x98\x3a") + frame(b"\x01\x98\x3a")


def test_two_answers_on_one_connection() -> None:
    """Questions share a connection; what is read beyond one answer belongs to the next."""
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
    pipe = Pipe(chunked + b"HTTP/1.1 404 No", b"t Found\r\ncontent-length: 2\r\n\r\nno")
    asked = Admin(pipe, "the proxy of p")
    assert (asked.get("/stats", filter="^wasm.|x", usedonly="").body, asked.get("/b").status) == (b"one", 404)
    assert pipe.sent.startswith(b"GET /stats?filter=^wasm.|x&usedonly HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
)  # fmt: skip
def test_no_http(answer: bytes) -> None:
    """What answers and is no HTTP server, or stops half-way, is one line that names the pod."""
    with pytest.raises(ClusterError, match=r"^the proxy of p does not answer as Envoy's administration does: [^\n]+$"):
        Admin(Pipe(answer), "the proxy of p").get("/stats")


def test_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not end is cut at the limit."""
    monkeypatch.setattr(admin, "LARGEST", 1000)
    pipe = Pipe(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 2000)
    with pytest.raises(ClusterError, match="with more than"):
        Admin(pipe, "the proxy of p").get("/config_dump")


def test_channels() -> None:
    """Data comes on channel 0, whole or in pieces, after the port's two bytes; a ping is answered."""
    connection, pipe = forwarded(
        PORTS + frame(b"\x00he", final=False), frame(b"llo", opcode=0), frame(b"?", opcode=9), frame(b"\x00!"),
        frame(b"\x02other channel"), frame(struct.pack(">H", 1000), opcode=8),
    )  # fmt: skip
    received = b"".join(iter(lambda: connection.receive(3), b""))
    assert received == b"hello!"
    assert pipe.sent, "the pong"
    connection.close()
    assert pipe.closed


def test_the_nodes_error() -> None:
    """What the kubelet says on channel 1 is the error, in one line."""
    connection, _ = forwarded(PORTS, frame(b"\x01error forwarding port 15000:\n connection refused"))
    with pytest.raises(
        ClusterError, match="forward a port of Pod n/p: the node says: error forwarding port 15000: conn"
    ):
        connection.receive()


def test_too_late() -> None:
    """Nothing is waited for beyond the time."""
    connection, _ = forwarded(PORTS, seconds=-1)
    with pytest.raises(ClusterUnreachable, match="no answer in time"):
        connection.receive()


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_whatever_comes(pieces: list[bytes]) -> None:
    """Any bytes in place of the websocket end as data, the end, or one error of the tree."""
    told = ""
    connection, _ = forwarded(PORTS, *(piece for piece in pieces if piece))
    try:
        while connection.receive():
            pass
    except ClusterError as error:
        told = error.message
    assert "\n" not in told
    connection.close()
