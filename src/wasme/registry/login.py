"""Checking a login: a hub's own way first (Harbor's API, as the original did), then any OCI registry's."""

from __future__ import annotations

import logging

import msgspec

from wasme.errors import NotARegistry, Unauthorized
from wasme.registry import guards
from wasme.registry.auth import Credential
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.transport import Request

log = logging.getLogger(__name__)


class _User(msgspec.Struct):
    username: str
    realname: str = ""


def login(session: Session, server: str, username: str, password: str) -> str:
    """Check a user's password with a registry; nothing is stored.

    Args:
        session: how to reach it; its keychain is not asked.
        server: the registry's name as typed.
        username: who.
        password: or a token that serves as one.

    Returns:
        The user's real name as the hub tells it, else the username.

    Raises:
        Unauthorized: the registry does not accept them.
        RegistryError: it could not be asked.
    """
    mine = session.with_keychain(Keychain(username, password))
    basic = {"Authorization": Credential(username, password).basic or "", "Accept": "application/json"}
    host = session.endpoint(server).origin.netloc
    led = "" if host == server else f" ({host})"  # whom a registry map sends the password to
    what = f"logging in to {server}{led} as {username}"
    try:
        realname = _hub_user(mine, server, basic, what)
        if realname is not None:
            return realname
        challenged = _oci(mine, server, basic, what)
    except Unauthorized:
        raise Unauthorized(
            f"{what}: wrong username or password", hint="nothing was stored; many registries want a token here"
        ) from None
    finally:
        mine.close()
    if not challenged:
        log.warning(
            "the registry asks nobody for a login, so the password could not be checked",
            extra={"fields": {"registry": server}},
        )
    return username


def _hub_user(session: Session, server: str, basic: dict[str, str], what: str) -> str | None:
    """Harbor's ``GET /api/users/current``; None where the server has no such thing."""
    request = Request("GET", "/api/users/current", basic)
    try:
        response = session.call(server, request, what=what, expect=range(200, 600), credentials=False)
    except NotARegistry:
        return None
    body = response.read_all(guards.ANSWER_LIMIT)
    response.close()
    # The registry's own door decides about everything else, a 401 too: it may be a web server's before a registry.
    if response.status != 200 or len(body) > guards.ANSWER_LIMIT:
        return None
    try:
        user = msgspec.json.decode(body, type=_User)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return guards.printable(user.realname or user.username, 100)


def _oci(session: Session, server: str, basic: dict[str, str], what: str) -> bool:
    """``GET /v2/``, answering what it asks for; whether it asked at all."""
    anonymous = session.call(server, Request("GET", "/v2/"), what=what, expect=(200, 401), credentials=False)
    anonymous.drain()
    if anonymous.status == 401:
        session.call(server, Request("GET", "/v2/"), what=what, expect=(200,)).drain()
        return True
    # Open to all; a wrong password may be refused all the same.
    session.call(server, Request("GET", "/v2/", basic), what=what, expect=(200,), credentials=False).drain()
    return False
