"""HTTP/1.1 byte by byte, over a real pair of sockets."""

from __future__ import annotations

import contextlib
import io
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.registry.wire import Answer, Garbled, NoAnswer, Wire

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"


def answer(content: bytes, method: str = "GET") -> tuple[Answer, Wire]:
    """What a Wire makes of these bytes, with the connection closed after them."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        with theirs:
            try:
                theirs.recv(65536)
                theirs.sendall(content)
            except OSError:
                return

    sender = threading.Thread(target=send)
    sender.start()
    wire = Wire("x", 1, 1)
    wire._connection.sock = ours
    try:
        wire.send_head(method, "/", {})
        found = wire.read_head()
    except BaseException:
        wire.close()
        raise
    finally:
        if len(content) < 10_000:
            sender.join()
    return found, wire


def whole(content: bytes, method: str = "GET") -> tuple[int, bytes, bool]:
    found, wire = answer(content, method)
    try:
        return found.status, b"".join(iter(lambda: found.read(7), b"")), found.lasts
    finally:
        wire.close()


@pytest.mark.parametrize(
    ("content", "method", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", (200, b"hello", True)),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", (200, b"", True)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", (200, b"hello", False)),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\nConnection: Close\n\nhello", "GET", (200, b"hello", False)),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "GET", (200, b"until the end", False)),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n", "PUT", (204, b"", True)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", (200, b"", True)),
        (CHUNKED + b"5;x=y\r\nhello\r\n0\r\nT: x\r\n\r\n", "GET", (200, b"hello", True)),
    ],
)  # fmt: skip
def test_answers(content: bytes, method: str, expected: tuple[int, bytes, bool]) -> None:
    """Lengths, chunks, closings, interim answers."""
    assert whole(content, method) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000,
        b"\x15\x03\x01\x00\x02\x02\x50\n",
    ],
)
def test_what_is_no_answer(content: bytes) -> None:
    """Ambiguous lengths above all: they are how requests are smuggled."""
    with pytest.raises(Garbled):
        whole(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_a_cut_is_noticed(content: bytes) -> None:
    """What was cut off never passes for whole."""
    with pytest.raises(NoAnswer):
        whole(content)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(content: bytes) -> None:
    """Any bytes are an answer, no answer, or a cut; nothing else is raised."""
    for head in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        with contextlib.suppress(Garbled, NoAnswer):
            whole(head + content)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6))
def test_chunks_come_back_whole(chunks: list[bytes]) -> None:
    """However a body is cut into chunks, it is the same body."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    content = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"
    assert whole(content) == (200, b"".join(chunks), True)


def test_headers_are_found_in_any_case() -> None:
    """First value, all values, none."""
    found, wire = answer(b"HTTP/1.1 200 OK\r\nA: 1\r\na:  2 \r\nB: x\r\nContent-Length: 0\r\n\r\n")
    wire.close()
    assert [value.strip() for value in found.headers.get_all("A", [])] == ["1", "2"]
    assert found.headers.get("b") == "x"
    assert found.headers.get("c") is None


@pytest.mark.parametrize(
    ("target", "headers"), [("/a b", {}), ("/a\r\nX: y", {}), ("/", {"A": "b\r\nC: d"}), ("/", {"A\n": "b"})]
)
def test_nothing_can_be_put_into_a_head(target: str, headers: dict[str, str]) -> None:
    """A line break or a blank where none belongs is refused before anything is sent."""
    wire = Wire("x", 1, 1)
    with pytest.raises(ValueError, match=r"line break|Invalid header"):
        wire.send_head("GET", target, headers)


def test_what_arrived_before_a_reset_is_kept() -> None:
    """A read gives what is there at once; a reset afterwards loses none of it."""
    content = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
    found, wire = answer(content)
    got = io.BytesIO()

    def read() -> None:
        while block := found.read(65536):
            got.write(block)

    with pytest.raises(NoAnswer):
        read()
    wire.close()
    assert len(got.getvalue()) == 1000
