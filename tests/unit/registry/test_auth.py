"""The token protocol without any I/O."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.errors import NotARegistry, UnsafeAnswer
from wasme.registry.auth import (
    Credential,
    Token,
    TokenCache,
    covers,
    merge_scopes,
    parse_token,
    pull,
    push,
    token_requests,
)
from wasme.registry.challenge import Challenge

BEARER = Challenge("bearer", {"realm": "https://auth.example/token?x=1", "service": "reg"})


def test_scopes_are_merged_and_ordered() -> None:
    """Equal wishes are equal strings, however they are put."""
    assert merge_scopes(["repository:a:push", "repository:a:pull", "repository:b:pull"]) == [
        "repository:a:pull,push",
        "repository:b:pull",
    ]
    assert merge_scopes(["repository:a:pull,push repository:b:pull"]) == merge_scopes(
        ["repository:b:pull", "repository:a:push,pull"]
    )
    assert list(map(str, push("a", "b"))) == ["repository:a:pull,push", "repository:b:pull"]


NAMES = st.sampled_from(["a", "a/b", "c:5000/d"])
SCOPES = st.builds(
    lambda name, actions: f"repository:{name}:{','.join(actions)}",
    NAMES,
    st.lists(st.sampled_from(["pull", "push", "delete"]), min_size=1),
)


@given(st.lists(SCOPES, max_size=4), st.lists(SCOPES, max_size=4))
def test_more_scopes_cover_fewer(have: list[str], wanted: list[str]) -> None:
    """What one has covers what one wants exactly if adding the wish changes nothing."""
    assert covers([*have, *wanted], wanted)
    assert covers(have, wanted) == (set(pairs(wanted)) <= set(pairs(have)))


def pairs(scopes: list[str]) -> list[tuple[str, str]]:
    return [(scope.rpartition(":")[0], action) for scope in scopes for action in scope.rpartition(":")[2].split(",")]


def test_an_anonymous_token_is_asked_for_without_a_secret() -> None:
    """GET with service and scope, after what the realm holds already."""
    [way] = token_requests(BEARER, list(map(str, pull("a/b"))), None)
    assert way.method == "GET"
    assert "Authorization" not in way.headers
    assert parse_qs(urlsplit(way.url).query) == {"x": ["1"], "service": ["reg"], "scope": ["repository:a/b:pull"]}


def test_a_password_never_stands_in_a_url() -> None:
    """It goes in a header, or in a form."""
    for way in token_requests(BEARER, [], Credential("me", "pa&ss")):
        assert "pa" not in way.url.partition("?")[2].replace("account", "")
    assert parse_qs(token_requests(BEARER, [], Credential("me", "pa&ss"))[1].body or b"")[b"password"] == [b"pa&ss"]


def test_secrets_do_not_show() -> None:
    """repr() of what holds a secret holds none."""
    credential = Credential("me", "s3cret", "identity", "registry")
    shown = repr(credential) + repr(token_requests(BEARER, [], credential)) + repr(Token("tokenvalue", 0, frozenset()))
    for secret in ("s3cret", "identity", "registry", "tokenvalue", "bWU6"):
        assert secret not in shown


def test_tokens_live_as_long_as_they_say() -> None:
    """expires_in counts, a minute at least; both names of the token are read."""
    assert parse_token(b'{"token":"a","expires_in":300}', [], 0).expires == 290
    assert parse_token(b'{"access_token":"a","expires_in":1}', [], 0).expires == 50
    assert parse_token(b'{"token":"a"}', [], 0).expires == 50


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token":7}', b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_token_is_told(body: bytes) -> None:
    """Anything else is an error of wasme's."""
    with pytest.raises(NotARegistry):
        parse_token(body, [], 0)


@pytest.mark.parametrize("value", ["a b", "a\r\nX: y", "ä", "a" * 70_000, "\x00"])
def test_tokens_that_would_break_a_header(value: str) -> None:
    """They are refused."""
    with pytest.raises(UnsafeAnswer):
        parse_token(json.dumps({"token": value}).encode(), [], 0)


def test_the_cache_gives_what_covers_and_lasts() -> None:
    """A token for push serves a pull; an old one, another repository or another registry's does not."""
    cache = TokenCache()
    cache.put("r", Token("t", 100, frozenset(["repository:a:pull,push"])))
    assert cache.get("r", ["repository:a:pull"], 50) is not None
    assert cache.get("r", ["repository:a:pull"], 101) is None
    assert cache.get("r", ["repository:b:pull"], 50) is None
    assert cache.get("other", ["repository:a:pull"], 50) is None
    cache.drop("r", "t")
    assert cache.get("r", ["repository:a:pull"], 50) is None
