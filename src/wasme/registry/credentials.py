"""The keychain: who one is for a registry, from the first place that knows.

The order is: the pair given (``-u``/``-p``), else the files given (``-c``) and no other, else
``~/.wasme/credentials.json`` and then Docker's own ``config.json`` (in ``$DOCKER_CONFIG`` or ``~/.docker``). All
files have Docker's format: ``credHelpers``, ``credsStore``, ``auths``. A file that cannot be read is told,
and the others are asked all the same.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from base64 import b64decode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wasme.errors import InvalidSettings
from wasme.registry.auth import Credential
from wasme.registry.guards import printable

log = logging.getLogger(__name__)

_DOCKER_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_KEY = "https://index.docker.io/v1/"
_LARGEST = 4 * 1024 * 1024
_HELPER_SECONDS = 60


def default_file() -> Path:
    """``~/.wasme/credentials.json``."""
    return Path.home() / ".wasme" / "credentials.json"


def docker_file() -> Path:
    """Docker's ``config.json``."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


class Keychain:
    """Credentials by registry.

    Args:
        username: with ``password``, the pair for every registry; no file is read then.
        password: see ``username``.
        files: asked in order, in place of the default ones; one that is not there is told at once.
    """

    def __init__(self, username: str = "", password: str = "", files: Sequence[Path | str] = ()) -> None:
        self._given = Credential(username, password, origin="the command line") if username or password else None
        self._files = [Path(file) for file in files]
        self._found: dict[tuple[str, ...], Credential | None] = {}
        self._read: dict[Path, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.problems: list[str] = []
        for file in self._files:
            if not file.exists():
                self._tell(f"{file}: cannot be read: no such file or directory")

    def lookup(self, *hosts: str) -> Credential | None:
        """The credential for the first of ``hosts`` (names for one registry) that any place knows; None: nobody."""
        if self._given is not None:
            return self._given
        with self._lock:  # a helper may ask the person at the keyboard: once is enough
            if hosts not in self._found:
                self._found[hosts] = next(filter(None, map(self._lookup_one, hosts)), None)
            return self._found[hosts]

    def _lookup_one(self, host: str) -> Credential | None:
        named = [(file, True) for file in self._files]
        for file, must_exist in named or [(default_file(), False), (docker_file(), False)]:
            try:
                content = self._content(file, must_exist=must_exist)
                found = _in_file(content, host)
            except InvalidSettings as error:
                self._tell(f"{file}: {error.message}")
                continue
            if found is not None:
                return Credential(
                    found.username, found.password, found.identity_token, found.registry_token, origin=str(file)
                )
        return None

    def _content(self, file: Path, *, must_exist: bool) -> dict[str, Any]:
        if file not in self._read:
            self._read[file] = {}
            self._read[file] = read_file(file, must_exist=must_exist)
        return self._read[file]

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
            log.warning("credentials passed over", extra={"fields": {"reason": problem}})


def read_file(file: Path, *, must_exist: bool = False) -> dict[str, Any]:
    """A file in Docker's format; an absent or empty one is {}.

    Raises:
        InvalidSettings: it cannot be read, or is no JSON object; the message does not name the file.
    """
    try:
        raw = file.read_bytes()[:_LARGEST] if file.exists() or must_exist else b""
    except OSError as error:
        raise InvalidSettings(f"cannot be read: {(error.strerror or 'error').lower()}") from None
    if not raw.strip():
        return {}
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        number = raw[: int(place[1])].count(b"\n") + 1 if place else 0
        line = f" (line {number})" if number else ""
        raise InvalidSettings(f"is not JSON{line}") from None
    if not isinstance(content, dict):
        raise InvalidSettings("is not a JSON object")
    return content


def keys_for(host: str) -> list[str]:
    """The keys under which a registry stands in Docker's format, the usual one first."""
    return [_DOCKER_KEY, *_DOCKER_HOSTS] if host in _DOCKER_HOSTS else [host]


def same_registry(key: str, host: str) -> bool:
    """Whether a file's key (perhaps a URL with a path) means this registry."""
    bare = key.partition("://")[2] or key
    bare = bare.partition("/")[0].lower()
    return bare in _DOCKER_HOSTS if host in _DOCKER_HOSTS else bare == host.lower()


def _in_file(content: dict[str, Any], host: str) -> Credential | None:
    """As Docker does: this host's helper, else the store for all, else what stands in the file itself."""
    helpers = _object(content, "credHelpers")
    helper = next(
        (helpers[key] for key in (*keys_for(host), *helpers) if key in helpers and same_registry(key, host)), None
    )
    store = helper or content.get("credsStore")
    problem: InvalidSettings | None = None
    if isinstance(store, str) and store:
        try:
            found = ask_helper(store, keys_for(host)[:1] if helper is None or host in _DOCKER_HOSTS else [host])
        except InvalidSettings as error:
            found, problem = None, error
        if found is not None:
            return found
    if (entry := in_auths(content, host)) is not None:
        return entry
    if problem is not None:
        raise problem
    return None


def in_auths(content: dict[str, Any], host: str) -> Credential | None:
    """What ``auths`` of Docker's format holds for a registry; no helper is asked.

    Raises:
        InvalidSettings: it is not written as Docker writes it.
    """
    auths = _object(content, "auths")
    for key in [*keys_for(host), *(key for key in auths if same_registry(key, host))]:
        if key in auths and (entry := _entry(auths[key], key)) is not None:
            return entry
    return None


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidSettings(f"{name} is not an object")
    return value


def _entry(entry: Any, key: str) -> Credential | None:
    """One value of ``auths``; None where it holds nothing (Docker leaves {} beside a credsStore)."""
    if not isinstance(entry, dict):
        raise InvalidSettings(f"auths → {printable(key, 100)} is not an object")
    texts = {name: entry.get(name) or "" for name in ("auth", "username", "password", "identitytoken", "registrytoken")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise InvalidSettings(f"auths → {printable(key, 100)} holds something that is no text")
    username, password = texts["username"], texts["password"]
    if texts["auth"]:
        try:
            pair = b64decode(texts["auth"], validate=True).decode().rstrip("\0")
        except ValueError:
            raise InvalidSettings(f"auths → {printable(key, 100)} → auth is not base64") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise InvalidSettings(f"auths → {printable(key, 100)} → auth is not base64 of user:password")
    if not (username or password or texts["identitytoken"] or texts["registrytoken"]):
        return None
    return Credential(username, password, texts["identitytoken"] or None, texts["registrytoken"] or None)


def ask_helper(name: str, servers: Iterable[str]) -> Credential | None:
    """Ask ``docker-credential-NAME get`` (github.com/docker/docker-credential-helpers).

    Raises:
        InvalidSettings: the program is missing, hangs, or answers with something else than the protocol's JSON.
    """
    import subprocess

    program = f"docker-credential-{name}"
    path = shutil.which(program) if "/" not in name and "\\" not in name else None
    if path is None:
        raise InvalidSettings(f"names the credential helper {printable(program, 100)}, which is not on the PATH")
    for server in servers:
        try:
            done = subprocess.run(
                [path, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise InvalidSettings(f"{program} did not answer within {_HELPER_SECONDS} s") from None
        except OSError as error:
            raise InvalidSettings(f"{program} cannot be run: {error.strerror}") from None
        if done.returncode:
            said = printable((done.stdout + b" " + done.stderr).decode(errors="replace"), 200)
            if "credentials not found" in said.lower() or "no stored credential" in said.lower():
                continue
            raise InvalidSettings(f"{program} failed: {said or f'exit code {done.returncode}'}")
        try:
            answer = msgspec.json.decode(done.stdout)
            username, secret = answer["Username"], answer["Secret"]
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError):
            raise InvalidSettings(f"{program} answered with something that is no credential") from None
        if not isinstance(username, str) or not isinstance(secret, str):
            raise InvalidSettings(f"{program} answered with something that is no credential")
        if username == "<token>":
            return Credential(identity_token=secret)
        if username or secret:
            return Credential(username, secret)
    return None
