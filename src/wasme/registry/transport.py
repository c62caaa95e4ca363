"""HTTP/1.1 to registries: the one module that opens connections.

It stands on the standard library's client (``wire``) and adds what registries need: a pool, time-outs, proxies,
retries, and bodies that stream.

It follows no redirect, adds no credentials and looks into no body: that is ``session``'s.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from wasme import __version__
from wasme.errors import ContentMismatch, Unreachable, WasmeError
from wasme.image.content import Opener
from wasme.registry import guards
from wasme.registry.connecting import ConnectionLost, addresses, explain
from wasme.registry.origin import Origin, redact, target
from wasme.registry.proxies import proxy_for
from wasme.registry.retry import REFUSED_UNREAD, RETRYABLE, Policy
from wasme.registry.wire import Garbled, Tunnel, TunnelRefused, Wire

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
_IDLE_SECONDS = 20.0
_IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS"))


class ConnectionOptions(msgspec.Struct, frozen=True):
    """How a session connects.

    Attributes:
        insecure: accept any certificate.
        plain_http: no TLS to any registry.
        no_metadata, outside: not to link-local addresses, however they are spelled; nor to this machine.
        connect_timeout: seconds for one connection attempt, TLS included.
        read_timeout: seconds without a single byte, either way.
        commit_timeout: seconds a registry may take to check an uploaded blob.
        retry: how often and how patiently to ask again.
    """

    insecure: bool = False
    plain_http: bool = False
    outside: bool = False
    no_metadata: bool = False
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    commit_timeout: float = 600.0
    retry: Policy = Policy()


class Upload(msgspec.Struct, frozen=True):
    """A body that streams: ``size`` bytes from ``opener(offset)``."""

    opener: Opener
    offset: int
    size: int


class Request(msgspec.Struct, frozen=True):
    """One request.

    Attributes:
        method, url, headers, body: as HTTP has them; the URL is absolute.
        repeatable: sending it twice does no harm; None: what its method promises.
        timeout: seconds to wait for the answer; None: the session's.
        led_by: the other server that named the URL, if one did.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | Upload | None = None
    repeatable: bool | None = None
    timeout: float | None = None
    led_by: Origin | None = None

    @property
    def may_repeat(self) -> bool:
        """Whether a lost answer is a reason to send again."""
        if isinstance(self.body, Upload):
            return False
        return self.method in _IDEMPOTENT if self.repeatable is None else self.repeatable


