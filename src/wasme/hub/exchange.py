"""One request and its response, over RSGI (granian's interface to Python)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from wasme.hub.refusal import Refusal
from wasme.hub.settings import DRAIN, SLOWEST, STALL, Network, parse_address

if TYPE_CHECKING:
    from granian._granian import RSGIHTTPProtocol as HTTPProtocol
    from granian.rsgi import Scope

Headers = list[tuple[str, str]]

_MAX_PARAMETERS = 200
_LONGEST_ADDRESS = 64
_DRAINED = 8 * 1024 * 1024


class Request:
    """What a client asks.

    Args:
        scope: RSGI's description; the path has been percent-decoded once.
        protocol: RSGI's connection, for the body.
        proxies: peers whose ``X-Forwarded-For`` is believed.
    """

    def __init__(self, scope: Scope, protocol: HTTPProtocol, proxies: Sequence[Network] = ()) -> None:
        self._scope = scope
        self._protocol = protocol
        self._proxies = proxies
        self.method: str = scope.method
        self.path: str = scope.path
        self.received = 0
        self._body: AsyncIterator[bytes] | None = None
        self._ended = False

    def header(self, name: str) -> str | None:
        """A header by its lower-case name; None where it is missing or not text."""
        try:
            value: str | None = self._scope.headers.get(name)
        except (UnicodeDecodeError, ValueError):
            return None
        return value

    @property
    def host(self) -> str | None:
        """The ``Host`` header, or HTTP/2's authority."""
        return self.header("host") or self._scope.authority

    @cached_property
    def address(self) -> str:
        """The client's address, seen through the proxies that are believed."""
        address = _plain(self._scope.client)
        if self._proxies and self._is_proxy(address):
            for hop in reversed((self.header("x-forwarded-for") or "").split(",")):
                if parse_address(_plain(hop)) is None:  # the nearest proxy told nothing that can be used
                    break
                address = _plain(hop)
                if not self._is_proxy(address):
                    break
        return address

    @property
    def is_forwarded(self) -> bool:
        """Whether it came through a proxy that is believed."""
        return bool(self._proxies) and self._is_proxy(_plain(self._scope.client))

    def _is_proxy(self, text: str) -> bool:
        address = parse_address(text)
        return address is not None and any(address in network for network in self._proxies)

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters.

        Raises:
            Refusal: 400 for more than anybody means.
        """
        try:
            return parse_qs(self._scope.query_string, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            raise Refusal(400, "UNSUPPORTED", "too many query parameters") from None

    def parameter(self, name: str) -> str | None:
        """The first value of a query parameter; None where it is missing."""
        values = self.query.get(name)
        return values[0] if values else None

    def number(self, name: str) -> int | None:
        """A query parameter that counts.

        Raises:
            Refusal: 400 for anything but digits.
        """
        text = self.parameter(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise Refusal(400, "UNSUPPORTED", f"the parameter {name} is a number, not {text[:40]!r}")
        return int(text)

    @cached_property
    def content_length(self) -> int | None:
        """The length that the client announced; None for a stream."""
        text = self.header("content-length")
        return int(text) if text and text.isascii() and text.isdigit() else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives.

        Raises:
            Refusal: 408 if it arrives too slowly, 400 if it ends before its announced length.
        """
        clock = asyncio.get_running_loop().time
        begun = clock()
        if self._body is None:
            self._body = self._protocol.__aiter__()
        while not self._ended:
            try:
                async with asyncio.timeout_at(min(clock(), begun + self.received / SLOWEST) + STALL):
                    chunk: bytes = await self._body.__anext__()  # anext() with a default crashes on granian's iterator
            except StopAsyncIteration:
                self._ended = True
                break
            except TimeoutError:
                self._ended = True
                raise Refusal(408, "BLOB_UPLOAD_INVALID", "the request's body arrives too slowly") from None
            if chunk:
                self.received += len(chunk)
                yield chunk
        if self.content_length is not None and self.received < self.content_length:
            raise Refusal(400, "SIZE_INVALID", f"{self.received} of {self.content_length} bytes arrived")

    async def drain(self) -> None:
        """Read on and forget, so that a client which sends first and reads then sees its error, not a cut line.

        For a moment only: nobody holds a connection by sending what has been refused.
        """
        if self._ended or (self.content_length or 0) > _DRAINED or self.method in ("GET", "HEAD"):
            return
        begun = self.received
        with contextlib.suppress(Refusal, TimeoutError):
            async with asyncio.timeout(DRAIN):
                async for _ in self.chunks():
                    if self.received - begun > _DRAINED:
                        return

    async def body(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            Refusal: 413 above ``limit`` bytes; 408 and 400 as ``chunks``.
        """
        too_large = Refusal(413, "SIZE_INVALID", f"the body is larger than {limit} bytes")
        if (self.content_length or 0) > limit:
            raise too_large
        parts: list[bytes] = []
        async for chunk in self.chunks():
            if self.received > limit:
                raise too_large
            parts.append(chunk)
        return b"".join(parts)


@dataclass(slots=True)
class Response:
    """What a client gets.

    Attributes:
        status: the HTTP status.
        headers: names in lower case.
        body: the content; for HEAD it is measured and not sent.
        file: sent instead of ``body``, from ``start`` up to and without ``end``.
        size: bytes of the content where neither body nor file is at hand (HEAD).
    """

    status: int
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    file: Path | None = None
    start: int = 0
    end: int = 0
    size: int | None = None

    @property
    def length(self) -> int:
        """Bytes of the content."""
        if self.size is not None:
            return self.size
        return self.end - self.start if self.file else len(self.body)

    def send(self, protocol: HTTPProtocol, method: str) -> None:
        """Hand it to the server. Content-Length is always told."""
        headers = self.headers
        if method == "HEAD":
            protocol.response_empty(self.status, [*headers, ("content-length", str(self.length))])
        elif self.file is not None:
            headers = [*headers, ("content-length", str(self.length))]
            if self.status == 206:
                protocol.response_file_range(206, headers, str(self.file), self.start, self.end)
            else:
                protocol.response_file(self.status, headers, str(self.file))
        elif self.body:
            protocol.response_bytes(self.status, headers, self.body)
        else:
            protocol.response_empty(self.status, headers)


def _plain(text: str) -> str:
    """An address as proxies and the server write it, with or without a port, in its one form."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return _one_form(text) if len(text) <= _LONGEST_ADDRESS else text


@lru_cache(1024)
def _one_form(text: str) -> str:
    address = parse_address(text)
    return text if address is None else str(address)


def json_response(value: object, headers: Sequence[tuple[str, str]] = (), status: int = 200) -> Response:
    """``value`` (plain values, Structs) as JSON."""
    kind = ("content-type", "application/json")
    return Response(status, [kind, *SAFE, *headers], body=msgspec.json.encode(value))


def refusal_response(refusal: Refusal) -> Response:
    """An error in the distribution API's shape."""
    headers = [("content-type", "application/json"), *SAFE, *refusal.headers]
    return Response(refusal.status, headers, body=refusal.body())


SAFE: tuple[tuple[str, str], ...] = (
    ("x-content-type-options", "nosniff"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
)
"""What users pushed must never run in a browser under the hub's name."""
