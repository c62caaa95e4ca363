"""Where registries' names lead: by the operator's own words, and by the node cache's list.

Whoever may edit the list may lead a name anywhere. What only the list leads so gets credentials of the server that it
is led to, and none without TLS; as with the agents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from wasme.deploy.cache.options import CacheOptions
from wasme.errors import Unreachable, WasmeError
from wasme.operator.informers.facts import ConfigFacts
from wasme.operator.nodecache.asked import read_map
from wasme.operator.registries.allowed import Allowed
from wasme.registry.endpoint import WEBASSEMBLY_HUB, Endpoint, resolve


class Routes:
    """Safe to use from many threads.

    Args:
        cache: whose list it is.
        listed: the list; None where there is none.
        own: the operator's own map, of its flags and its ``config.yaml``.
        allowed: registries, by the names that references have, that it asks; None for all.
    """

    def __init__(
        self,
        cache: CacheOptions,
        listed: Callable[[], ConfigFacts | None],
        own: Mapping[str, str] | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        self.allowed = allowed or Allowed()
        self._cache = cache
        self._listed = listed
        self.own = dict(own or {})
        self._read: tuple[ConfigFacts | None, Mapping[str, str]] = (None, {})

    @property
    def listed(self) -> Mapping[str, str]:
        """What the list leads."""
        facts = self._listed()
        before, found = self._read
        if facts is not before:
            found = read_map(facts)
            self._read = (facts, found)
        return found

    @property
    def whole(self) -> dict[str, str]:
        """All names that lead elsewhere."""
        return {**self.listed, **self.own}

    def endpoint(self, name: str, *, plain_http: bool = False) -> Endpoint:
        """Where the traffic for a registry's name goes.

        Raises:
            Unreachable: nowhere: it is webassemblyhub.io, and nothing says where its images are.
            InvalidSettings: it leads to no host.
        """
        try:
            return resolve(name, self.whole, plain_http=plain_http)
        except Unreachable as error:
            raise Unreachable(
                error.message,
                hint=f"add to data of ConfigMap {self._cache.namespace}/{self._cache.name} the line  "
                f'registryMap: "{WEBASSEMBLY_HUB}: HOST/PREFIX"',
            ) from None

    def by_list_alone(self, name: str) -> bool:
        """Whether nobody but the list leads a name."""
        return not ({name, name.lower()} & self.own.keys()) and bool({name, name.lower()} & self.listed.keys())

    def credential_hosts(self, name: str, *, plain_http: bool = False) -> tuple[str, ...]:
        """The names under which credentials for a registry may be looked up; none: it gets none."""
        at = self.endpoint(name, plain_http=plain_http)
        if not self.by_list_alone(name):
            return at.credential_hosts
        if at.origin.scheme != "https" and not at.origin.is_loopback:
            return ()
        return (at.origin.netloc,)

    def elsewhere(self, name: str) -> str:
        """Where the traffic for a name goes, ``http://HOST/PREFIX``; "" where it goes to itself."""
        here = self.endpoint(name)
        try:
            there = resolve(name, {})
        except WasmeError:  # webassemblyhub.io, which is nowhere by itself
            there = None
        if there is not None and (there.origin, there.prefix) == (here.origin, here.prefix):
            return ""
        return _url(here)

    def untold(self, name: str) -> str:
        """What the nodes would have to be told to reach a registry without TLS; "" where they do already.

        It is said to people and never written: the list leads that name for every namespace.
        """
        plain = self.endpoint(name, plain_http=True)
        if self.endpoint(name).origin == plain.origin:
            return ""
        place = f"ConfigMap {self._cache.namespace}/{self._cache.name}"
        return f"whoever runs the cluster adds registryMap: {{{name}: {_url(plain)}}} to {place}"


def _url(at: Endpoint) -> str:
    return f"{at.origin}/{at.prefix}".rstrip("/")