class Response:
    """One answer, its body still to be read; the connection goes back to the pool when it has been.

    Attributes:
        request: what was asked.
        origin: who answered.
        status: the status code.
        length: the body's announced length in bytes, or None.
    """

    def __init__(self, transport: Transport, wire: Wire, request: Request, *, last: bool = False) -> None:
        self._answer = wire.read_head()
        self._wire: Wire | None = wire
        self._lasts = self._answer.lasts and not last
        self._transport = transport
        self._kept = b""
        self.request = request
        self.origin = Origin.of(request.url)
        self.status = self._answer.status
        self.length = self._answer.length

    def header(self, name: str) -> str | None:
        """A header's first value; None where there is none."""
        return next(iter(self.headers(name)), None)

    def headers(self, name: str) -> list[str]:
        """All of a header's values, in order."""
        found: list[str] = self._answer.headers.get_all(name, [])
        return found

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes, as soon as any are there; b"" at the end.

        Raises:
            ConnectionLost: the body was cut off, or stalled.
        """
        if self._kept:
            block, self._kept = self._kept[:size], self._kept[size:]
            return block
        if self._wire is None:
            return b""
        try:
            block = self._answer.read(size)
        except (OSError, Garbled) as error:
            self._wire.close()
            self._wire = None
            raise explain(error, self.origin) from error
        if self._answer.done:
            self.close()
        return block

    def read_all(self, limit: int) -> bytes:
        """The body, at most ``limit`` bytes and one more to tell that there is more."""
        parts: list[bytes] = []
        found = 0
        while found <= limit and (block := self.read(min(CHUNK, limit + 1 - found))):
            parts.append(block)
            found += len(block)
        return b"".join(parts)

    def peek(self, size: int) -> bytes:
        """The body's first ``size`` bytes, which `read` gives once more."""
        self._kept = self.read_all(size)
        return self._kept[:size]

    def drain(self) -> None:
        """Read a short rest so that the connection can be used again; a long one is not worth it."""
        with contextlib.suppress(WasmeError):
            self.read_all(CHUNK)
        self.close()

    def close(self) -> None:
        """Let go; a connection with an unread body is closed."""
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if self._lasts and self._answer.done:
            self._transport.put_back(self.origin, wire)
        else:
            wire.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class Transport:
    """A pool of connections; safe from threads."""

    def __init__(self, options: ConnectionOptions) -> None:
        self.options = options
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[tuple[float, Wire]]] = {}
        self._wires: weakref.WeakSet[Wire] = weakref.WeakSet()
        self._addresses: dict[Origin, str] = {}
        self._closed = threading.Event()
        self._tls: ssl.SSLContext | None = None

    def send(self, request: Request) -> Response:
        """Send, and send again where that is safe and may help.

        Raises:
            Unreachable: no connection, or none that lasted.
            NotARegistry: what answers does not speak HTTP.
        """
        attempt = 0
        while True:
            self._check_open()
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
            self.pause(wait)

    def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the transport's end."""
        self._closed.wait(seconds)

    def close(self) -> None:
        """Close all connections for good; threads that wait for an answer on one wait no longer."""
        self._closed.set()
        with self._lock:
            idle, self._idle = self._idle, {}
            busy = list(self._wires)
        for wires in idle.values():
            for _, wire in wires:
                wire.close()
        for wire in busy:
            wire.abort()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise Unreachable("the session has been closed")

    def __del__(self) -> None:
        # Who forgets a session loses no sockets; who ends the interpreter has lost the lock already.
        with contextlib.suppress(Exception):
            self.close()

    def put_back(self, origin: Origin, wire: Wire) -> None:
        """Keep a connection for the next request."""
        with self._lock:
            if self._closed.is_set():
                wire.close()
                return
            self._idle.setdefault(origin, []).append((time.monotonic(), wire))

    def _once(self, request: Request) -> Response:
        origin = Origin.of(request.url)
        begun = time.monotonic()
        while True:
            wire, used = self._take(origin)
            try:
                response = self._exchange(wire, request, origin)
            except (OSError, Garbled, TunnelRefused, ValueError) as error:
                wire.close()
                # The server closed an idle connection just as it was taken: nothing was carried out.
                if used and isinstance(error, ConnectionError) and request.may_repeat:
                    continue
                raise explain(error, origin) from error
            except BaseException:
                wire.close()
                raise
            fields = {
                "method": request.method,
                "url": redact(request.url),
                "status": response.status,
                "took": f"{(time.monotonic() - begun) * 1000:.0f}ms",
                **({"authorization": "(hidden)"} if "Authorization" in request.headers else {}),
            }
            log.debug("request", extra={"fields": fields})
            return response

    def _exchange(self, wire: Wire, request: Request, origin: Origin) -> Response:
        if wire.socket is None:
            if (self.options.outside or self.options.no_metadata) and proxy_for(origin) is None:
                for address in addresses(origin):
                    guards.check_outside(origin, address, self.options.outside)
            wire.connect()
            self._check_open()
        self._check_reach(wire, request, origin)
        sock = wire.socket
        assert sock is not None
        sock.settimeout(self.options.read_timeout)
        line = target(request.url)
        headers = {
            "Host": origin.netloc,
            "User-Agent": f"wasme/{__version__}",
            "Accept-Encoding": "identity",  # a compressed body would not be the bytes that its digest names
            **request.headers,
        }
        proxy = proxy_for(origin) if origin.scheme == "http" else None
        if proxy is not None:
            line = f"{origin}{line}"
            if proxy.authorization:
                headers["Proxy-Authorization"] = proxy.authorization
        body = request.body
        if isinstance(body, Upload):
            wire.send_head(request.method, line, {**headers, "Content-Length": str(body.size)})
            try:
                _stream(wire, body, watch=origin.scheme == "http")
            except ConnectionError:
                # A server that refuses early (401, 413) closes while we still send: its answer may be here already.
                sock.settimeout(min(2.0, self.options.read_timeout))
                return Response(self, wire, request, last=True)
        else:
            if body is not None or request.method in ("POST", "PUT", "PATCH"):
                headers["Content-Length"] = str(len(body or b""))
            wire.send_head(request.method, line, headers, body or b"")
        if request.timeout is not None:
            sock.settimeout(request.timeout)
        return Response(self, wire, request)

    def _check_reach(self, wire: Wire, request: Request, origin: Origin) -> None:
        """Before anything is sent: may whoever led here lead to this address?"""
        # Behind a proxy nobody here knows the address.
        address = origin.host if proxy_for(origin) else wire.address
        with self._lock:
            self._addresses[origin] = address
            source = self._addresses.get(request.led_by, "") if request.led_by else ""
        if self.options.outside or self.options.no_metadata:
            guards.check_outside(origin, address, self.options.outside)
        if request.led_by is not None and request.led_by != origin:
            guards.check_reach(origin, address, request.led_by, source)

    def _take(self, origin: Origin) -> tuple[Wire, bool]:
        """An idle connection that is still open, or a new one; and whether it has been used."""
        while True:
            with self._lock:
                idle = self._idle.get(origin)
                entry = idle.pop() if idle else None
            if entry is None:
                return self._wire(origin), False
            since, wire = entry
            if time.monotonic() - since < _IDLE_SECONDS and not wire.readable():
                return wire, True
            wire.close()

    def _wire(self, origin: Origin) -> Wire:
        """A connection not yet open, through the proxy that the environment names; `close` can end it."""
        proxy = proxy_for(origin)
        host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        timeout = self.options.connect_timeout
        if origin.scheme == "https":
            tunnel = Tunnel(origin.host, origin.port, proxy.authorization) if proxy else None
            wire = Wire(host, port, timeout, tls=self._context(), tunnel=tunnel)
        else:
            wire = Wire(host, port, timeout)
        with self._lock:
            self._wires.add(wire)
        return wire

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


def _stream(wire: Wire, body: Upload, *, watch: bool) -> None:
    """Send a body block by block; stop where the server has answered already.

    Args:
        wire: the request's head has been sent on it.
        body: what to send.
        watch: look for an early answer; not on TLS, whose own messages make a socket readable.
    """
    left = body.size
    with body.opener(body.offset) as source:
        while left:
            block = source.read(min(CHUNK, left))
            if not block:
                raise ContentMismatch(f"the content ends {left} bytes before the size its descriptor names")
            wire.send(block)
            left -= len(block)
            if left and watch and wire.answered():
                raise ConnectionResetError("answered before the end of the body")
