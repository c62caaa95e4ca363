"""Secrets that FilterDeployments name for pulling, read when they are needed and not followed.

A watch of Secrets would bring those of the whole cluster into memory. So a Secret is read when its image is looked up;
what it holds is known by a hash, and nothing of it is ever told.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import NamedTuple

from msgspec.structs import replace

from wasme.deploy.cache.secrets import entry_of
from wasme.deploy.cluster import Cluster, kinds
from wasme.errors import CacheError, InvalidSettings, Unauthorized
from wasme.registry.auth import Credential
from wasme.registry.credentials import Keychain, in_auths

_MOST = 2000
_HINT = (
    "it should be in the FilterDeployment's namespace, of type kubernetes.io/dockerconfigjson, "
    "or hold username and password"
)


class Identity(NamedTuple):
    """Who one is for one registry.

    Attributes:
        mark: the same for the same credential; "" for nobody.
        credential: None for nobody.
    """

    mark: str = ""
    credential: Credential | None = None

    def __repr__(self) -> str:
        return f"Identity({'somebody' if self.credential else 'nobody'})"


class Holder(Keychain):
    """One credential, for one registry and for no other that might ask for it.

    Args:
        name: the registry's host as references name it.
        credential: None is nobody.
    """

    def __init__(self, name: str, credential: Credential | None) -> None:
        super().__init__()
        self._name = name
        self._credential = credential

    def lookup(self, *hosts: str) -> Credential | None:
        """The credential, if it is for the first of ``hosts``."""
        return self._credential if hosts[0] == self._name else None


class PullSecrets:
    """Reads them. Safe to use from many threads.

    Args:
        cluster: where.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._salt = os.urandom(16)
        self._read: dict[tuple[str, str, tuple[str, ...]], tuple[float, Identity]] = {}
        self._lock = threading.Lock()

    def identity(self, namespace: str, name: str, hosts: tuple[str, ...], *, age: float) -> Identity:
        """What a Secret has for a registry.

        Args:
            hosts: the names under which it may be looked up there.
            age: seconds for which what was read is good.

        Raises:
            Unauthorized: there is no such Secret, or nothing for that registry in it.
            ClusterError: the API server did not give it.
        """
        asked = (namespace, name, hosts)
        with self._lock:
            at, known = self._read.get(asked, (float("-inf"), Identity()))
        if time.monotonic() - at < age:
            return known
        found = self._look(namespace, name, hosts)
        with self._lock:
            if len(self._read) >= _MOST:
                self._read.clear()
            self._read[asked] = (time.monotonic(), found)
        return found

    def _look(self, namespace: str, name: str, hosts: tuple[str, ...]) -> Identity:
        where = f"missing pull secret: {namespace}/{name}"
        secret = self._cluster.get(kinds.SECRET, name, namespace)
        if secret is None:
            raise Unauthorized(where, hint=_HINT)
        problem = ""
        for host in hosts:
            try:
                found = in_auths({"auths": {host: dict(entry_of(secret, host))}}, host)
            except (CacheError, InvalidSettings) as error:
                problem = problem or error.message
                continue
            if found is not None:
                return Identity(self._mark(found), replace(found, origin=f"the pull secret {namespace}/{name}"))
            problem = problem or "username and password are empty"
        if not hosts:
            problem = "the registry map leads its registry to a server without TLS, which gets no credential"
        raise Unauthorized(f"{where}: {problem}", hint=_HINT)

    def _mark(self, found: Credential) -> str:
        whole = (found.username, found.password, found.identity_token, found.registry_token)
        return hashlib.sha256(self._salt + repr(whole).encode()).hexdigest()
