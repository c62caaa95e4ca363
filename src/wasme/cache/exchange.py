"""One HTTP request to the cache as a value, and how its answer begins; no socket is touched here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from wasme.image import media_types

LAST_MODIFIED = "Sat, 01 Jan 2000 00:00:00 GMT"
"""The original's: a module never changes, and its time tells nothing."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*", re.IGNORECASE)
_REASONS = {
    200: "OK", 206: "Partial Content", 304: "Not Modified", 400: "Bad Request", 404: "Not Found",
    405: "Method Not Allowed", 416: "Range Not Satisfiable", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


class Malformed(Exception):
    """Not an HTTP request."""


class Question(NamedTuple):
    """A request.

    Attributes:
        method: e.g. ``GET``.
        path: decoded, without its query.
        headers: by lower-case name.
        keep: whether the connection may be used again.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    keep: bool

    @property
    def digest(self) -> str | None:
        """The module's digest where the last segment has 64 characters; "" where that is none; None for a name."""
        last = self.path.rpartition("/")[2]
        if len(last) != 64:
            return None
        return f"sha256:{last}" if _DIGEST.fullmatch(last) else ""

    @property
    def reference(self) -> str:
        """The path as an image reference."""
        return self.path.removeprefix("/")


def parse(head: bytes) -> Question:
    """Read a request's head, its last blank line included.

    Raises:
        Malformed: it is none.
    """
    try:
        line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = line.split(" ")
    except ValueError:
        raise Malformed from None
    if version not in ("HTTP/1.0", "HTTP/1.1") or not _TOKEN.fullmatch(method):
        raise Malformed
    headers: dict[str, str] = {}
    for each in rest:
        name, colon, value = each.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise Malformed
        headers[name.lower()] = value.strip()
    try:
        path = unquote(urlsplit(target).path if "://" in target else target.partition("?")[0], errors="strict")
    except ValueError:
        raise Malformed from None
    if not path.startswith("/") or not path.isprintable():
        raise Malformed
    # A body would have to be read before the next request; nobody sends one here, so the connection ends instead.
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    asked = {each.strip().lower() for each in headers.get("connection", "").split(",")}
    keep = "close" not in asked and not has_body and (version == "HTTP/1.1" or "keep-alive" in asked)
    return Question(method, path, headers, keep)


class Part(NamedTuple):
    """What of a module is sent: a status code, the first byte, how many, and the head's further lines."""

    status: int
    start: int
    length: int
    headers: dict[str, str]


def part(question: Question, module: str, size: int) -> Part:
    """What of a module answers a GET or HEAD (RFC 9110, sections 13 and 14).

    Args:
        question: may hold ``Range``, ``If-Range``, ``If-None-Match``, ``If-Modified-Since``.
        module: its digest, which is its entity tag.
        size: in bytes.
    """
    etag = f'"{module}"'
    headers = {
        "Etag": etag,
        "Last-Modified": LAST_MODIFIED,
        "Accept-Ranges": "bytes",
        "Content-Type": media_types.MODULE_LAYER,
        "X-Content-Type-Options": "nosniff",
    }
    known = question.headers.get("if-none-match")
    if known is not None:
        if known.strip() == "*" or etag in (each.strip().removeprefix("W/") for each in known.split(",")):
            return Part(304, 0, 0, headers)
    # All modules have one date, so behind a name, which may move on to another, it says nothing.
    elif question.digest and question.headers.get("if-modified-since") == LAST_MODIFIED:
        return Part(304, 0, 0, headers)
    found = _RANGE.fullmatch(question.headers.get("range", ""))
    if found is None or question.headers.get("if-range", etag) not in (
        etag,
        LAST_MODIFIED if question.digest else etag,
    ):
        return Part(200, 0, size, headers)
    first, last = found[1], found[2]
    if not first and not last:
        return Part(200, 0, size, headers)
    if not first:
        start, end = max(0, size - int(last)), size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return Part(200, 0, size, headers)
    if start >= size or start > end:
        return Part(416, 0, 0, {**headers, "Content-Range": f"bytes */{size}"})
    return Part(206, start, end - start + 1, {**headers, "Content-Range": f"bytes {start}-{end}/{size}"})


def head(status: int, headers: Mapping[str, str], length: int | None, *, keep: bool) -> bytes:
    """The beginning of an answer; ``length`` of its body in bytes, None for an answer that never has one."""
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
