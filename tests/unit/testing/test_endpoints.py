"""The upstreams and clusters of tests, and HTTP as they speak it: what is sent arrives, byte by byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.testing import http1
from wasme.testing.endpoints import Endpoint
from wasme.testing.expectation import Received
from wasme.testing.scenario import Answer, Body

HOST = (("host", "a"),)


def with_endpoint(use: Callable[[Endpoint], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        endpoint = Endpoint("c")
        try:
            await endpoint.listen()
            return await use(endpoint)
        finally:
            await endpoint.close()

    return asyncio.run(run())


_NAMES = st.text("abcXYZ-", min_size=1, max_size=8).map(lambda name: f"x-{name}")
_VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x24F, exclude_categories=("Cc",)), max_size=8)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES.map(lambda v: v.strip())), max_size=4).map(tuple)
_BODIES = st.builds(
    Body, st.lists(st.binary(min_size=1, max_size=50), max_size=3).map(tuple), st.just(True)
) | st.builds(Body, st.tuples(st.binary(max_size=2000)))


@given(
    headers=_HEADERS, sent=_BODIES, answer=st.builds(Answer, st.sampled_from([200, 204, 304, 503]), _HEADERS, _BODIES)
)
@settings(max_examples=40, deadline=None)
def test_what_is_sent_arrives(headers: Any, sent: Body, answer: Answer) -> None:
    """Headers in their order and bodies in either framing are the same on the other side, both ways."""

    async def use(endpoint: Endpoint) -> None:
        arrived: list[Received] = []
        async with endpoint.answering(answer, arrived.append):
            status, got, body = await http1.ask(endpoint.port, "POST", "/p?q", (*HOST, *headers), sent)
        (request,) = arrived
        assert (request.cluster, request.method, request.path, request.body) == ("c", "POST", "/p?q", sent.content)
        assert request.headers[: len(headers) + 1] == (*HOST, *headers)
        assert (status, body) == (answer.status, b"" if status in (204, 304) else answer.body.content)
        assert tuple(pair for pair in got if pair[0].startswith("x-")) == answer.headers

    with_endpoint(use)


def test_refusing_and_back() -> None:
    """An endpoint that refuses has its port closed, and open again afterwards."""

    async def use(endpoint: Endpoint) -> None:
        arrived: list[Received] = []
        for _ in range(3):
            async with endpoint.answering(Answer(refuse=True), arrived.append):
                with pytest.raises(ConnectionRefusedError):
                    await http1.ask(endpoint.port, "GET", "/", HOST)
            async with endpoint.answering(Answer(201), arrived.append):
                assert (await http1.ask(endpoint.port, "GET", "/", HOST))[0] == 201
        assert len(arrived) == 3

    with_endpoint(use)


def test_never_answering() -> None:
    """An endpoint that never answers takes the request, and closing it does not wait."""

    async def use(endpoint: Endpoint) -> None:
        arrived: list[Received] = []
        async with endpoint.answering(Answer(timeout=True), arrived.append):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await http1.ask(endpoint.port, "GET", "/", HOST)
            assert len(arrived) == 1
            pending = asyncio.ensure_future(http1.ask(endpoint.port, "GET", "/", HOST))
            await asyncio.sleep(0.05)
        begun = time.monotonic()
        await endpoint.close()
        with pytest.raises(http1.Garbled):
            await pending
        assert time.monotonic() - begun < 1

    with_endpoint(use)


def test_strays_are_counted() -> None:
    """What arrives while no test runs is counted and told to nobody."""

    async def use(endpoint: Endpoint) -> None:
        assert (await http1.ask(endpoint.port, "GET", "/", HOST))[0] == 200
        assert endpoint.strays == 1

    with_endpoint(use)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "the connection ended without an answer"),
        (b"HTTP/1.1 200 OK\r\nx", "the connection ended inside the headers"),
        (b"hello\r\n\r\n", "an answer that begins with 'hello'"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", "the connection ended inside the body"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nabc", "a length that is no number"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "a content-length of -1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", "a content-length of 99999999999"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc", "the connection ended inside the body"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n", "a length that is no number"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffff\r\n", "a chunk of 17592186044415 bytes"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2_000_000 + b"\r\n\r\n", "the headers are larger than"),
    ],
    ids=range(11),
)  # fmt: skip
def test_answers_that_are_none(answer: bytes, said: str) -> None:
    """Whatever answers, it is an answer or one error of ours that says what is wrong."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            await http1.ask(server.sockets[0].getsockname()[1], "GET", "/", HOST)
        finally:
            server.close()

    with pytest.raises(http1.Garbled, match=said.replace("(", r"\(")):
        asyncio.run(run())


def test_answers_in_other_forms() -> None:
    """Hints before an answer are passed over; without a length a body lasts to the end; HEAD has none."""
    begun = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(begun + (b"content-length: 9\r\n\r\n" if head.startswith(b"HEAD") else b"\r\nto the end"))
        writer.close()

    async def run() -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            return [(await http1.ask(port, method, "/", HOST))[2] for method in ("GET", "HEAD")]
        finally:
            server.close()

    assert asyncio.run(run()) == [b"to the end", b""]
