"""HTTP/1.1 on the wire, with nothing added: scenarios say which headers there are, and in which pieces a body goes."""

from __future__ import annotations

import asyncio
import contextlib
import re

from wasme.testing.scenario import Body, Headers

LIMIT = 128 * 1024 * 1024
LONGEST_HEAD = 1024 * 1024
_PAUSE = 0.005
_BODYLESS = (204, 304)


class Garbled(Exception):  # an answer that is no HTTP; whoever asks turns it into words
    """What came is no HTTP message."""


def head(start: str, headers: Headers) -> bytes:
    """A start line and headers."""
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def framed(headers: Headers, body: Body | None) -> Headers:
    """The headers with the one that says how long the body is, unless they say so themselves."""
    names = {name.lower() for name, _ in headers}
    if body is None or names & {"content-length", "transfer-encoding"}:
        return headers
    own = ("transfer-encoding", "chunked") if body.chunked else ("content-length", str(len(body.content)))
    return (*headers, own)


async def send_body(writer: asyncio.StreamWriter, body: Body) -> None:
    """Write a body; the pieces of a chunked one go apart, so that the other side sees them apart."""
    if not body.chunked:
        writer.write(body.content)
        await writer.drain()
        return
    for piece in body.pieces:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(_PAUSE)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, Headers] | None:
    """The start line and the headers; None where the connection ends before.

    Raises:
        Garbled: it is none.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Garbled("the connection ended inside the headers") from None
        return None
    except asyncio.LimitOverrunError:
        raise Garbled(f"the headers are larger than {LONGEST_HEAD} bytes") from None
    start, *lines = raw[:-4].decode("utf-8", "surrogateescape").split("\r\n")
    return start, tuple((name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines))


async def read_body(reader: asyncio.StreamReader, headers: Headers, *, until_end: bool) -> bytes:
    """A body.

    Args:
        until_end: without any length it lasts until the connection ends, as an answer's does.

    Raises:
        Garbled: it is cut, too large, or its framing makes no sense.
    """
    values = {name.lower(): value for name, value in headers}
    try:
        if "chunked" in values.get("transfer-encoding", "").lower():
            return await _chunked(reader)
        if "content-length" in values:
            length = int(values["content-length"])
            if not 0 <= length <= LIMIT:
                raise Garbled(f"a content-length of {length}")
            return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        raise Garbled("the connection ended inside the body") from None
    except ValueError:
        raise Garbled("a length that is no number") from None
    if not until_end:
        return b""
    content = await reader.read(LIMIT)
    while more := await reader.read(LIMIT):
        content += more
    return content


async def ask(
    port: int, method: str, path: str, headers: Headers = (), body: Body | None = None
) -> tuple[int, Headers, bytes]:
    """One request to a port of loopback, on a connection of its own.

    Returns:
        Status, headers and body of the answer.

    Raises:
        Garbled: what answers is no HTTP, or ends early.
        OSError: nobody answers.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LONGEST_HEAD)
    try:
        writer.write(head(f"{method} {path} HTTP/1.1", framed(headers, body)))
        # An answer may come before the whole body is read, and the connection may end with it.
        sending = asyncio.ensure_future(send_body(writer, body or Body()))
        try:
            return await _answer(reader, method)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await sending
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader, method: str) -> tuple[int, Headers, bytes]:
    while True:
        got = await read_head(reader)
        if got is None:
            raise Garbled("the connection ended without an answer")
        start, headers = got
        line = re.match(r"HTTP/1\.[01] ([0-9]{3})\b", start)
        if not line:
            raise Garbled(f"an answer that begins with {start[:60]!r}")
        status = int(line[1])
        if status >= 200:
            break
    if method == "HEAD" or status in _BODYLESS:
        return status, headers, b""
    return status, headers, await read_body(reader, headers, until_end=True)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        length = int(line.split(b";")[0].strip() or b"x", 16)
        size += length
        if length < 0 or size > LIMIT:
            raise Garbled(f"a chunk of {length} bytes")
        if not length:
            while (await reader.readuntil(b"\r\n")) != b"\r\n":
                pass  # trailers
            return b"".join(pieces)
        pieces.append(await reader.readexactly(length))
        await reader.readexactly(2)
