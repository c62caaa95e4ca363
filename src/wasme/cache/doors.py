"""Doors: the ways in which one image may be asked for, by the credentials that the agent has.

First with the agent's own: the flags' pair, or its files (Secrets mounted into the pod, which change under it), or
nobody's. Where that is refused, the labelled Secrets of the cache's namespace are read, once for the pull that needs
them, and those that name this registry and may be used for this image are tried in turn. What opened a repository is
tried first the next time, for as long as its Secret is there.

Whoever may edit the cache's list may lead a registry's name anywhere, so what the list leads gets only credentials of
the server that it is led to, and none without TLS. The flags are the cache's keeper's, and what they lead is trusted.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from wasme.cache.secrets import PullSecret, credential_in, offered
from wasme.errors import ClusterError, ClusterUnreachable
from wasme.image.reference import Reference
from wasme.registry import credentials
from wasme.registry.auth import Credential
from wasme.registry.credentials import Keychain
from wasme.registry.endpoint import resolve
from wasme.registry.session import Session
from wasme.registry.settings import Settings, load
from wasme.registry.transport import ConnectionOptions

log = logging.getLogger(__name__)

Names = frozenset[str]
"""Namespaces whose filters need an image."""

_FRESH_SECONDS = 5.0
_TRUSTED_SECONDS = 600.0
"""Seconds after which it is looked whether a Secret that opened a repository is still there."""
_MOST_TRIED = 32
_BY_SECRET = "secret:"  # noqa: S105 - how keys of sessions begin
_OUTSIDE = " outside"
_STRANGERS = 100
_MOST_REMEMBERED = 10_000


class _Ways(NamedTuple):
    """Where names lead, as one session knows it for its whole life: the list may change while it waits for an answer.

    Attributes:
        led: all names that lead elsewhere.
        untrusted: those of them that only the cluster's list says so of.
        plain_http: TLS is spoken to no registry.
    """

    led: Mapping[str, str]
    untrusted: frozenset[str]
    plain_http: bool

    def credential_hosts(self, name: str) -> tuple[str, ...]:
        """The names under which credentials for a registry, as typed, may be looked up; none: it gets none."""
        at = resolve(name, self.led, plain_http=self.plain_http)
        if (name if name in self.led else name.lower()) not in self.untrusted:
            return at.credential_hosts
        if at.origin.scheme != "https" and not at.origin.is_loopback:
            return ()
        return (at.origin.netloc,)


class _Own(Keychain):
    """The agent's own credentials, asked for under the names that the map allows."""

    def __init__(self, ways: _Ways, username: str, password: str, files: Sequence[str]) -> None:
        super().__init__(username, password, files)
        self._ways = ways

    def lookup(self, *hosts: str) -> Credential | None:
        allowed = self._ways.credential_hosts(hosts[0])
        return super().lookup(*allowed) if allowed else None


class _FromSecret(Keychain):
    """What a Secret has for one registry, by its name as typed, and for no other that might ask for it."""

    def __init__(self, ways: _Ways, name: str, secret: PullSecret) -> None:
        super().__init__(files=())
        self._name = name
        self._credential = _found(secret, ways.credential_hosts(name))

    def lookup(self, *hosts: str) -> Credential | None:
        return self._credential if hosts[0] == self._name else None


class _Nobody(Keychain):
    """No credential for anyone."""

    def lookup(self, *hosts: str) -> Credential | None:  # noqa: ARG002
        return None


