"""One connection to a server: the standard library's ``http.client``, and what a registry client must add to it.

* A body that is cut off is an error, and what had arrived before is kept: a download goes on from there.
* An answer with two lengths, with a length and chunks, or with lines that are no headers, is no answer: two parsers
  could read it in two ways.
* What is wrong is told apart: no answer, no HTTP, a proxy that refuses.

urllib3 would bring a pool and retries with it, and costs a command 37 ms to import; this costs 12, and the pool that
``transport`` keeps is a dictionary.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import select
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from email.message import Message

_BUFFER = 64 * 1024
_LENGTH = re.compile(r"[0-9]{1,18}")
_MOST_INTERIM = 20
_TUNNEL_FAILED = "Tunnel connection failed: "


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


class Tunnel:
    """The way through a proxy to a server that speaks TLS (RFC 9110 section 9.3.6)."""

    def __init__(self, host: str, port: int, authorization: str | None) -> None:
        self.host = host
        self.port = port
        self.headers = {"Proxy-Authorization": authorization} if authorization else {}


class _WholeLines(io.BufferedReader):
    """A head that is cut off is no head: ``http.client`` would take what it has for all of it."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line:
            raise NoAnswer("closed in the middle of an answer's head")
        return line


class _Response(http.client.HTTPResponse):
    """The library's response, reading whole lines."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.fp = _WholeLines(self.fp.detach(), _BUFFER)
        self._interim = 0

    def _read_status(self) -> tuple[str, int, str]:
        """The library passes over 100 alone; 102 and 103 are no final answers either (RFC 9110 section 15.2)."""
        version, status, reason = super()._read_status()  # type: ignore[misc]
        if status // 100 == 1 and status != http.client.SWITCHING_PROTOCOLS:
            self._interim += 1
            if self._interim > _MOST_INTERIM:
                raise http.client.BadStatusLine("interim answers without end")
            status = http.client.CONTINUE
        return version, status, reason


class Answer:
    """One answer: its head, and its body as it comes.

    Attributes:
        status: the status code.
        headers: all of them.
        length: the body's length in bytes, or None where it is not announced.
        done: whether the body has been read to its end.
        lasts: whether the connection can carry another request afterwards.
    """

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self._answer = answer
        self.status = answer.status
        self.headers: Message = answer.headers
        lengths = set(answer.headers.get_all("Content-Length", []))
        codings = [each.lower() for each in answer.headers.get_all("Transfer-Encoding", [])]
        if answer.headers.defects or len(lengths) + len(codings) > 1 or codings not in ([], ["chunked"]):
            raise Garbled
        if not all(_LENGTH.fullmatch(each) for each in lengths):
            raise Garbled
        self.length = answer.length
        self.lasts = not answer.will_close
        self.done = False
        if answer.length == 0:
            self._end()

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, as soon as any are there; b"" at the end.

        Raises:
            NoAnswer: the connection was closed before the end.
        """
        if self.done:
            return b""
        try:
            block = self._answer.read1(size)
        except http.client.HTTPException as error:
            raise NoAnswer("a chunk was cut off") from error
        if not block and self._answer.length:
            raise NoAnswer(f"{self._answer.length} bytes were still to come")
        if not block or self._answer.length == 0:
            self._end()
        return block

    def _end(self) -> None:
        self.done = True
        self._answer.close()


class Wire:
    """A connection to a server, perhaps through a proxy.

    Args:
        host: where to connect: the server, or the proxy.
        port: see ``host``.
        timeout: seconds for each step of connecting.
        tls: how to speak TLS to the server; None for plain http.
        tunnel: the server beyond the proxy; None without a proxy, and for plain http through one.

    Attributes:
        address: the IP address that it is, or was last, connected to; "" before.
    """

    def __init__(
        self, host: str, port: int, timeout: float, *, tls: ssl.SSLContext | None = None, tunnel: Tunnel | None = None
    ) -> None:
        if tls is None:
            self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
        else:
            self._connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
        self._connection.response_class = _Response
        self._answer: http.client.HTTPResponse | None = None
        self.address = ""
        if tunnel is not None:
            self._connection.set_tunnel(tunnel.host, tunnel.port, tunnel.headers)

    @property
    def socket(self) -> socket.socket | None:
        """The open socket, or None."""
        found: socket.socket | None = self._connection.sock
        return found

    def connect(self) -> None:
        """Open it; OSError where that fails.

        Raises:
            TunnelRefused: the proxy refuses.
        """
        try:
            self._connection.connect()
            self.address = str(self._connection.sock.getpeername()[0])
        except http.client.HTTPException as error:
            raise TunnelRefused("it does not speak HTTP") from error
        except OSError as error:
            text = str(error)
            if text.startswith(_TUNNEL_FAILED):
                raise TunnelRefused(text.removeprefix(_TUNNEL_FAILED)) from error
            raise

    def send_head(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request's head, and a short body with it.

        Raises:
            ValueError: something in it would break the line.
        """
        try:
            self._connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        except http.client.InvalidURL as error:
            raise ValueError("a line break in a request's head") from error
        for name, value in headers.items():
            self._connection.putheader(name, value)
        self._connection.endheaders(body or None)

    def send(self, block: bytes) -> None:
        """Send bytes of a body."""
        self._connection.send(block)

    def read_head(self) -> Answer:
        """The answer to what was sent.

        Raises:
            NoAnswer: the server closed the connection.
            Garbled: what came is not HTTP.
        """
        try:
            self._answer = self._connection.getresponse()
            return Answer(self._answer)
        except http.client.BadStatusLine as error:
            raise Garbled(str(error).encode("latin-1", "replace")) from error
        except http.client.HTTPException as error:
            raise Garbled from error

    def answered(self) -> bool:
        """Whether a final answer (or the connection's end) is here already, without waiting; not for TLS, whose own
        messages make a socket readable.
        """
        if not self.readable():
            return False
        try:
            beginning = self._connection.sock.recv(12, socket.MSG_PEEK)
        except OSError:
            return True
        return not re.fullmatch(rb"HTTP/1\.[01] 1\d\d", beginning)

    def readable(self) -> bool:
        """Whether something waits to be read; on an idle connection that is its end."""
        if self.socket is None:
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | select.POLLERR | select.POLLHUP)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """End whatever another thread waits for on this connection; that thread closes it."""
        if (sock := self.socket) is not None:
            with contextlib.suppress(OSError):
                # The plain socket's: TLS's own would take its state from under the thread that reads.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it, and the answer that may still hold its socket."""
        if self._answer is not None:
            self._answer.close()
        self._connection.close()
