"""Where the traffic for a registry's name goes. The name as typed stays the name; only the traffic is led."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from wasme.errors import InvalidSettings, Unreachable
from wasme.image.reference import PATH
from wasme.registry.origin import Origin

WEBASSEMBLY_HUB = "webassemblyhub.io"
_DOCKER = ("docker.io", "index.docker.io")


class Endpoint(msgspec.Struct, frozen=True):
    """A registry as it is reached.

    Attributes:
        name: as typed, e.g. ``webassemblyhub.io``.
        origin: the server that is asked.
        prefix: stands before every repository there; "" or ``a/b/``.
        may_upgrade: plain http was only assumed, and TLS may be spoken where it is wanted.
    """

    name: str
    origin: Origin
    prefix: str = ""
    may_upgrade: bool = False

    def repository(self, path: str) -> str:
        """The repository's name on the server."""
        return self.prefix + path

    def url(self, path: str) -> str:
        """An absolute URL; ``path`` begins with ``/``."""
        return f"{self.origin}{path}"

    @property
    def credential_hosts(self) -> tuple[str, ...]:
        """The names under which a keychain may know this registry: as typed first."""
        led = self.origin.netloc
        return (self.name,) if led == self.name or self.name in _DOCKER else (self.name, led)


def default_server() -> str:
    """The hub that commands mean where no server is named: ``WASM_IMAGE_REGISTRY``, else webassemblyhub.io."""
    return os.environ.get("WASM_IMAGE_REGISTRY") or WEBASSEMBLY_HUB


def server_name(text: str) -> tuple[str, bool]:
    """A registry's name from what was typed for one, ``http://HOST/`` too: HOST, and whether plain http was meant."""
    scheme, colon, rest = text.strip().partition("://")
    if colon and scheme.lower() in ("http", "https"):
        return rest.rstrip("/"), scheme.lower() == "http"
    return text.strip().rstrip("/"), False


def check_map(registry_map: Mapping[str, str]) -> None:
    """Check every pair of a registry map, those too that nobody asks for now.

    Raises:
        InvalidSettings: one has no name, or leads to no host.
    """
    for name, led in registry_map.items():
        if not name.strip() or "/" in name:
            raise InvalidSettings(
                f"registry map: {name!r} is not the name of a registry", hint="use NAME=HOST[/PREFIX]"
            )
        if not led.strip():
            raise InvalidSettings(f"registry map: {name} leads nowhere", hint="use NAME=HOST[:PORT][/PREFIX]")
        resolve(name, {name: led})


def resolve(name: str, registry_map: Mapping[str, str], *, plain_http: bool = False) -> Endpoint:
    """Where the traffic for ``name`` (``HOST[:PORT]``) goes.

    Raises:
        Unreachable: the name is webassemblyhub.io, and nothing says where its images are now.
        InvalidSettings: the name, or what it is mapped to, is no host.
    """
    led = registry_map.get(name) or registry_map.get(name.lower())
    if led is None and name.lower().partition(":")[0] == WEBASSEMBLY_HUB:
        raise Unreachable(
            f"{WEBASSEMBLY_HUB} has closed; nothing says where its images are now",
            hint=f"add to ~/.wasme/config.yaml: registryMap: {{{WEBASSEMBLY_HUB}: HOST[/PREFIX]}}, "
            f"or give --registry-map {WEBASSEMBLY_HUB}=HOST[/PREFIX]",
        )
    scheme, colon, rest = (led or name).partition("://")
    if not colon:
        scheme, rest = "", led or name
    host, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if led is not None and prefix and not PATH.fullmatch(prefix):
        raise InvalidSettings(f"registry map: {name} leads to {led!r}, whose path is no repository prefix")
    if host in _DOCKER:
        host = "registry-1.docker.io"
    try:
        if scheme not in ("", "http", "https") or "@" in host or (prefix and led is None):
            raise ValueError(host)
        assumed = Origin.at("http", host)
        chosen = scheme or ("http" if plain_http or assumed.is_loopback else "https")
        origin = Origin.at(chosen, host)
    except ValueError:
        if led is not None:
            raise InvalidSettings(
                f"registry map: {name} leads to {led!r}, which is no host", hint="use HOST[:PORT][/PREFIX]"
            ) from None
        raise InvalidSettings(f"{name!r} is not the name of a registry", hint="use HOST or HOST:PORT") from None
    upgrade = chosen == "http" and not scheme and not plain_http
    return Endpoint(name, origin, f"{prefix}/" if prefix else "", may_upgrade=upgrade)
