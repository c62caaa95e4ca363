"""One HTTP/1.1 connection (RFC 9112): requests out, answers in, nothing more.

Why not the standard library's ``http.client``: it loads the email package, TLS and a dozen modules more before the
first byte moves, 17 ms of a command that takes 80, and its reads lose what had arrived when a connection is reset,
which is just what a download wants to keep. What is here is stricter, too: an answer with two lengths, or with a
length and chunks, is no answer.
"""

from __future__ import annotations

import io
import re
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

_LONGEST_LINE = 64 * 1024
_MOST_HEADERS = 200
_BUFFER = 64 * 1024


class Garbled(Exception):
    """What came is not HTTP; ``beginning`` are its first bytes."""

    def __init__(self, beginning: bytes = b"") -> None:
        super().__init__("not HTTP")
        self.beginning = beginning


class TunnelRefused(Exception):
    """The proxy did not connect; ``status`` is what it said."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class NoAnswer(ConnectionError):
    """The connection was closed before, or in the middle of, an answer."""


class Headers:
    """The headers of one answer, found by name in any case."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def get(self, name: str) -> str | None:
        """The first value."""
        return next(iter(self.get_all(name)), None)

    def get_all(self, name: str) -> list[str]:
        """Every value, in order."""
        wanted = name.lower()
        return [value for each, value in self._pairs if each == wanted]


class Body(Protocol):
    """What is left of an answer."""

    length: int | None
    done: bool

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, as soon as any are there; b"" at the end."""
        ...


class _Sized:
    """A body of a known length."""

    def __init__(self, stream: io.BufferedReader, length: int) -> None:
        self._stream = stream
        self._left = length
        self.length: int | None = length
        self.done = length == 0

    def read(self, size: int) -> bytes:
        if self.done:
            return b""
        block = self._stream.read1(min(size, self._left))
        if not block:
            raise NoAnswer(f"{self._left} bytes were still to come")
        self._left -= len(block)
        self.done = self._left == 0
        return block


class _Chunked:
    """A body in chunks (RFC 9112 section 7.1)."""

    length: int | None = None

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._left = 0
        self._first = True
        self.done = False

    def read(self, size: int) -> bytes:
        if self.done:
            return b""
        if self._left == 0 and not self._next():
            return b""
        block = self._stream.read1(min(size, self._left))
        if not block:
            raise NoAnswer("a chunk was cut off")
        self._left -= len(block)
        return block

    def _next(self) -> bool:
        if not self._first and _line(self._stream).strip():
            raise Garbled
        self._first = False
        digits = _line(self._stream).partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", digits):
            raise Garbled(digits)
        self._left = int(digits, 16)
        if self._left == 0:
            _fields(self._stream)
            self.done = True
        return not self.done


class _UntilClose:
    """A body that ends with the connection."""

    length: int | None = None

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self.done = False

    def read(self, size: int) -> bytes:
        block = b"" if self.done else self._stream.read1(size)
        self.done = not block
        return block


class Wire:
    """A connection to a server, perhaps through a proxy's tunnel.

    Args:
        host: where to connect.
        port: see ``host``.
        timeout: seconds for each step of connecting.
    """

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._address = (host, port)
        self._timeout = timeout
        self._stream: io.BufferedReader | None = None
        self.socket: socket.socket | None = None

    def connect(self) -> None:
        """Open it; OSError where that fails."""
        self.socket = socket.create_connection(self._address, self._timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open_stream()

    def tunnel(self, host: str, port: int, authorization: str | None) -> None:
        """Ask the proxy for a way through (RFC 9110 section 9.3.6).

        Raises:
            TunnelRefused: it refuses.
        """
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = {"Host": where, **({"Proxy-Authorization": authorization} if authorization else {})}
        self.send_head("CONNECT", where, headers)
        status, reason, _, _, _ = self.read_head("CONNECT")
        if status != 200:
            raise TunnelRefused(f"{status} {reason}".strip())

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on."""
        assert self.socket is not None
        # The context checks the certificate's name without its trailing dot or brackets.
        self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self._open_stream()

    def send_head(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> None:
        """Send a request's head, and a short body with it in one packet.

        Raises:
            ValueError: something in it would break the line.
        """
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if any("\r" in line or "\n" in line or "\0" in line for line in lines) or " " in target:
            raise ValueError("a line break in a request's head")
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def send(self, block: bytes) -> None:
        """Send bytes of a body."""
        assert self.socket is not None
        self.socket.sendall(block)

    def read_head(self, method: str) -> tuple[int, str, Headers, Body, bool]:
        """The next answer's status, reason, headers, body, and whether the connection lasts beyond it.

        Raises:
            NoAnswer: the server closed the connection.
            Garbled: what came is not HTTP.
        """
        assert self._stream is not None
        while True:
            line = self._stream.readline(_LONGEST_LINE)
            if not line:
                raise NoAnswer("closed without an answer")
            found = re.fullmatch(rb"HTTP/1\.([01]) (\d{3})(?: ([^\r\n]*))?\r?\n", line)
            if not found:
                raise Garbled(line[:64])
            headers = _fields(self._stream)
            status = int(found[2])
            if status >= 200:
                break
        body = self._body(method, status, headers)
        connection = " ".join(headers.get_all("Connection")).lower()
        lasts = "close" not in connection and (found[1] == b"1" or "keep-alive" in connection)
        return status, (found[3] or b"").decode("latin-1"), headers, body, lasts and not isinstance(body, _UntilClose)

    def close(self) -> None:
        """Close it."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def _body(self, method: str, status: int, headers: Headers) -> Body:
        assert self._stream is not None
        if method == "HEAD" or status in (204, 304) or (method == "CONNECT" and status == 200):
            return _Sized(self._stream, 0)
        coding = ",".join(headers.get_all("Transfer-Encoding")).strip().lower()
        lengths = {value.strip() for value in headers.get_all("Content-Length")}
        if coding:
            if coding != "chunked" or lengths:
                raise Garbled
            return _Chunked(self._stream)
        if not lengths:
            return _UntilClose(self._stream)
        length = lengths.pop()
        if lengths or not re.fullmatch(r"[0-9]{1,18}", length):
            raise Garbled
        return _Sized(self._stream, int(length))

    def _open_stream(self) -> None:
        assert self.socket is not None
        self._stream = io.BufferedReader(socket.SocketIO(self.socket, "r"), _BUFFER)


def _line(stream: io.BufferedReader) -> bytes:
    line = stream.readline(_LONGEST_LINE)
    if not line:
        raise NoAnswer("cut off")
    if not line.endswith(b"\n"):
        raise Garbled(line[:64])
    return line


def _fields(stream: io.BufferedReader) -> Headers:
    """Header lines up to the empty one; a folded line is put to the one before it."""
    pairs: list[tuple[str, str]] = []
    for _ in range(_MOST_HEADERS):
        line = _line(stream).rstrip(b"\r\n").decode("latin-1")
        if not line:
            return Headers(pairs)
        if line[0] in " \t" and pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise Garbled(line[:64].encode("latin-1"))
        pairs.append((name, value.strip(" \t")))
    raise Garbled
