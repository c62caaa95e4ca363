"""Differences between what was expected and what was seen, in words; whatever differs is told."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.testing.test_grammar import step
from wasme.testing.expectation import Received, Response, Seen, differences, quoted
from wasme.testing.scenario import Arrival, Expectation, Text

ARRIVED = Received("", "GET", "/p", (("host", "a"), ("X-A", "1"), ("x-two", "b"), ("X-Two", "c")), b"sent")
CALL = Received("c", "POST", "/check", (("host", "authz:1"), ("userid", "u")), b"asked")
SEEN = Seen(
    Response(200, (("Hello", "world"), ("x-two", "a"), ("X-TWO", "b")), b"body"),
    [ARRIVED],
    [CALL],
    ["loaded", "took 12 ms"],
    {"requests": 3, "open": 0},
)
SURE = (
    "status: 200, body: body, headers: {hello: world, x-two: [a, b], x-none: null}, "
    "upstream: {method: get, path: /p, authority: a, headers: {x-a: 1, x-two: [b, c], y: null}, body: /s.nt/}, "
    "calls: [{cluster: c, method: POST, path: /check, authority: 'authz:1', headers: {userid: u}, body: asked}], "
    "logs: [load, /took \\d+ ms/], metrics: {requests: 3, open: 0, never: 0}"
)


def expecting(text: str) -> Expectation:
    return step(f"request: GET /, expect: {{{text}}}").expect if text else Expectation()


def told(text: str, **changes: Any) -> list[str]:
    return differences(expecting(text), dataclasses.replace(SEEN, **changes))


def test_what_is_as_expected() -> None:
    """All kinds of expectation at once, each of them met."""
    assert told(SURE) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("status: 201", 'status: expected 201, got 200 with the body "body"'),
        ("status: 201, body: body", "status: expected 201, got 200"),
        ("body: bodies", 'body: expected "bodies", got "body"'),
        ("body: ''", 'body: expected "", got "body"'),
        ("body: /bod/", 'body: expected /bod/, got "body"'),
        ("headers: {hello: World}", 'header hello: expected "World", got "world"'),
        ("headers: {hello: /wor/}", 'header hello: expected /wor/, got "world"'),
        ("headers: {Hello: null}", 'header hello: expected none, got "world"'),
        ("headers: {hello: [world, world]}", 'header hello: expected "world" and "world", got "world"'),
        ("headers: {x-two: a}", 'header x-two: expected "a", got "a" and "b"'),
        ("headers: {x-two: [b, a]}", 'header x-two: expected "b" and "a", got "a" and "b"'),
        ("headers: {none: ''}", 'header none: expected "", got none'),
        ("upstream: null", "upstream: expected not to be reached, got GET /p"),
        ("upstream: {method: POST}", 'upstream.method: expected "POST", got "GET"'),
        ("upstream: {path: /}", 'upstream.path: expected "/", got "/p"'),
        ("upstream: {authority: b}", 'upstream.authority: expected "b", got "a"'),
        ("upstream: {headers: {x-a: 2}}", 'upstream header x-a: expected "2", got "1"'),
        ("upstream: {body: ''}", 'upstream.body: expected "", got "sent"'),
        ("calls: []", "calls: expected none, got 1 (POST c /check)"),
        ("calls: [{cluster: c}, {cluster: c}]", "calls: expected 2, got 1 (POST c /check)"),
        ("calls: [{cluster: d}]", 'calls[0].cluster: expected "d", got "c"'),
        ("calls: [{cluster: c, path: /}]", 'calls[0].path: expected "/", got "/check"'),
        ("calls: [{cluster: c, authority: a}]", 'calls[0].authority: expected "a", got "authz:1"'),
        ("calls: [{cluster: c, headers: {userid: null}}]", 'calls[0] header userid: expected none, got "u"'),
        ("calls: [{cluster: c, body: /x/}]", 'calls[0].body: expected /x/, got "asked"'),
        ("logs: [nothing]", 'logs: no line has "nothing"; the filter logged "loaded"; "took 12 ms"'),
        ("logs: [/^ms/]", 'logs: no line has /^ms/; the filter logged "loaded"; "took 12 ms"'),
        ("metrics: {requests: 2}", "metrics requests: expected 2, got 3"),
        ("metrics: {open: 1}", "metrics open: expected 1, got 0"),
        ("metrics: {request: 1}", "metrics request: expected 1, got no such metric (there are: open, requests)"),
    ],
)  # fmt: skip
def test_each_difference(text: str, problem: str) -> None:
    """Each kind of expectation fails where it should, and says what was expected and what came."""
    assert told(text) == [problem]


def test_the_upstream_is_asked_once() -> None:
    """An expected request that did not arrive, or arrived twice, is a difference."""
    assert told("upstream: {}", upstream=[]) == ["upstream: expected one request, got none"]
    assert told("upstream: {}", upstream=[ARRIVED] * 2) == ["upstream: expected one request, got 2 (GET /p, GET /p)"]
    assert told("upstream: null", upstream=[]) == []


def test_nothing_is_expected_of_what_is_not_named() -> None:
    """An empty expectation is met by anything."""
    assert told("") == []


def test_long_bodies_are_told_by_their_difference() -> None:
    """Of long bodies the first place where they differ is told, not the whole."""
    (problem,) = told("body: {repeat: ab, times: 500}", response=Response(200, (), b"ab" * 499 + b"ax"))
    assert problem == 'body: expected 1000 characters, got 1000; from the 1000. on: expected "b", got "x"'
    (problem,) = told("body: {repeat: ab, times: 500}", response=Response(200, (), b"ab" * 400))
    assert problem.startswith("body: expected 1000 characters, got 800; from the 801. on: ")
    assert len(problem) < 200


def test_a_body_that_is_no_text() -> None:
    """Bytes that are no UTF-8 are compared, and shown escaped."""
    assert told("body: x", response=Response(200, (), b"\xff\0")) == ['body: expected "x", got "\\\\xff\\x00"']


@given(st.text(max_size=300))
def test_quoted_is_one_line(text: str) -> None:
    """Whatever a filter sends, a report stays on one line of bearable length."""
    shown = quoted(text)
    assert shown.isprintable()
    assert len(shown) < 1500


_NAMES = st.sampled_from(["a", "b", "X-C"])
_VALUES = st.text("ab/", max_size=3)
_HEADERS = st.lists(st.tuples(_NAMES, _VALUES), max_size=4).map(tuple)
_BODIES = st.text("ab ", max_size=5).map(str.encode)


def _exact(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, tuple[Text, ...] | None], ...]:
    names = ["a", "b", "x-c"]
    return tuple((n, tuple(Text(v) for k, v in headers if k.lower() == n) or None) for n in names)


@given(status=st.integers(200, 599), headers=_HEADERS, body=_BODIES, other=_HEADERS)
def test_headers_agree_as_lists_do(status: int, headers: Any, body: bytes, other: Any) -> None:
    """An expectation written from one answer is met by another exactly if it has the same values for each name."""
    expect = Expectation(status, Text(body.decode()), _exact(headers))
    assert differences(expect, Seen(Response(status, headers, body))) == []
    same = _exact(headers) == _exact(other)
    assert (differences(expect, Seen(Response(status, other, body))) == []) is same
    assert differences(expect, Seen(Response(status + 1, headers, body)))
    assert differences(expect, Seen(Response(status, headers, body + b"!")))


@given(
    wanted=st.lists(st.sampled_from("abc"), max_size=3),
    got=st.lists(st.sampled_from("abc"), max_size=3),
)
def test_calls_agree_as_lists_do(wanted: list[str], got: list[str]) -> None:
    """Calls are compared in their order, and none may be left over."""
    expect = Expectation(calls=tuple(Arrival(cluster=name) for name in wanted))
    calls = [Received(name, "GET", "/", (), b"") for name in got]
    assert (differences(expect, Seen(calls=calls)) == []) is (wanted == got)


@given(st.text(max_size=20), st.text(max_size=20))
def test_texts(expected: str, got: str) -> None:
    """Without slashes a text fits what is equal to it, with slashes what its pattern matches as a whole."""
    assert Text(expected).fits(got) is (expected == got)
    assert Text("", re.compile(re.escape(expected), re.DOTALL)).fits(got) is (expected == got)
    assert Text(expected).stands_in(got + expected)
