"""The examples of `wasme init` are the same filter in every language, also where no scenario looks.

Each is fed with the same drawn configurations, headers, bodies and answers, and must do what a few lines of Python say
that the example does (its README, in templates/shared); so each does what all the others do. A trap fails too: in Envoy
it would end the filter for everybody.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures.drawn_json import Refused, configurations, members, odd_configurations, text, whole
from tests.fixtures.examples import LANGUAGES, Examples
from tests.fixtures.filter_host import (
    CONTINUE,
    REQUEST_BODY,
    REQUEST_HEADERS,
    RESPONSE_BODY,
    RESPONSE_HEADERS,
    STOP,
    FilterHost,
    Machine,
    Pairs,
)

SPACE = b" \t\r\n"
ODD_VALUES = [b"", b"admin", b"a b", "ünïcödé 😀".encode(), b"\xff", b"adm\xc1\xa9n", b"\xed\xa0\x80", b"\xe2\x82",
              b"\xc3\xa9", b"\x80", b"\xf4\x90\x80\x80", b"x" * 5000]  # fmt: skip


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def takes(host: FilterHost, settle: Callable[[], Any]) -> Any:
    """What the configuration means, and that the filter has taken it; None if both refuse it, with one word of why.

    One that is not UTF-8 (only a BytesValue brings it) must not end the filter. Languages whose texts are UTF-8 refuse
    it, those whose texts are bytes need not.
    """
    if not is_utf8(host.config):
        return None
    try:
        meant = settle()
    except Refused:
        meant = None
    errors = [words for level, words in host.logs if level >= 4]
    assert (host.accepted, len(errors)) == ((True, 0) if meant is not None else (False, 1)), (meant, errors)
    return meant


def object_or_nothing(config: bytes) -> dict[str, Any]:
    return members(config) if config else {}


# add-header


def add_header(machine: Machine, config: bytes) -> None:
    def settle() -> tuple[bytes, bytes]:
        if config.lstrip(SPACE)[:1] != b"{":
            return b"hello", config or b"world"
        found = members(config)
        return text(found, "header", "hello"), text(found, "value", "world")

    host = FilterHost(machine, config)
    added = takes(host, settle)
    if added is None:
        return
    host.open()
    assert host.request_headers([(b":path", b"/")]) == CONTINUE
    assert host.response_headers([(b":status", b"200"), (b"hello", b"own")]) == CONTINUE
    assert host.maps[RESPONSE_HEADERS] == [(b":status", b"200"), (b"hello", b"own"), added]
    host.close()


words = st.text(max_size=6).map(str.encode)
texts = st.sampled_from([b'"hi"', b'"x-a"', b'""', rb'"\u00fc\n"', b'"\xc3\xbc"', b'"\xf0\x9f\x98\x80"'])
DRAWN: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {}
DRAWN["add-header"] = add_header, st.one_of(configurations(["header", "value"], texts), words)

# auth


def auth(machine: Machine, drawn: tuple[bytes, bytes | None, bool, Pairs, bytes]) -> None:
    config, user, exists, headers, body = drawn

    def settle() -> tuple[bytes, bytes, bytes]:
        found = object_or_nothing(config)
        default = "outbound|8080||auth-simple.istio.svc.cluster.local"
        cluster, path = text(found, "cluster", default), text(found, "path", "/auth")
        return cluster, path, text(found, "authority", "auth-simple:8080")

    host = FilterHost(machine, config)
    service = takes(host, settle)
    if service is None:
        return
    cluster, path, authority = service
    host.clusters = frozenset([cluster] if exists else [])
    host.open()
    request = [(b":path", b"/"), *([(b"userid", user)] if user is not None else [])]
    assert host.request_headers(request) == STOP
    reply: tuple[int, bytes] | None = 403, b"fail"
    if exists and is_utf8(user or b""):
        (call,) = host.calls
        asked = [(b":method", b"GET"), (b":path", path), (b":authority", authority), (b"userid", user or b"")]
        assert [(name.lower(), value) for name, value in call.headers] == asked
        assert (call.cluster, call.body, call.milliseconds) == (cluster, b"", 5000)
        assert (host.reply, host.resumed) == (None, False)
        host.answer(call, headers, body)
        if dict(headers).get(b":status") == b"200":
            reply = None if body == b"ok" else (403, body or b"fail")
    else:
        assert host.calls == []
    assert host.resumed == (reply is None)
    assert (host.reply and (host.reply.status, host.reply.body)) == reply
    assert not (host.reply and host.reply.headers)
    assert host.maps[REQUEST_HEADERS] == request
    host.close()


statuses = st.sampled_from([b"200"] * 6 + [b"201", b"204", b"403", b"500", b"503", b"2000", b"20", b"", b" 200"])
answers = st.sampled_from([b"ok"] * 3 + [b"", b"ok\n", b"OK", b"okay", b"o", b"no", b"\xff\xfe", b"\xc1\xaf\xc1\xab",
                           b"n\0o", "größe".encode(), b"\xed\xa0\x80", b"x" * 9000])  # fmt: skip
DRAWN["auth"] = (
    auth,
    st.tuples(
        st.one_of(st.just(b""), configurations(["cluster", "path", "authority"], texts)),
        st.one_of(st.none(), st.sampled_from(ODD_VALUES), words),
        st.sampled_from([True, True, True, False]),
        st.one_of(statuses.map(lambda status: [(b":status", status)]), st.just([]), st.just([(b"x", b"200")])),
        answers,
    ),
)

# body


def body(machine: Machine, drawn: tuple[bytes, bytes | None, list[bytes], list[bytes]]) -> None:
    config, encoding, sent, got = drawn

    def settle() -> tuple[bytes, bytes]:
        found = object_or_nothing(config)
        find, replace = text(found, "find", "hello"), text(found, "replace", "good day")
        if not find:
            raise Refused
        return find, replace

    host = FilterHost(machine, config)
    pair = takes(host, settle)
    if pair is None:
        return
    host.open()
    plain = encoding is None or encoding.lower() in (b"", b"identity")
    own = [] if encoding is None else [(b"content-encoding", encoding)]
    request, response = [(b":method", b"POST"), *own], [(b":status", b"200"), *own]
    length = [] if plain else [(b"content-length", b"9")]
    assert host.request_headers([*request, (b"content-length", b"9")], end=False) == CONTINUE
    assert host.maps[REQUEST_HEADERS] == request + length
    assert host.body(REQUEST_BODY, sent) == (b"".join(sent).replace(*pair) if plain else b"".join(sent))
    assert host.response_headers([*response, (b"content-length", b"9")], end=False) == CONTINUE
    assert host.maps[RESPONSE_HEADERS] == response + length
    assert host.body(RESPONSE_BODY, got) == (b"".join(got).replace(*pair) if plain else b"".join(got))
    assert [line for level, line in host.logs if level >= 4] == []
    host.close()


pieces = st.lists(st.sampled_from([b"hello", b"hel", b"lo", b"hellohello", b"hehello", b"a", b"aa", b"aaa", b"aba",
                                   b"ab", b"\xff", b"\0",
                                   "ü".encode(), b"\xbc", b"", b"good day", b"h" * 70_000]), max_size=7)  # fmt: skip
patterns = st.sampled_from(
    [b'"a"', b'"aa"', b'"aba"', b'"ab"', b'"hello"', b'""', b'"ah"', rb'"\u00fc"', rb'"\u0000"', b'"aaaaaaaaaa"']
)
chunks = st.lists(pieces.map(b"".join), min_size=1, max_size=3)
encodings = st.sampled_from(
    [None] * 8 + [b"identity", b"gzip", b"", b"Identity", b"IDENTITY", b"identity, gzip", b"\xff", b"ident"]
)
DRAWN["body"] = (
    body,
    st.tuples(st.one_of(st.just(b""), configurations(["find", "replace"], patterns)), encodings, chunks, chunks),
)

# rate-limit


def rate_limit(machine: Machine, drawn: tuple[bytes, bytes | None, list[tuple[int, bool]], bool]) -> None:
    config, shared, steps, own = drawn

    def settle() -> tuple[int, int]:
        found = object_or_nothing(config)
        return whole(found, "requests", 100), whole(found, "milliseconds", 1000)

    host = FilterHost(machine, config, shared={b"rate-limit": (1, shared)} if shared is not None else {})
    limit = takes(host, settle)
    if limit is None:
        return
    requests, milliseconds = limit
    assert host.tick_milliseconds == max(milliseconds // 10, 10)
    start = left = 0
    for pause, is_tick in steps:
        host.now += pause
        if is_tick:
            host.tick()
            continue
        if host.now >= start + milliseconds:
            start, left = host.now, requests
        passes, left = left > 0, max(left - 1, 0)
        host.open()
        assert host.request_headers([(b":path", b"/")]) == (CONTINUE if passes else STOP)
        answer: Pairs = [(b":status", b"200"), *([(b"x-ratelimit-remaining", b"own")] if own else [])]
        if not passes:
            assert host.reply
            wait = b"%d" % max(-(-(start + milliseconds - host.now) // 1000), 1)
            assert (host.reply.status, host.reply.body) == (429, b"too many requests")
            answer = [(b":status", b"429"), *host.reply.headers]
            assert dict(answer)[b"retry-after"] == wait
        assert host.response_headers(answer) == CONTINUE
        remaining = [value for name, value in host.maps[RESPONSE_HEADERS] if name == b"x-ratelimit-remaining"]
        assert remaining == [b"%d" % left]
        host.close()
    assert [line for level, line in host.logs if level >= 4] == []


numbers = st.sampled_from(
    [b"1", b"2", b"3", b"5", b"1000", b"1500", b"20", b"4294967295", b"3000000000", b"2147483648"]
)
foreign = st.sampled_from(
    [None] * 4 + [b"", b"x", bytes(12), bytes(16), b"\xff" * 15, b"\xff" * 17, struct.pack("<QQ", 1, 3)]
)
steps = st.lists(
    st.tuples(st.sampled_from([0, 0, 0, 1, 7, 250, 999, 1000, 1001, 2999]), st.integers(0, 4).map(lambda i: i == 4)),
    max_size=9,
)
DRAWN["rate-limit"] = (
    rate_limit,
    st.tuples(
        st.one_of(st.just(b""), configurations(["requests", "milliseconds"], numbers)), foreign, steps, st.booleans()
    ),
)

# metrics


def metrics(machine: Machine, drawn: tuple[bytes, list[tuple[bytes | None, int]]]) -> None:
    config, streams = drawn
    host = FilterHost(machine, config)
    takes(host, lambda: True)
    prefix = config or b"filter"
    expected: dict[bytes, list[int]] = {b"%s.responses_%dxx" % (prefix, hundreds): [0] for hundreds in range(1, 6)}
    expected |= {prefix + b".requests": [0], prefix + b".in_flight": [1], prefix + b".milliseconds": [2]}
    for status, took in streams:
        host.open()
        expected[prefix + b".requests"].append(1)
        expected[prefix + b".in_flight"] += [1, -1]
        assert host.request_headers([(b":path", b"/")]) == CONTINUE
        host.now += took
        if status is not None:
            assert host.response_headers([(b":status", status)] if status else []) == CONTINUE
            if status[:1] in (b"1", b"2", b"3", b"4", b"5"):
                expected[b"%s.responses_%sxx" % (prefix, status[:1])].append(1)
        expected[prefix + b".milliseconds"].append(took)
        host.close()
    host.open()
    host.close()  # Envoy's own answer to something that was no request
    assert host.metrics == expected


DRAWN["metrics"] = (
    metrics,
    st.tuples(
        words,
        st.lists(
            st.tuples(
                st.sampled_from([b"200", b"101", b"304", b"404", b"599", b"600", b"099", b"", None]),
                st.sampled_from([0, 1, 17, 5_000_000]),
            ),
            max_size=4,
        ),
    ),
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("example", DRAWN)
def test_does_what_it_does_in_every_language(examples: Examples, language: str, example: str) -> None:
    """Whatever the configuration, the headers and the bodies: each language's filter does what the README says."""
    built = examples.built(language, example)
    campaign(example, Machine.load(built.module, built.root_id), max_examples=100, derandomize=True)


ODD = {
    "add-header": ("value", b'"hi"'),
    "auth": ("path", b'"/a"'),
    "body": ("find", b'"a"'),
    "rate-limit": ("requests", b"2"),
}
REST: dict[str, tuple[Any, ...]] = {
    "auth": (b"admin", True, [(b":status", b"200")], b"ok"),
    "body": (None, [b"aba"], [b"hello"]),
    "rate-limit": (None, [(0, False)], False),
}


def campaign(example: str, machine: Machine, **options: Any) -> None:
    """Feed a filter with everything odd, and so much that is drawn."""
    judge, drawn = DRAWN[example]
    for config in odd_configurations(*ODD[example]) if example in ODD else []:
        judge(machine, (config, *REST[example]) if example in REST else config)

    @settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, **options)
    @given(drawn)
    def agree(each: Any) -> None:
        judge(machine, each)

    agree()
