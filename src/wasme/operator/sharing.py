"""What the nodes' agents need to pull what a FilterDeployment names: its pull secret, and the way to the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from wasme.deploy.cache import secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster import Cluster
from wasme.errors import CacheError, InvalidReference, Unauthorized
from wasme.image.reference import Reference
from wasme.operator.routes import Routes
from wasme.operator.wanted import Wanted

UNCHECKED = "insecureSkipVerify is for the operator's own look: the nodes check the registry's certificate"
_AGAIN = 20.0
"""Seconds between two copies of a Secret, while agents are refused."""

_Given = tuple[str, str, str, str]
"""Namespace, Secret, registry, and the server that it is led to."""


class Sharing:
    """Copies pull secrets beside the cache, when they come and when agents are refused. Safe to use from many threads.

    Args:
        cluster: where.
        options: which cache.
        routes: where registries' names lead.
    """

    def __init__(self, cluster: Cluster, options: CacheOptions, routes: Routes) -> None:
        self._cluster = cluster
        self._options = options
        self._routes = routes
        self._given: dict[_Given, float] = {}
        self._refused: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def share(self, wanted: Wanted) -> dict[str, str]:
        """Let the agents have its pull secret; nothing is asked for where they have it.

        Returns:
            Where the operator's own words lead its registry, which the list should say as well; {} for nowhere else.

        Raises:
            Unauthorized: there is no such Secret, or nothing for that registry in it.
            ClusterError: the API server did not do it.
        """
        image = wanted.image
        registry = Reference.parse(image.reference).domain
        # Not what the object says of TLS: the list would lead the name so for all namespaces, and for ever.
        place = self._routes.elsewhere(registry)
        at = self._routes.endpoint(registry).origin.netloc if place else ""
        if image.pull_secret:
            self._give((wanted.key.namespace, image.pull_secret, registry, at))
        return {registry: place} if place and not self._routes.by_list_alone(registry) else {}

    def note(self, wanted: Wanted) -> str:
        """What an object says of its registry that the nodes do not do; "" for nothing."""
        image = wanted.image
        if image.plain_http:
            untold = self._routes.untold(Reference.parse(image.reference).domain)
            return f"plainHttp is for the operator's own look, the nodes speak TLS: {untold}" if untold else ""
        return UNCHECKED if image.insecure else ""

    def refused(self, lines: Iterable[FilterLine]) -> None:
        """Agents have no right to these: their Secret is copied anew when it is wanted next, now and then."""
        with self._lock:
            self._refused |= {(line.namespace, _registry(line.ref)) for line in lines}

    def swept(self, lines: Iterable[FilterLine]) -> None:
        """The copies for these may be gone."""
        gone = {(line.namespace, _registry(line.ref)) for line in lines}
        with self._lock:
            self._given = {each: at for each, at in self._given.items() if (each[0], each[2]) not in gone}

    def forget(self) -> None:
        """Others may have changed what the agents have: each Secret is compared once more."""
        with self._lock:
            self._given.clear()
            self._refused.clear()

    def _give(self, given: _Given) -> None:
        namespace, name, registry, at = given
        place = (namespace, registry)
        with self._lock:
            before = self._given.get(given)
            again = place in self._refused and (before is None or time.monotonic() - before > _AGAIN)
            if before is not None and not again:
                return
            self._refused.discard(place)
        try:
            only_at = self._routes.by_list_alone(registry)
            secrets.share_secret(self._cluster, self._options, namespace, name, registry, at=at, only_at=only_at)
        except CacheError as error:
            raise Unauthorized(f"missing {error.message}", hint=error.hint) from None
        with self._lock:
            # Of two FilterDeployments with two Secrets for one registry the later one's is the agents'.
            self._given[given] = time.monotonic()


def _registry(ref: str) -> str:
    try:
        return Reference.parse(ref).domain
    except InvalidReference:
        return ""
