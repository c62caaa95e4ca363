"""Bodies that come slowly, are cut, or are too large; addresses behind proxies."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from wasme.hub import exchange
from wasme.hub.exchange import Request
from wasme.hub.refusal import Refusal
from wasme.hub.settings import parse_proxies


def request(
    chunks: list[tuple[float, bytes]], headers: dict[str, str] | None = None, client: str = "192.0.2.1:1000",
    proxies: Sequence[str] = (), query: str = "",
) -> Request:  # fmt: skip
    """A request whose body comes in `chunks` of (seconds to wait, bytes)."""

    class Protocol:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for wait, chunk in chunks:
                await asyncio.sleep(wait)
                yield chunk

    scope: Any = SimpleNamespace(
        method="PUT", path="/", headers=headers or {}, client=client, query_string=query, authority=None
    )
    protocol: Any = Protocol()
    return Request(scope, protocol, parse_proxies(proxies))


def test_a_body_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL", 0.05)
    with pytest.raises(Refusal) as refused:
        asyncio.run(request([(0, b"a"), (1, b"b")]).body(10))
    assert refused.value.status == 408


def test_a_body_that_trickles_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte comes in time, and still it is too slow: a slow loris ends."""
    monkeypatch.setattr(exchange, "STALL", 0.1)
    with pytest.raises(Refusal) as refused:
        asyncio.run(request([(0.03, b"a")] * 100).body(1000))
    assert refused.value.status == 408


def test_a_slow_body_that_keeps_its_pace_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL", 3.0)
    assert len(asyncio.run(request([(0.03, b"a" * 64)] * 10).body(1000))) == 640


def test_a_body_that_is_cut_is_noticed() -> None:
    with pytest.raises(Refusal, match="3 of 10 bytes") as refused:
        asyncio.run(request([(0, b"abc")], {"content-length": "10"}).body(100))
    assert refused.value.status == 400


@pytest.mark.parametrize("headers", [{}, {"content-length": "11"}])
def test_a_body_above_its_limit_is_refused(headers: dict[str, str]) -> None:
    """By its announced length before a byte is read, else as soon as it is too long."""
    with pytest.raises(Refusal) as refused:
        asyncio.run(request([(0, b"0123456789"), (0, b"x")], headers).body(10))
    assert refused.value.status == 413


def test_forwarded_addresses_are_believed_from_known_proxies_only() -> None:
    forwarded = {"x-forwarded-for": "6.6.6.6, 198.51.100.7, 192.0.2.2"}
    trusted = ("192.0.2.1", "192.0.2.2")
    assert request([], forwarded).address == "192.0.2.1"
    assert request([], forwarded, proxies=trusted).address == "198.51.100.7"
    assert request([], {}, proxies=trusted).address == "192.0.2.1"
    assert request([], {}, client="[2001:db8::1]:99").address == "2001:db8::1"


@pytest.mark.parametrize(
    ("client", "trusted", "hops", "seen"),
    [
        ("[::ffff:192.0.2.1]:9", "192.0.2.1", "6.6.6.6", "6.6.6.6"),  # IPv4 on an IPv6 socket
        ("192.0.2.1:9", "::ffff:192.0.2.1", "6.6.6.6", "6.6.6.6"),
        ("192.0.2.1:9", "::ffff:192.0.2.0/120", "6.6.6.6", "6.6.6.6"),
        ("192.0.2.1:9", "192.0.2.0/24", "6.6.6.6, 192.0.2.77", "6.6.6.6"),
        ("[2001:db8::1]:9", "2001:0DB8:0::0001", "6.6.6.6", "6.6.6.6"),
        ("[2001:db8::1]:9", "2001:db8::/32", "[2001:DB9::0:7]:443", "2001:db9::7"),
        ("192.0.2.1:9", "192.0.2.1", "6.6.6.6:1234", "6.6.6.6"),
        ("192.0.2.1:9", "192.0.2.1", "::ffff:6.6.6.6", "6.6.6.6"),
        ("192.0.2.1:9", "192.0.2.1", "6.6.6.6, unknown", "192.0.2.1"),
        ("192.0.2.1:9", "192.0.2.1", "6.6.6.6, ", "192.0.2.1"),
        ("192.0.2.1:9", "192.0.2.1", "[", "192.0.2.1"),
        ("192.0.2.10:9", "192.0.2.1", "6.6.6.6", "192.0.2.10"),
    ],
)
def test_addresses_are_compared_as_addresses(client: str, trusted: str, hops: str, seen: str) -> None:
    """However they are written; and a hop that is none hides nobody behind a name of their choice."""
    assert request([], {"x-forwarded-for": hops}, client, [trusted]).address == seen


def test_a_refused_body_is_read_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes fast enough for a push, and for hours: whoever may not push does not hold the connection with it."""
    monkeypatch.setattr(exchange, "DRAIN", 0.1)
    slow = request([(0.03, b"a" * 64)] * 100, {"content-length": "6400"})

    async def drain() -> float:
        clock = asyncio.get_running_loop().time
        begun = clock()
        await slow.drain()
        return clock() - begun

    assert 0.1 <= asyncio.run(drain()) < 2.5
    assert 0 < slow.received < 1000


@pytest.mark.parametrize("query", ["n=-1", "n=x", "n=", "n=1e3", "n=99999999999"])
def test_numbers_are_digits(query: str) -> None:
    with pytest.raises(Refusal) as refused:
        request([], query=query).number("n")
    assert refused.value.status == 400


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(Refusal):
        request([], query="&".join(["tag=a"] * 1000)).parameter("tag")
