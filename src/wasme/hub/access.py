"""Who is asking, and what they may do.

Authentication is HTTP Basic, and nothing else: every registry client speaks it (skopeo, docker, containerd, oras,
go-containerregistry and so Istio, the original wasme), it needs no token service, no clock and no key to guard, and a
removed account or a changed password counts from the next request on, which no token can promise. Its price, an
argon2 computation for each request, is paid once: a verified pair is remembered for some minutes under a keyed hash,
and holds only as long as the account's password hash is still the same.

Browsers are kept out of writing: a page of another site may make its visitor's browser send requests here, with the
visitor's cached password or to an open hub on the visitor's machine. Such requests carry an ``Origin``. And a hub that
only this machine can reach answers only to this machine's names, since any name can be made to resolve to it: without
that, a page could read what its visitor's hub holds (DNS rebinding).

``GET /v2/`` answers an anonymous client 401, though anonymous pulls are allowed: clients ask there whether to send
credentials at all, and would push without them otherwise.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from wasme.hub.accounts import Accounts, User
from wasme.hub.names import namespace
from wasme.hub.passwords import MAX_PASSWORD, is_right
from wasme.hub.refusal import Refusal
from wasme.hub.settings import Settings, is_loopback
from wasme.hub.throttle import FOR_ONE_ACCOUNT, Throttle, source

log = logging.getLogger(__name__)

CHALLENGE = ("www-authenticate", 'Basic realm="wasme hub", charset="UTF-8"')

_REMEMBER = 300.0
_MAX_REMEMBERED = 10_000
_MAX_WAITING = 64
_MAX_WAITING_FROM_ONE = FOR_ONE_ACCOUNT
_MAX_SLOWED = 64
_MAX_SLOWED_FOR_ONE = 16
_MAX_HEADER = 4 * (MAX_PASSWORD + 128)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        user: the account; None for an anonymous client.
        address: the client's address.
    """

    user: User | None
    address: str

    @property
    def name(self) -> str | None:
        """The account's name, or None."""
        return self.user.name if self.user else None


