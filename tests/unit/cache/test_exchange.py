"""HTTP requests as values."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from wasme.cache import exchange
from wasme.cache.exchange import Malformed

DIGEST = "ab" * 32


def ask(path: str, **headers: str) -> exchange.Question:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return exchange.parse(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())


def test_digests_and_names() -> None:
    """[GOLD] A last segment of 64 characters is a digest, wherever it stands; anything else is an image's name."""
    assert ask(f"/{DIGEST}").digest == ask(f"/a/b/{DIGEST}?x=1").digest == f"sha256:{DIGEST}"
    assert ask("/" + "x" * 64).digest == ""
    for name in ("demo/auth:v1", "localhost:5000/a@sha256:" + DIGEST, DIGEST[:-1], "metrics:latest"):
        assert ask(f"/{name}").digest is None
        assert ask(f"/{name}").reference == name
    assert ask("/a%3Ab").reference == "a:b"
    assert ask("http://host/demo/auth").reference == "demo/auth"


def test_keeping_the_connection() -> None:
    """HTTP/1.1 keeps it unless told otherwise, or where a body follows that nobody reads."""
    assert ask("/").keep
    assert not ask("/", connection="Close").keep
    assert not ask("/", content_length="5").keep
    assert not ask("/", transfer_encoding="chunked").keep
    assert not exchange.parse(b"GET / HTTP/1.0\r\n\r\n").keep


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    """Any bytes are a request or are refused; nothing else is raised, and no line break gets into a name."""
    with contextlib.suppress(Malformed):
        question = exchange.parse(content + b"\r\n\r\n")
        assert question.path.isprintable()


@given(st.text(st.sampled_from("bytes=0123456789-, "), max_size=16), st.integers(0, 40))
def test_any_range(wanted: str, size: int) -> None:
    """Whatever is asked for, what is sent lies within the file."""
    part = exchange.part(ask(f"/{DIGEST}", range=wanted), f"sha256:{DIGEST}", size)
    assert part.status in (200, 206, 416)
    assert 0 <= part.start <= part.start + part.length <= size
    assert part.status != 206 or part.length > 0
    if part.status == 200:
        assert (part.start, part.length) == (0, size)
