"""HTTP/1.1 to registries: the one module that opens connections.

It stands on the standard library's ``http.client`` and not on a larger client, because a command is short: importing
urllib3 alone costs 45 ms, more than a whole push of a small filter. What a larger client would bring is here, as far
as registries need it: a pool, time-outs, proxies, retries, and bodies that stream.

It follows no redirect, adds no credentials and looks into no body: that is ``session``'s.
"""

from __future__ import annotations

import contextlib
import http.client
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from wasme import __version__
from wasme.errors import ContentMismatch, WasmeError
from wasme.image.content import Opener
from wasme.registry.connecting import ConnectionLost, explain
from wasme.registry.origin import Origin, redact, target
from wasme.registry.proxies import Proxy, proxy_for
from wasme.registry.retry import REFUSED_UNREAD, RETRYABLE, Policy

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

CHUNK = 256 * 1024
_IDLE_SECONDS = 20.0
_IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How a session connects.

    Attributes:
        insecure: accept any certificate.
        plain_http: no TLS to any registry.
        connect_timeout: seconds for one connection attempt, TLS included.
        read_timeout: seconds without a single byte, either way.
        commit_timeout: seconds a registry may take to check an uploaded blob.
        retry: how often and how patiently to ask again.
    """

    insecure: bool = False
    plain_http: bool = False
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    commit_timeout: float = 600.0
    retry: Policy = field(default_factory=Policy)


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that streams: ``size`` bytes from ``opener(offset)``, told to ``sent`` as they go."""

    opener: Opener
    offset: int
    size: int
    sent: Callable[[int], None] | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``repeatable`` says that sending it twice does no harm (None: what its method promises)."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Upload | None = None
    repeatable: bool | None = None
    timeout: float | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether a lost answer is a reason to send again."""
        if isinstance(self.body, Upload):
            return False
        return self.method in _IDEMPOTENT if self.repeatable is None else self.repeatable


class Response:
    """One answer, its body still to be read; the connection goes back to the pool when it has been."""

    def __init__(
        self, transport: Transport, connection: http.client.HTTPConnection, request: Request, *, last: bool = False
    ) -> None:
        self._raw = connection.getresponse()
        self._last = last or self._raw.will_close
        self._transport = transport
        self._connection: http.client.HTTPConnection | None = connection
        self.request = request
        self.origin = Origin.of(request.url)
        self.status = self._raw.status
        self.headers = self._raw.headers
        self.length = None if request.method == "HEAD" else self._raw.length
        self._left = self.length

    def header(self, name: str) -> str | None:
        """A header's value, trimmed; None where there is none."""
        value = self.headers.get(name)
        return value.strip() if value is not None else None

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes; b"" at the end.

        Raises:
            ConnectionLost: the body was cut off, or stalled.
        """
        if self._connection is None:
            return b""
        try:
            block = self._raw.read(size)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise explain(error, self.origin) from error
        if self._left is not None:
            self._left -= len(block)
            if not block and self._left > 0:
                self.close()
                raise ConnectionLost(f"{self.origin.netloc} closed the connection with {self._left} bytes to come")
        if not block or self._raw.isclosed():
            self._release()
        return block

    def read_all(self, limit: int) -> bytes:
        """The body, at most ``limit`` bytes and one more to tell that there is more."""
        parts: list[bytes] = []
        found = 0
        while found <= limit and (block := self.read(min(CHUNK, limit + 1 - found))):
            parts.append(block)
            found += len(block)
        return b"".join(parts)

    def drain(self) -> None:
        """Read a short rest so that the connection can be used again; a long one is not worth it."""
        with contextlib.suppress(WasmeError):
            self.read_all(CHUNK)
        self.close()

    def close(self) -> None:
        """Let go; a connection with an unread body is closed."""
        if self._connection is not None and not (self._raw.isclosed() or self._raw.length == 0):
            connection, self._connection = self._connection, None
            self._raw.close()
            connection.close()
        else:
            self._release()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._raw.close()
        if self._last:
            connection.close()
        else:
            self._transport.put_back(self.origin, connection)

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Transport:
    """A pool of connections; safe from threads."""

    def __init__(self, options: ConnectionOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[tuple[float, http.client.HTTPConnection]]] = {}
        self._tls: ssl.SSLContext | None = None

    def send(self, request: Request) -> Response:
        """Send, and send again where that is safe and may help.

        Raises:
            Unreachable: no connection, or none that lasted.
            NotARegistry: what answers does not speak HTTP.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._once(request)
            except ConnectionLost as error:
                # A stall has already cost a whole time-out: one more try, not four.
                tries = 2 if error.stalled else self.options.retry.attempts
                wait = self.options.retry.wait(attempt, None) if request.may_repeat and attempt < tries else None
                if wait is None:
                    raise
                reason = error.message
            else:
                if response.status not in RETRYABLE or isinstance(request.body, Upload):
                    return response
                if not request.may_repeat and response.status not in REFUSED_UNREAD:
                    return response
                wait = self.options.retry.wait(attempt, response.header("Retry-After"))
                if wait is None:
                    return response
                response.drain()
                reason = f"{response.origin.netloc} answered {response.status}"
            log.debug("asking again", extra={"fields": {"reason": reason, "wait": f"{wait:.2f}s", "attempt": attempt}})
            time.sleep(wait)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for _, connection in connections:
                connection.close()

    def put_back(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        """Keep a connection for the next request."""
        if connection.sock is not None:
            with self._lock:
                self._idle.setdefault(origin, []).append((time.monotonic(), connection))

    def _once(self, request: Request) -> Response:
        origin = Origin.of(request.url)
        begun = time.monotonic()
        while True:
            connection, used = self._take(origin)
            try:
                response = self._exchange(connection, request, origin)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                # The server closed an idle connection just as it was taken: nothing was carried out.
                if used and isinstance(error, ConnectionError) and request.may_repeat:
                    continue
                raise explain(error, origin) from error
            except BaseException:
                connection.close()
                raise
            log.debug(
                "request",
                extra={
                    "fields": {
                        "method": request.method,
                        "url": redact(request.url),
                        "status": response.status,
                        "took": f"{(time.monotonic() - begun) * 1000:.0f}ms",
                        **({"authorization": "(hidden)"} if "Authorization" in request.headers else {}),
                    }
                },
            )
            return response

    def _exchange(self, connection: http.client.HTTPConnection, request: Request, origin: Origin) -> Response:
        if connection.sock is None:
            connection.connect()
        sock = connection.sock
        sock.settimeout(self.options.read_timeout)
        proxy: Proxy | None = connection.__dict__.get("wasme_proxy")
        absolute = proxy is not None and origin.scheme == "http"
        line = f"{origin}{target(request.url)}" if absolute else target(request.url)
        connection.putrequest(request.method, line, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", origin.netloc)
        # A compressed body would not be the bytes that its digest names.
        connection.putheader("Accept-Encoding", "identity")
        connection.putheader("User-Agent", f"wasme/{__version__}")
        if absolute and proxy is not None and proxy.authorization:
            connection.putheader("Proxy-Authorization", proxy.authorization)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        body = request.body
        if isinstance(body, Upload):
            connection.putheader("Content-Length", str(body.size))
            connection.endheaders()
            try:
                _stream(connection, body, watch=origin.scheme == "http")
            except ConnectionError:
                # A server that refuses early (401, 413) closes while we still send: its answer may be here already.
                sock.settimeout(min(2.0, self.options.read_timeout))
                return Response(self, connection, request, last=True)
        else:
            if body is not None or request.method in ("POST", "PUT", "PATCH"):
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body or None)
        if request.timeout is not None:
            sock.settimeout(request.timeout)
        return Response(self, connection, request)

    def _take(self, origin: Origin) -> tuple[http.client.HTTPConnection, bool]:
        """An idle connection that is still open, or a new one; and whether it has been used."""
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                entry = idle.pop() if idle else None
            if entry is None:
                return self._new(origin), False
            since, connection = entry
            if time.monotonic() - since < _IDLE_SECONDS and not _readable(connection.sock):
                return connection, True
            connection.close()

    def _new(self, origin: Origin) -> http.client.HTTPConnection:
        proxy = proxy_for(origin)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        timeout = self.options.connect_timeout
        connection: http.client.HTTPConnection
        if origin.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context())
            if proxy:
                headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
                connection.set_tunnel(origin.host, origin.port, headers=headers)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.__dict__["wasme_proxy"] = proxy
        return connection

    def _context(self) -> ssl.SSLContext:
        """TLS by the system's own store (and SSL_CERT_FILE); made only where https is spoken: loading it costs."""
        with self._lock:
            if self._tls is None:
                import ssl

                context = ssl.create_default_context()
                if self.options.insecure:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                self._tls = context
            return self._tls


def _stream(connection: http.client.HTTPConnection, body: Upload, *, watch: bool) -> None:
    """Send a body block by block; stop where the server has answered already.

    Args:
        connection: its headers have been sent.
        body: what to send.
        watch: look for an early answer; not on TLS, whose own messages make a socket readable.
    """
    left = body.size
    with body.opener(body.offset) as source:
        while left:
            block = source.read(min(CHUNK, left))
            if not block:
                raise ContentMismatch(f"the content ends {left} bytes before the size its descriptor names")
            connection.send(block)
            left -= len(block)
            if body.sent is not None:
                body.sent(len(block))
            if left and watch and _readable(connection.sock):
                raise ConnectionResetError("answered before the end of the body")


def _readable(sock: socket.socket | None) -> bool:
    """Whether something waits to be read; on an idle connection that is its end."""
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLERR | select.POLLHUP)
    return bool(poll.poll(0))