class Doors:
    """The sessions of one agent; safe from threads.

    Args:
        options: how to connect.
        username, password: the pair for every registry, if one was given.
        files: credential files, asked in place of the default ones.
        registry_map: where names lead, by the flags; goes before the cluster's.
        secrets: reads the labelled Secrets; None where there is no cluster.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        username: str = "",
        password: str = "",
        files: Sequence[str] = (),
        registry_map: Mapping[str, str] | None = None,
        secrets: Callable[[], list[PullSecret]] | None = None,
    ) -> None:
        self._options = options
        self._given = (username, password, tuple(files))
        self._map = dict(registry_map or {})
        self._led: dict[str, str] = {}
        self._read_secrets = secrets
        self._secrets: list[PullSecret] = []
        self._secrets_at = float("-inf")
        self._sessions: dict[str, Session] = {}
        self._all: weakref.WeakSet[Session] = weakref.WeakSet()
        self._files_seen: object = None
        self._opened: dict[tuple[str, Names], str] = {}
        self._strangers = 0
        self._told = ""
        self._lock = threading.Lock()
        self._closed = False

    def lead(self, registry_map: Mapping[str, str]) -> None:
        """Follow the cluster's registry map from now on; the list has changed."""
        with self._lock:
            self._secrets_at = float("-inf")  # a Secret may have come with the image that needs it
            if dict(registry_map) != self._led:
                self._led = dict(registry_map)
                # Transfers under way end as they began; a session that nobody holds closes itself.
                self._sessions.clear()

    def of(self, reference: Reference, namespaces: Names = frozenset(), *, outside: bool = False) -> Iterator[Session]:
        """The sessions to try for an image, one after the other, until one opens; `opened` tells which did.

        Args:
            reference: the image.
            namespaces: those whose filters need it; their pull secrets may be used.
            outside: none of them connects to this machine.
        """
        tried = set()
        first = "" if outside else self._opened.get((reference.name, namespaces), "")
        if first:
            # Not asked for at each pull, so that nothing but the watch is open while nothing changes.
            self._read(_TRUSTED_SECONDS)
            with self._lock:
                known = self._sessions.get(first)
            if known is not None:
                tried.add(first)
                yield known
        yield self._own(outside=outside)
        for key, session in self._by_secrets(reference, namespaces, outside=outside):
            if key not in tried:
                tried.add(key)
                yield session

    def anonymous(self, *, outside: bool = False) -> Session:
        """A session for nobody: for what strangers ask for.

        It is a new one now and then, for it remembers each registry, and strangers may name any number of them.
        """
        with self._lock:
            self._strangers += 1
            if self._strangers % _STRANGERS == 0:
                self._sessions.pop("anonymous", None)
                self._sessions.pop("anonymous" + _OUTSIDE, None)
        return self._session("anonymous", lambda _: _Nobody(), outside=outside)

    def opened(self, reference: Reference, session: Session, namespaces: Names = frozenset()) -> None:
        """Note which session got an image."""
        with self._lock:
            key = next((key for key, each in self._sessions.items() if each is session), "")
            if key.endswith(_OUTSIDE):
                return  # what is tried first is the agent's own business
            if key.startswith(_BY_SECRET):
                if len(self._opened) >= _MOST_REMEMBERED:
                    self._opened.clear()
                self._opened[reference.name, namespaces] = key
            else:
                self._opened.pop((reference.name, namespaces), None)

    def close(self) -> None:
        """End all traffic; whoever waits for an answer gets an error."""
        with self._lock:
            self._closed = True
            sessions = list(self._all)
        for session in sessions:
            session.close()

    def _own(self, *, outside: bool = False) -> Session:
        username, password, files = self._given
        seen = tuple(_look(Path(file)) for file in files or (credentials.default_file(), credentials.docker_file()))
        with self._lock:
            if seen != self._files_seen:
                self._files_seen = seen
                self._sessions.pop("own", None)
                self._sessions.pop("own" + _OUTSIDE, None)
        return self._session("own", lambda ways: _Own(ways, username, password, files), outside=outside)

    def _session(self, key: str, keychain: Callable[[_Ways], Keychain], *, outside: bool = False) -> Session:
        options = replace(self._options, outside=True) if outside else self._options
        key += _OUTSIDE * outside
        with self._lock:
            if key not in self._sessions:
                settings = load()
                ways = self._ways(settings)
                self._sessions[key] = Session(
                    options, keychain(ways), ways.led, settings=Settings({}, settings.auth_realms)
                )
                self._all.add(self._sessions[key])
                if self._closed:
                    self._sessions[key].close()
            return self._sessions[key]

    def _ways(self, settings: Settings) -> _Ways:
        led = self._led
        whole = {**settings.registry_map, **led, **self._map}
        return _Ways(whole, frozenset(led.keys() - self._map.keys()), self._options.plain_http)

    def _by_secrets(self, reference: Reference, namespaces: Names, *, outside: bool) -> Iterator[tuple[str, Session]]:
        name = reference.domain
        hosts = self._ways(load()).credential_hosts(name)
        count = 0
        for secret in offered(self._read(_FRESH_SECONDS), namespaces):
            if _found(secret, hosts) is not None and count < _MOST_TRIED:
                count += 1
                key = f"{_BY_SECRET}{secret.key} {name}"
                made = self._session(key, partial(_FromSecret, name=name, secret=secret), outside=outside)
                yield key, made

    def _read(self, age: float) -> list[PullSecret]:
        """The labelled Secrets, read anew if that was longer ago; many pulls that fail at once read them once."""
        if self._read_secrets is None:
            return []
        with self._lock:
            if time.monotonic() - self._secrets_at < age:
                return self._secrets
        try:
            found = self._read_secrets()
        except ClusterError as error:
            if error.message != self._told:
                self._told = error.message
                log.warning("pull secrets cannot be read", extra={"fields": {"reason": error.message}})
            # A server that is away for a while has deleted nothing.
            found = self._secrets if isinstance(error, ClusterUnreachable) else []
        there = tuple(_BY_SECRET + each.key for each in found)
        with self._lock:
            self._secrets, self._secrets_at = found, time.monotonic()
            # What is gone, or has another content now, is used no more; transfers under way end as they began.
            for key in [key for key in self._sessions if key.startswith(_BY_SECRET) and not key.startswith(there)]:
                del self._sessions[key]
            self._opened = {image: key for image, key in self._opened.items() if key in self._sessions}
        return found


def _found(secret: PullSecret, hosts: Sequence[str]) -> Credential | None:
    return next(filter(None, (credential_in(secret, host) for host in hosts)), None)


def _look(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
