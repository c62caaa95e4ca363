"""What the nodes' agents need to pull what a FilterDeployment names: its pull secret, and the way to the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wasme.deploy.cache import secrets
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.secrets import Place
from wasme.deploy.cluster import Cluster
from wasme.errors import CacheError, Unauthorized
from wasme.image.reference import Reference
from wasme.operator.options import HASTY
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.wanted import Wanted

UNCHECKED = "insecureSkipVerify is for the operator's own look: the nodes check the registry's certificate"
_AGAIN, _SELDOM = 20.0, 120.0
"""Seconds between two copies of a Secret while agents are refused: at first, and at most; each time twice as many."""
_LONG_AGO = 600.0
"""Seconds after a copy for which agents that are refused are still refused with this one."""

_Source = tuple[str, str]
"""Secret, and the server that the registry is led to."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """When a Secret was copied, of the monotonic clock; seconds after which it may be again."""

    at: float
    wait: float

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(0.0, self.at + self.wait - time.monotonic())


class Sharing:
    """Copies pull secrets beside the cache, when they come and when agents are refused, and takes the copies away that
    nobody needs. Safe to use from many threads.

    Args:
        cluster: where.
        options: which cache.
        routes: where registries' names lead.
        needed: the places whose copies somebody needs, but for what the list says.
    """

    def __init__(
        self, cluster: Cluster, options: CacheOptions, routes: Routes, needed: Callable[[], set[Place]]
    ) -> None:
        self._cluster = cluster.hasty(HASTY)  # workers share
        self._options = options
        self._routes = routes
        self._needed = needed
        self._given: dict[Place, dict[_Source, _Copy]] = {}
        self._refused: set[Place] = set()
        self._found: set[Place] | None = None
        """Of the operator's copies, when all were looked at last; None as long as they have to be."""
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
            self._give((wanted.key.namespace, registry), (image.pull_secret, at))
        return {registry: place} if place and not self._routes.by_list_alone(registry) else {}

    def note(self, wanted: Wanted) -> str:
        """What an object says of its registry that the nodes do not do; "" for nothing."""
        image = wanted.image
        if image.plain_http:
            untold = self._routes.untold(Reference.parse(image.reference).domain)
            return f"plainHttp is for the operator's own look, the nodes speak TLS: {untold}" if untold else ""
        return UNCHECKED if image.insecure else ""

    def refused(self, lines: Iterable[FilterLine]) -> float | None:
        """Agents have no right to these: their Secret is copied anew when it is wanted next.

        Returns:
            Seconds after which that is due; None where no Secret was copied for them.
        """
        places = secrets.places(lines)
        with self._lock:
            due = [each.left for place in places for each in self._given.get(place, {}).values()]
            self._refused |= places
        return min(due, default=None)

    def has(self, namespace: str) -> bool:
        """Whether there may be a copy for a namespace of workloads."""
        with self._lock:
            return self._found is None or any(place[0] == namespace for place in (*self._found, *self._given))

    def sweep(self, removed: Iterable[FilterLine], left: Iterable[FilterLine]) -> None:
        """Take away the copies that nobody needs; nothing is asked for where there are none, as far as is known.

        The operator's own go, whoever left them: it may have been killed, or a line refused. What a command shared goes
        with lines alone, for its own may be on the way.

        Args:
            removed: lines that went.
            left: lines that are there.

        Raises:
            ClusterError: the API server did not do it; all copies are looked at next time.
        """
        went, stay = secrets.places(removed), secrets.places(left)
        with self._lock:
            known = {*went, *self._given, *(self._found or ())}
            are_all = self._found is not None
        if are_all and known <= stay | self._needed():
            return
        with self._lock:
            self._found = None  # until this is done
        copies = secrets.copies(self._cluster, self._options)
        needed = stay | self._needed()  # after them: who shares one is known to need it before
        try:
            for each in copies:
                if each.place not in needed and (each.by_operator or each.place in went):
                    secrets.delete(self._cluster, self._options, each)
        finally:
            with self._lock:
                for place in known - needed:
                    self._given.pop(place, None)
        with self._lock:
            self._found = {each.place for each in copies if each.by_operator and each.place in needed}

    def forget(self) -> None:
        """Others may have changed what the agents have: each Secret is compared once more."""
        with self._lock:
            self._given.clear()
            self._refused.clear()
            self._found = None

    def _give(self, place: Place, source: _Source) -> None:
        with self._lock:
            before = self._given.get(place, {}).get(source)
            if before is not None and (before.left or place not in self._refused):
                return
            self._refused.discard(place)
        (namespace, registry), (name, at) = place, source
        try:
            only_at = self._routes.by_list_alone(registry)
            secrets.share_secret(
                self._cluster, self._options, namespace, name, registry, at=at, only_at=only_at, by_operator=True
            )
        except CacheError as error:
            raise Unauthorized(f"missing {error.message}", hint=error.hint) from None
        now = time.monotonic()
        wait = _AGAIN if before is None or now - before.at > _LONG_AGO else min(before.wait * 2, _SELDOM)
        with self._lock:
            # Of two FilterDeployments with two Secrets for one registry the later one's is the agents'.
            self._given.setdefault(place, {})[source] = _Copy(now, wait)
