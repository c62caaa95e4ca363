"""Doors: the ways in which one image may be asked for, by the credentials that the agent has.

First with the agent's own: the flags' pair, or its files (Secrets mounted into the pod, which change under it), or
nobody's. Where that is refused, the labelled Secrets of the cache's namespace are read, once for the pull that needs
them, and those that name this registry are tried in turn. What opened a repository is tried first the next time.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import weakref
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from wasme.errors import ClusterError, InvalidSettings
from wasme.image.reference import Reference
from wasme.registry import credentials
from wasme.registry.auth import Credential
from wasme.registry.credentials import Keychain
from wasme.registry.session import Session
from wasme.registry.settings import Settings, load
from wasme.registry.transport import ConnectionOptions

log = logging.getLogger(__name__)

_FRESH_SECONDS = 5.0
_MOST_TRIED = 8
_STRANGERS = 100
_MOST_REMEMBERED = 10_000
DOCKER_CONFIG_KEY = ".dockerconfigjson"


class PullSecret(NamedTuple):
    """One labelled Secret, as the API server gave it.

    Attributes:
        name: of the object.
        data: its values, base64.
    """

    name: str
    data: Mapping[str, str]


class _OneHost(Keychain):
    """A credential for one registry, and for no other that might ask for it."""

    def __init__(self, host: str, found: Credential) -> None:
        super().__init__(files=())
        self._host = host
        self._credential = found

    def lookup(self, *hosts: str) -> Credential | None:
        return self._credential if any(credentials.same_registry(self._host, host) for host in hosts) else None


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
        self._opened: dict[str, str] = {}
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

    def of(self, reference: Reference) -> Iterator[Session]:
        """The sessions to try for an image, one after the other, until one opens; `opened` tells which did."""
        first = self._opened.get(reference.name, "")
        tried = {""}
        if first:
            tried.add(first)
            with self._lock:
                known = self._sessions.get(first)
            if known is not None:
                yield known
        yield self._own()
        for key, session in self._by_secrets(reference):
            if key not in tried:
                tried.add(key)
                yield session

    def anonymous(self) -> Session:
        """A session for nobody: for what strangers ask for.

        It is a new one now and then, for it remembers each registry, and strangers may name any number of them.
        """
        with self._lock:
            self._strangers += 1
            if self._strangers % _STRANGERS == 0:
                self._sessions.pop("anonymous", None)
        return self._session("anonymous", _Nobody)

    def opened(self, reference: Reference, session: Session) -> None:
        """Note which session got an image."""
        with self._lock:
            key = next((key for key, each in self._sessions.items() if each is session), "")
            if key.startswith("secret:"):
                if len(self._opened) >= _MOST_REMEMBERED:
                    self._opened.clear()
                self._opened[reference.name] = key
            else:
                self._opened.pop(reference.name, None)

    def close(self) -> None:
        """End all traffic; whoever waits for an answer gets an error."""
        with self._lock:
            self._closed = True
            sessions = list(self._all)
        for session in sessions:
            session.close()

    def _own(self) -> Session:
        username, password, files = self._given
        seen = tuple(_look(Path(file)) for file in files or (credentials.default_file(), credentials.docker_file()))
        with self._lock:
            if seen != self._files_seen:
                self._files_seen = seen
                self._sessions.pop("own", None)
        return self._session("own", lambda: Keychain(username, password, files))

    def _session(self, key: str, keychain: Callable[[], Keychain]) -> Session:
        with self._lock:
            if key not in self._sessions:
                settings = load()
                led = {**settings.registry_map, **self._led, **self._map}
                self._sessions[key] = Session(
                    self._options, keychain(), led, settings=Settings({}, settings.auth_realms)
                )
                self._all.add(self._sessions[key])
                if self._closed:
                    self._sessions[key].close()
            return self._sessions[key]

    def _by_secrets(self, reference: Reference) -> Iterator[tuple[str, Session]]:
        hosts = self._own().endpoint(reference.domain).credential_hosts
        count = 0
        for secret in self._fresh_secrets():
            for host in hosts:
                found = credential_in(secret, host)
                if found is not None and count < _MOST_TRIED:
                    count += 1
                    told = f"{secret.name}\0{host}\0{found.basic}\0{found.identity_token}\0{found.registry_token}"
                    key = "secret:" + hashlib.sha256(told.encode()).hexdigest()
                    yield key, self._session(key, lambda host=host, found=found: _OneHost(host, found))  # type: ignore[misc]
                    break

    def _fresh_secrets(self) -> list[PullSecret]:
        """The labelled Secrets; many pulls that fail at once read them once."""
        if self._read_secrets is None:
            return []
        with self._lock:
            if time.monotonic() - self._secrets_at < _FRESH_SECONDS:
                return self._secrets
        try:
            found = self._read_secrets()
        except ClusterError as error:
            if error.message != self._told:
                self._told = error.message
                log.warning("pull secrets cannot be read", extra={"fields": {"reason": error.message}})
            found = []
        with self._lock:
            self._secrets, self._secrets_at = found, time.monotonic()
        return found


def from_list(found: Mapping[str, Any]) -> list[PullSecret]:
    """The Secrets of a list as the API server gives it; what is not as it should be is left out."""
    secrets = []
    for item in found.get("items") or []:
        data = item.get("data") or {}
        texts = {str(key): value for key, value in data.items() if isinstance(value, str)}
        secrets.append(PullSecret(str((item.get("metadata") or {}).get("name", "")), texts))
    return secrets


def credential_in(secret: PullSecret, host: str) -> Credential | None:
    """What a Secret holds for one registry: Docker's format, or username and password with the registry they are for.

    A pair that names no registry is for none: whoever may write a reference into the cache's list could have it sent
    anywhere else.
    """
    origin = f"the Secret {secret.name}"
    try:
        if DOCKER_CONFIG_KEY in secret.data:
            content: Any = msgspec.json.decode(b64decode(secret.data[DOCKER_CONFIG_KEY]))
            found = credentials.in_auths(content, host) if isinstance(content, dict) else None
            if found is None:
                return None
            return Credential(found.username, found.password, found.identity_token, found.registry_token, origin=origin)
        text = {key: b64decode(value).decode().strip("\r\n") for key, value in secret.data.items()}
    except (ValueError, msgspec.MsgspecError, RecursionError, InvalidSettings):
        log.warning("pull secret cannot be read", extra={"fields": {"secret": secret.name}})
        return None
    if not text.get("registry") or not credentials.same_registry(text["registry"], host):
        return None
    if not text.get("username") and not text.get("password"):
        return None
    return Credential(text.get("username", ""), text.get("password", ""), origin=origin)


def _look(file: Path) -> tuple[int, int, int] | None:
    try:
        facts = file.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
