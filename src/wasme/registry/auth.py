"""How to get in, without any I/O: which tokens to ask for, in which words, and what the answers mean.

Docker's token protocol (distribution.github.io/distribution/spec/auth): a 401 names a realm, a service and perhaps a
scope; the realm gives a token for them. A password goes by GET with Basic, which every token service must know, and by
OAuth2's POST where GET is refused; an identity token (a refresh token) goes by POST, and by GET where POST is refused.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from urllib.parse import urlencode

import msgspec

from wasme.errors import NotARegistry
from wasme.registry import guards
from wasme.registry.challenge import Challenge
from wasme.registry.origin import redact, with_query

CLIENT_ID = "wasme"
_SHORTEST_LIFE = 60.0
_EARLY = 10.0


class Credential(msgspec.Struct, frozen=True):
    """Who one is for one registry.

    Attributes:
        username: may be "" beside a token.
        password: or None.
        identity_token: an OAuth2 refresh token, or None.
        registry_token: a ready bearer token, or None.
        origin: where it was found, for messages.
    """

    username: str = ""
    password: str | None = None
    identity_token: str | None = None
    registry_token: str | None = None
    origin: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, from {self.origin!r})"

    @property
    def basic(self) -> str | None:
        """The value of a Basic Authorization header; None without a password."""
        if self.password is None:
            return None
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode()


class Scope(msgspec.Struct, frozen=True):
    """What one wants to do: actions on one repository, e.g. ``pull`` and ``push``."""

    repository: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(sorted(self.actions))}"


def pull(repository: str) -> tuple[Scope, ...]:
    """The scope for reading."""
    return (Scope(repository, frozenset(("pull",))),)


def push(repository: str, source: str | None = None) -> tuple[Scope, ...]:
    """The scope for writing, and for mounting from another repository."""
    wanted = Scope(repository, frozenset(("pull", "push")))
    return (wanted, *pull(source)) if source else (wanted,)


class Token(msgspec.Struct, frozen=True):
    """A bearer token and what it is good for."""

    value: str
    expires: float
    scopes: frozenset[str]
    refresh_token: str | None = None

    def __repr__(self) -> str:
        return f"Token(for {sorted(self.scopes)})"


class TokenRequest(msgspec.Struct, frozen=True):
    """One way to ask for a token; ``give_way`` are the answers that mean: ask the next way."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes | None = None
    give_way: frozenset[int] = frozenset()

    def __repr__(self) -> str:
        return f"TokenRequest({self.method} {redact(self.url)})"


def merge_scopes(scopes: Iterable[str]) -> list[str]:
    """Scopes of the same resource become one, actions and order settled, so that equal wishes are equal strings."""
    merged: dict[str, set[str]] = {}
    for scope in scopes:
        for part in scope.split():
            resource, colon, actions = part.rpartition(":")
            merged.setdefault(resource if colon else part, set()).update(
                filter(None, actions.split(",")) if colon else ()
            )
    return sorted(
        f"{resource}:{','.join(sorted(actions))}" if actions else resource for resource, actions in merged.items()
    )


def covers(have: Iterable[str], wanted: Iterable[str]) -> bool:
    """Whether the scopes one has hold all those one wants."""
    both = merge_scopes([*have, *wanted])
    return both == merge_scopes(have)


def token_requests(challenge: Challenge, scopes: list[str], credential: Credential | None) -> list[TokenRequest]:
    """The ways to ask for a token, the best one first.

    Args:
        challenge: a Bearer challenge; one without scope is answered with the scopes that the call needs.
        scopes: merged scopes.
        credential: None asks for an anonymous token.
    """
    realm = challenge.parameters.get("realm", "")
    service = challenge.parameters.get("service")
    named = [("service", service)] if service else []
    asked = [("scope", scope) for scope in scopes]
    account = [("account", credential.username)] if credential and credential.username else []
    headers = {"Accept": "application/json"}
    plain = TokenRequest("GET", with_query(realm, *named, *asked) if named or asked else realm, headers)
    if credential is None:
        return [plain]

    def post(grant: list[tuple[str, str]], give_way: frozenset[int]) -> TokenRequest:
        form = urlencode([*grant, *named, ("client_id", CLIENT_ID), ("scope", " ".join(scopes))])
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", realm, {**headers, **kind}, form.encode(), give_way)

    if credential.identity_token:
        ways = [
            post(
                [("grant_type", "refresh_token"), ("refresh_token", credential.identity_token)],
                frozenset((401, 404, 405)) if credential.username else frozenset(),
            )
        ]
        if credential.username:
            pair = Credential(credential.username, credential.identity_token)
            ways.append(
                TokenRequest(
                    "GET", with_query(realm, *account, *named, *asked), {**headers, "Authorization": pair.basic or ""}
                )
            )
        return ways
    if credential.basic is None:
        return [plain]
    return [
        TokenRequest(
            "GET",
            with_query(realm, *account, *named, *asked),
            {**headers, "Authorization": credential.basic},
            give_way=frozenset((404, 405)),
        ),
        post(
            [("grant_type", "password"), ("username", credential.username), ("password", credential.password or "")],
            frozenset(),
        ),
    ]


class _Answer(msgspec.Struct):
    token: str | None = None
    access_token: str | None = None
    expires_in: float | None = None
    refresh_token: str | None = None


def parse_token(body: bytes, scopes: Iterable[str], now: float) -> Token:
    """Read a token service's answer.

    Raises:
        NotARegistry: it is no token.
        UnsafeAnswer: it is one that must not stand in a header.
    """
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotARegistry("the token service's answer is no token") from None
    value = answer.token or answer.access_token
    if not value:
        raise NotARegistry("the token service's answer holds no token")
    life = max(answer.expires_in or 0.0, _SHORTEST_LIFE)
    return Token(guards.clean_token(value), now + life - _EARLY, frozenset(scopes), answer.refresh_token)


class TokenCache:
    """Tokens by who asked whom; a token with more scopes than needed will do."""

    def __init__(self) -> None:
        self._tokens: dict[object, list[Token]] = {}

    def get(self, key: object, scopes: Iterable[str], now: float) -> Token | None:
        """A token that is still good and covers the scopes."""
        wanted = list(scopes)
        for token in self._tokens.get(key, ()):
            if token.expires > now and covers(token.scopes, wanted):
                return token
        return None

    def put(self, key: object, token: Token) -> None:
        """Remember a token."""
        self._tokens.setdefault(key, []).append(token)

    def drop(self, key: object, value: str) -> None:
        """Forget a token that was refused."""
        self._tokens[key] = [token for token in self._tokens.get(key, []) if token.value != value]
