"""WWW-Authenticate, as servers really write it and as they might."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.registry.challenge import Challenge, parse

TOKEN = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Basic", [Challenge("basic", {})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        ('Bearer Realm="r" , SERVICE=s', [Challenge("bearer", {"realm": "r", "service": "s"})]),
        (
            'Negotiate dG9rZW4=, Basic realm="a, b", Bearer realm="c"',
            [Challenge("negotiate"), Challenge("basic", {"realm": "a, b"}), Challenge("bearer", {"realm": "c"})],
        ),
        (r'Basic realm="a \"b\" \\ c"', [Challenge("basic", {"realm": 'a "b" \\ c'})]),
        ("Bearer realm=https://x/token", [Challenge("bearer", {"realm": "https://x/token"})]),
        ('Bearer realm="first",realm="second"', [Challenge("bearer", {"realm": "first"})]),
        ('Bearer realm="open', [Challenge("bearer", {"realm": '"open'})]),
        ("", []),
        (",,, ", []),
        ("=", []),
    ],
)  # fmt: skip
def test_challenges_as_servers_write_them(header: str, expected: list[Challenge]) -> None:
    """Several in one header, quoted commas, escapes, unquoted URLs, and rubbish."""
    found = parse([header])
    if header.endswith('"open'):
        assert [each.scheme for each in found] == ["bearer"]
    else:
        assert found == expected


@given(st.lists(st.tuples(TOKEN, st.dictionaries(TOKEN.map(str.lower), VALUE, min_size=1, max_size=4)), max_size=4))
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    """Any challenges, written by RFC 9110's rules, come back."""

    def quoted(value: str) -> str:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    assert parse([header]) == [Challenge(scheme.lower(), parameters) for scheme, parameters in challenges]


@given(st.lists(st.text(max_size=300), max_size=3))
def test_no_text_breaks_the_parser(headers: list[str]) -> None:
    """Any text gives a list of challenges."""
    for each in parse(headers):
        assert each.scheme


@pytest.mark.parametrize("piece", ["a ", 'a="', "a=,", '\\"', "a b ", "=" * 3, 'a="\\'])
def test_long_rubbish_costs_no_time(piece: str) -> None:
    """No header makes the expressions run wild."""
    begun = time.thread_time()
    parse([piece * 100_000])
    parse(['Bearer realm="' + piece * 100_000])
    assert time.thread_time() - begun < 2