class Access:
    """Checks credentials and rights."""

    def __init__(
        self,
        settings: Settings,
        accounts: Accounts,
        throttle: Throttle,
        files: ThreadPoolExecutor,
        on_failure: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._on_loopback = is_loopback(settings.host)
        self._accounts = accounts
        self._throttle = throttle
        self._files = files
        self._on_failure = on_failure
        # Two at a time: each computation takes 19 MiB and a processor.
        self._hashing = ThreadPoolExecutor(2, thread_name_prefix="argon2")
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, tuple[str, float]] = {}
        self._asking: dict[bytes, asyncio.Future[bool]] = {}
        self._waiting: Counter[str] = Counter()
        self._slowed: Counter[str] = Counter()

    async def identify(self, authorization: str | None, address: str) -> Caller:
        """Who sends this ``Authorization`` header from ``address``.

        Raises:
            Refusal: 401 for wrong credentials, 429 for too many wrong ones.
        """
        pair = _basic(authorization)
        if pair is None:
            return Caller(None, address)
        name, password = pair
        found = self._accounts.with_secret(name)
        mark = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if found is not None:
            user, password_hash = found
            known = self._verified.get(mark)
            if known is not None and known[0] == password_hash and known[1] > time.monotonic():
                return Caller(user, address)
        secret = found[1] if found else None
        if not await self._is_right(mark, address, name, secret, password) or found is None:
            raise Refusal(
                401,
                "UNAUTHORIZED",
                f"the password of {name[:64]!r} is wrong, or there is no such user",
                headers=[CHALLENGE],
            )
        return Caller(found[0], address)

    def check_host(self, host: str | None, *, forwarded: bool) -> None:
        """Whether a hub on loopback was called by a name of this machine.

        Args:
            host: the request's ``Host``.
            forwarded: whether a proxy that is believed sent it on, under the name by which others know the hub.

        Raises:
            Refusal: 421 for any other name.
        """
        if self._on_loopback and not forwarded and not is_loopback(_without_port(host or "")):
            raise Refusal(
                421,
                "DENIED",
                "this hub listens on this machine only and is called localhost or by its address; behind a reverse "
                "proxy it needs --trusted-proxy",
            )

    def check_pull(self, caller: Caller) -> None:
        """Whether the caller may read.

        Raises:
            Refusal: 401 for an anonymous client of a private hub.
        """
        if self._settings.private and caller.user is None:
            raise unauthorized("this hub shows nothing without an account")

    def check_push(self, caller: Caller, repository: str, host: str | None, origin: str | None) -> None:
        """Whether the caller may write to ``repository``.

        Args:
            caller: who asks.
            repository: where to.
            host: the request's ``Host``.
            origin: the request's ``Origin``, which browsers send along and registry clients do not.

        Raises:
            Refusal: 401 without an account, 403 DENIED outside the caller's name space.
        """
        if origin is not None and _is_foreign(origin, host or ""):
            raise Refusal(403, "DENIED", "pushes are not taken from web pages of other servers")
        if self._settings.open and is_loopback(_without_port(host or "")):
            return
        if caller.user is None:
            raise unauthorized("pushing needs an account on this hub: wasme login, or ask its operator for one")
        if caller.user.admin:
            return
        mine = caller.user.name
        if namespace(repository) != mine or "/" not in repository:
            raise Refusal(
                403,
                "DENIED",
                f"{mine} may push under {mine}/ only, and {repository} is not there; push to {mine}/NAME",
                detail={"namespace": mine, "repository": repository},
            )

    async def _is_right(self, mark: bytes, address: str, name: str, secret: str | None, password: str) -> bool:
        """Compute, once for all requests that ask the same at the same time."""
        running = self._asking.get(mark)
        if running is None:
            origin = source(address)
            pause = self._throttle.check(origin, name)
            slowed = name if pause else None
            if not self._has_room(origin, slowed):
                raise Refusal(
                    429, "TOOMANYREQUESTS", "too many logins at once; try again", headers=[("retry-after", "2")]
                )
            running = asyncio.ensure_future(self._verify(mark, address, name, secret, password, pause))
            self._asking[mark] = running
            self._waiting[origin] += 1
            if slowed is not None:
                self._slowed[slowed] += 1
            running.add_done_callback(lambda _: self._answered(mark, origin, slowed))
        return await asyncio.shield(running)

    def _has_room(self, origin: str, slowed: str | None) -> bool:
        """Whether one more may wait. Attempts that are slowed wait apart, so that they take nobody else's place."""
        if self._waiting[origin] >= _MAX_WAITING_FROM_ONE:
            return False
        all_slowed = self._slowed.total()
        if slowed is not None:
            return all_slowed < _MAX_SLOWED and self._slowed[slowed] < _MAX_SLOWED_FOR_ONE
        return len(self._asking) - all_slowed < _MAX_WAITING

    def _answered(self, mark: bytes, origin: str, slowed: str | None) -> None:
        del self._asking[mark]
        for counter, key in ((self._waiting, origin), (self._slowed, slowed)):
            if key is not None:
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

    async def _verify(
        self, mark: bytes, address: str, name: str, secret: str | None, password: str, pause: float
    ) -> bool:
        origin = source(address)
        await asyncio.sleep(pause)
        loop = asyncio.get_running_loop()
        right = await loop.run_in_executor(self._hashing, is_right, secret, password)
        if right:
            assert secret is not None
            self._verified[mark] = (secret, time.monotonic() + _REMEMBER)
            while len(self._verified) > _MAX_REMEMBERED:
                del self._verified[next(iter(self._verified))]
            await loop.run_in_executor(self._files, self._throttle.succeeded, origin, name)
        else:
            self._on_failure()
            # An unknown name may be a password, typed one field early.
            known = name if secret is not None else "(unknown)"
            log.warning("wrong password", extra={"fields": {"user": known, "address": address}})
            await loop.run_in_executor(self._files, self._throttle.failed, origin, name)
        return right


def unauthorized(message: str) -> Refusal:
    """401 that asks for credentials."""
    return Refusal(401, "UNAUTHORIZED", message, headers=[CHALLENGE])


def _basic(authorization: str | None) -> tuple[str, str] | None:
    """The pair in the header; None for no credentials.

    Some clients send an empty pair where they have none (skopeo); that is anonymous too.
    """
    if not authorization:
        return None
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise unauthorized(f"this hub takes Basic credentials, not {scheme[:20]!r}")
    try:
        if len(encoded) > _MAX_HEADER:
            raise ValueError
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (ValueError, binascii.Error, UnicodeDecodeError):
        raise unauthorized("the Authorization header is no Basic credentials") from None
    name, _, password = text.partition(":")
    return (name, password) if name or password else None


def _is_foreign(origin: str, host: str) -> bool:
    """Whether a page of another server sent the request; what is no URL is none of ours."""
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return True
    return not place or place.lower() != host.lower()


def _without_port(host: str) -> str:
    """``[::1]:5000`` and ``[::1]`` are ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
