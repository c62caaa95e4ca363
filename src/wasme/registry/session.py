"""A session: one user's way to registries. It adds credentials, follows redirects, and turns refusals into errors."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Mapping

from msgspec.structs import replace

from wasme.errors import RegistryError, Throttled, Unauthorized, UnsafeAnswer
from wasme.registry import answers, auth, challenge, guards
from wasme.registry.auth import Credential, Scope, Token, TokenCache
from wasme.registry.connecting import SpeaksTls
from wasme.registry.credentials import Keychain
from wasme.registry.endpoint import Endpoint, resolve
from wasme.registry.origin import Origin, join, redact
from wasme.registry.settings import Settings, load
from wasme.registry.transport import ConnectionOptions, Request, Response, Transport

log = logging.getLogger(__name__)

_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class _Door:
    """What is known of one registry's door: how it wants to be asked."""

    def __init__(self) -> None:
        self.kind = ""
        self.realm = ""
        self.service = ""
        self.scope = ""
        self.lock = threading.Lock()

    @property
    def challenge(self) -> challenge.Challenge:
        return challenge.Challenge(
            "bearer", {"realm": self.realm, **({"service": self.service} if self.service else {})}
        )


class Session:
    """Talks to registries; safe from threads, and cheap to keep.

    Args:
        options: how to connect.
        keychain: who one is.
        registry_map: where names lead; added to the settings' own map. None reads the settings alone.
        settings: what the user's file says; None reads it.
    """

    def __init__(
        self,
        options: ConnectionOptions | None = None,
        keychain: Keychain | None = None,
        registry_map: Mapping[str, str] | None = None,
        *,
        settings: Settings | None = None,
    ) -> None:
        self.options = options or ConnectionOptions()
        self.keychain = keychain or Keychain()
        settings = settings or load()
        self._map = {**settings.registry_map, **(registry_map or {})}
        self._realms = settings.auth_realms
        self._transport = Transport(self.options)
        self._tokens = TokenCache()
        self._doors: dict[Origin, _Door] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._lock = threading.Lock()

    def endpoint(self, name: str) -> Endpoint:
        """Where the traffic for a registry's name goes.

        Raises:
            Unreachable, InvalidSettings: see ``endpoint.resolve``.
        """
        with self._lock:
            if name not in self._endpoints:
                self._endpoints[name] = resolve(name, self._map, plain_http=self.options.plain_http)
            return self._endpoints[name]

    def with_keychain(self, keychain: Keychain) -> Session:
        """The same way out for another user; shares no connection and no token."""
        return Session(self.options, keychain, self._map, settings=Settings({}, self._realms))

    def pause(self, seconds: float) -> None:
        """Sleep before asking again; not beyond `close`."""
        self._transport.pause(seconds)

    def close(self) -> None:
        """Close all connections for good; a thread that still waits for an answer gets an error."""
        self._transport.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def call(
        self,
        name: str,
        request: Request,
        *,
        what: str,
        expect: Collection[int],
        scopes: tuple[Scope, ...] = (),
        credentials: bool = True,
    ) -> Response:
        """Send one request to the registry ``name`` and get an expected answer.

        Args:
            name: the registry's name as typed.
            request: its URL is a path of the registry's (``/v2/…``), or absolute (an upload's location).
            what: for messages, as in "pulling host/name:tag".
            expect: the status codes that are answers; any other is an error.
            scopes: what a token must be good for.
            credentials: False sends none, for a location on another server.

        Raises:
            RegistryError: what the registry answered, or why there was no answer.
        """
        response = self._open_door(name, request, scopes, what, credentials=credentials)
        at = self.endpoint(name)
        if response.status in expect:
            # A captive portal or a login page says 200 to everything, a push too.
            if response.status < 300 and response.origin == at.origin and answers.claims_page(response):
                raise answers.page(response, what)
            self._show_warning(response)
            return response
        used = self._credential(at) if credentials and response.origin == at.origin else None
        raise answers.refusal(
            response,
            what,
            credential=used.origin or "the keychain" if used else None,
            keychain_problems="; ".join(self.keychain.problems),
        )

    def _open_door(
        self, name: str, request: Request, scopes: tuple[Scope, ...], what: str, *, credentials: bool
    ) -> Response:
        at = self.endpoint(name)
        absolute = request if "://" in request.url else replace(request, url=at.url(request.url))
        try:
            response = self._authorized(at, absolute, scopes, what, credentials=credentials)
        except SpeaksTls:
            if not at.may_upgrade:
                raise
        else:
            if not self._complains_about_plain(at, response):
                return response
        # Plain http was only assumed, since the host is this machine; going up to TLS is always safe.
        log.debug("speaking TLS", extra={"fields": {"registry": at.name}})
        with self._lock:
            self._endpoints[name] = replace(at, origin=replace(at.origin, scheme="https"), may_upgrade=False)
        return self._open_door(name, request, scopes, what, credentials=credentials)

    def _complains_about_plain(self, at: Endpoint, response: Response) -> bool:
        """Whether the registry itself says, in its known words, that it speaks TLS; the body can still be read."""
        if not at.may_upgrade or response.status != 400 or response.origin != at.origin:
            return False
        if response.request.method != "HEAD":
            return answers.wants_tls(response, response.peek(2000))
        # The answer to a HEAD has no words: they are asked for, of nothing in particular and as nobody.
        response.drain()
        with self._transport.send(Request("GET", at.url("/v2/"))) as told:
            return answers.wants_tls(told, told.peek(2000))

    def _authorized(
        self, at: Endpoint, request: Request, scopes: tuple[Scope, ...], what: str, *, credentials: bool
    ) -> Response:
        """Send with what is known to open the door; learn from one 401, and try once more."""
        wanted = [str(scope) for scope in scopes]
        for attempt in (1, 2):
            header, token = self._header(at, wanted, what) if credentials else (None, None)
            headers = {**request.headers, **({"Authorization": header} if header else {})}
            response = self._follow(replace(request, headers=headers), at)
            if response.status != 401 or not credentials or attempt == 2:
                return response
            if not guards.answers_challenge(response.origin, at.origin):
                return response
            if token is not None:
                self._tokens.drop(self._token_key(at), token.value)
            if not self._learn(at, response, refused=header):
                return response
            response.drain()
        raise AssertionError("unreachable")

    def _follow(self, request: Request, at: Endpoint) -> Response:
        """Follow redirects by hand."""
        for _ in range(guards.MAX_REDIRECTS):
            response = self._transport.send(request)
            if response.status not in _REDIRECTS:
                return response
            location = response.header("Location")
            if not location:
                return response
            if request.method not in ("GET", "HEAD") and (
                response.status not in (307, 308) or not isinstance(request.body, bytes | None)
            ):
                return response
            response.drain()
            to = join(request.url, location)
            guards.check_redirect(response.origin, to)
            headers = guards.without_credentials(request.headers, response.origin, Origin.of(to))
            request = replace(request, url=to, headers=headers, led_by=response.origin)
        raise UnsafeAnswer(f"{at.origin.netloc} redirects without end")

    def _learn(self, at: Endpoint, response: Response, refused: str | None) -> bool:
        """Note what the 401 asks for; False where there is nothing (more) to try."""
        found = challenge.parse(response.headers("WWW-Authenticate"))
        door = self._door(at)
        bearer = next((each for each in found if each.scheme == "bearer" and each.parameters.get("realm")), None)
        with door.lock:
            if bearer is not None:
                door.kind = "bearer"
                door.realm = bearer.parameters["realm"]
                door.service = bearer.parameters.get("service", "")
                door.scope = bearer.parameters.get("scope", "")
                return True
            if any(each.scheme == "basic" for each in found):
                door.kind = "basic"
                credential = self._credential(at)
                return credential is not None and credential.basic is not None and credential.basic != refused
        return False

    def _header(self, at: Endpoint, wanted: list[str], what: str) -> tuple[str | None, Token | None]:
        """The Authorization header for a door that is known; nothing for one that is not."""
        door = self._door(at)
        if not door.kind:
            return None, None
        credential = self._credential(at)
        if credential is not None and credential.registry_token:
            return f"Bearer {credential.registry_token}", None
        if door.kind == "basic":
            return (credential.basic if credential else None), None
        # One thread asks, the others use what it got.
        with door.lock:
            scopes = auth.merge_scopes([*wanted, *([door.scope] if door.scope else [])])
            token = self._tokens.get(self._token_key(at), scopes, time.monotonic())
            if token is None:
                token = self._ask_for_token(at, door, scopes, credential, what)
                self._tokens.put(self._token_key(at), token)
            # The scope of one challenge says nothing about the next call.
            door.scope = ""
        return f"Bearer {token.value}", token

    def _ask_for_token(
        self, at: Endpoint, door: _Door, scopes: list[str], credential: Credential | None, what: str
    ) -> Token:
        with_secret = credential is not None and bool(credential.basic or credential.identity_token)
        trusted = (*self._realms.get(at.name, ()), *self._realms.get(at.origin.netloc, ()))
        guards.check_realm(door.realm, at.origin, with_secret=with_secret, trusted=trusted)
        ways = auth.token_requests(door.challenge, scopes, credential)
        for number, way in enumerate(ways):
            # A token service that redirects is not followed: the password would travel on.
            request = Request(way.method, way.url, way.headers, way.body, repeatable=True, led_by=at.origin)
            response = self._transport.send(request)
            if response.status in way.give_way and number + 1 < len(ways):
                response.drain()
                continue
            return self._read_token(at, response, scopes, credential, what)
        raise AssertionError("unreachable")

    def _read_token(
        self, at: Endpoint, response: Response, scopes: list[str], credential: Credential | None, what: str
    ) -> Token:
        service = redact(response.request.url).partition("?")[0]
        if response.status == 200:
            body = response.read_all(guards.ANSWER_LIMIT)
            response.close()
            guards.check_size(len(body), guards.ANSWER_LIMIT, f"the answer of the token service {service}")
            return auth.parse_token(body, scopes, time.monotonic())
        body = response.read_all(64 * 1024)
        response.close()
        words = answers.said(body)
        quoted = f" ({words})" if words else ""
        if response.status in (400, 401, 403):
            source = credential.origin or "the keychain" if credential else None
            raise Unauthorized(
                f"{what}: the token service {service} refused "
                + (f"the credentials from {source}" if source else "an anonymous token")
                + f": {response.status}{quoted}",
                hint=f"log in with `wasme login -s {at.name}`, and check the name of the repository",
            )
        kind = Throttled if response.status == 429 else RegistryError
        raise kind(f"{what}: the token service {service} answered {response.status}{quoted}", hint="try again later")

    def _credential(self, at: Endpoint) -> Credential | None:
        return self.keychain.lookup(*at.credential_hosts)

    def _door(self, at: Endpoint) -> _Door:
        with self._lock:
            return self._doors.setdefault(at.origin, _Door())

    @staticmethod
    def _token_key(at: Endpoint) -> object:
        return at.origin, at.name

    @staticmethod
    def _show_warning(response: Response) -> None:
        """Registries may warn (distribution specification, Warning header), and users should see it."""
        for value in response.headers("Warning")[:3]:
            if value.startswith('299 - "'):
                text = guards.printable(value[7:].rstrip('"'))
                log.warning(text, extra={"fields": {"registry": response.origin.netloc}})
