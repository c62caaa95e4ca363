"""What a registry may make this client do, and no more: one guard for each known attack.

Each guard is a plain function that raises ``UnsafeAnswer`` (or takes something away), called at exactly one place. The
attacks are those that registry clients fell to: a realm that collects passwords (CVE-2020-15157, CVE-2026-48978),
redirects and upload locations that carry credentials off or reach into the local network (CVE-2026-50151,
GHSA-vh4v-2xq2-g5cg), sizes and digests that lie, manifests without end (GHSA-f36w-mj3v-6jqv).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from wasme.errors import ContentMismatch, UnsafeAnswer
from wasme.image.descriptor import DIGEST
from wasme.registry.origin import Origin, redact

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MANIFEST_LIMIT = 4 * 1024 * 1024
ANSWER_LIMIT = 1024 * 1024
MAX_REDIRECTS = 8

_NAT64 = "64:ff9b::/96"
_AWS_METADATA = "fd00:ec2:"
# Token services that stand beside their registry, not above or below it.
_KNOWN_REALMS = {
    "registry-1.docker.io": ("auth.docker.io",),
    "registry.digitalocean.com": ("api.digitalocean.com",),
    "registry.access.redhat.com": ("sso.redhat.com",),
    "registry.redhat.io": ("sso.redhat.com",),
    "rg.fr-par.scw.cloud": ("api.scaleway.com",),
    "rg.nl-ams.scw.cloud": ("api.scaleway.com",),
    "rg.pl-waw.scw.cloud": ("api.scaleway.com",),
}


def check_realm(realm: str, registry: Origin, *, with_secret: bool, trusted: Iterable[str] = ()) -> None:
    """Whether a token may be asked for at ``realm``.

    A registry gets its own password by asking for it; this guard keeps a challenge that somebody else could write (a
    cache, a proxy, a tenant of a shared host) from sending it to a third party. That two names share a suffix says
    nothing about who runs them, so there is no list of suffixes: trusted are the registry's own host, hosts above or
    below it, the known pairs, and what the user's settings name.

    Args:
        realm: the URL from the registry's challenge.
        registry: who sent the challenge.
        with_secret: a password or refresh token would go along.
        trusted: further hosts that the user's settings allow for this registry.

    Raises:
        UnsafeAnswer: no https (plain http only to the registry's own host, if that is spoken to in plain http too), or
            a stranger that would get the password.
    """
    try:
        origin = Origin.of(realm)
    except ValueError:
        raise UnsafeAnswer(f"{registry.netloc} sends to {redact(realm)!r} for a token, which is no URL") from None
    if origin.scheme != "https" and not (registry.scheme == "http" and origin.host == registry.host):
        raise UnsafeAnswer(
            f"{registry.netloc} sends to {redact(realm)} for a token, without TLS", hint="nothing was sent there"
        )
    allowed = (*_KNOWN_REALMS.get(registry.host, ()), *trusted)
    if with_secret and not (origin.host in allowed or origin.netloc in allowed or _related(origin.host, registry.host)):
        raise UnsafeAnswer(
            f"{registry.netloc} wants its password sent to {origin.netloc}, which is a stranger to it",
            hint=f"if that is right, add to ~/.wasme/config.yaml: authRealms: {{{registry.netloc}: {origin.netloc}}}",
        )


def check_reach(to: Origin, address: str, source: Origin, source_address: str) -> None:
    """Whether the server ``source`` may lead to ``to``: an address inside this network is reached only from inside.

    Asked once the connection is open, since names and odd spellings tell nothing; a link-local address (a cloud's
    metadata) is nobody's to lead to.

    Args:
        to: where the request goes.
        address: the address that is connected; behind a proxy, the host as written.
        source: whose redirect, upload location or realm it is.
        source_address: likewise; "" where it is not known.

    Raises:
        UnsafeAnswer: it is inside, and the source is not.
    """
    zone = _zone(address)
    if zone == "open" or address == source_address:
        return
    if zone == "metadata" or _zone(source_address) == "open":
        raise UnsafeAnswer(
            f"{source.netloc} leads to {to.netloc}, an address inside this network", hint="nothing was sent there"
        )


def check_outside(to: Origin, address: str, itself: bool = True) -> None:
    """Whether strangers may have this machine ask there: not itself, nor what only it can reach (a cloud's metadata).

    Args:
        to: where the request goes.
        address: as for `check_reach`; asked before the connection is opened, and once it is open.
        itself: this machine is refused, too.

    Raises:
        UnsafeAnswer: it is link-local, or this machine.
    """
    found = _parsed(address)
    if found is None:
        return
    if found.is_link_local or (found.version == 6 and found.compressed.startswith(_AWS_METADATA)):
        raise UnsafeAnswer(f"{to.netloc} is a link-local address on this machine's own network: it is never asked")
    if itself and (found.is_loopback or found.is_unspecified):
        raise UnsafeAnswer(f"{to.netloc} is on this machine's own network, which is not asked for strangers")


def check_redirect(source: Origin, to: str) -> None:
    """Whether a redirect may be followed.

    Raises:
        UnsafeAnswer: from https down to http, or to something that is no URL.
    """
    _check_hop(source, to, "redirects")


def check_location(registry: Origin, location: str) -> None:
    """Whether an upload may go to ``location``.

    Raises:
        UnsafeAnswer: as for a redirect.
    """
    _check_hop(registry, location, "sends the upload")


def without_credentials(headers: Mapping[str, str], source: Origin, to: Origin) -> dict[str, str]:
    """The headers that may go on to another server: no credentials unless scheme, host and port are the same."""
    if source == to:
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() not in ("authorization", "cookie")}


def answers_challenge(challenger: Origin, registry: Origin) -> bool:
    """Whether credentials may be used for a 401: only the registry itself may ask for its own."""
    return challenger == registry


def may_carry_credentials(server: Origin, registry: Origin) -> bool:
    """Whether an upload's parts may carry credentials: only to the registry itself."""
    return server == registry


def check_size(found: int, limit: int, what: str) -> None:
    """A small answer must be small.

    Raises:
        UnsafeAnswer: more than ``limit`` bytes.
    """
    if found > limit:
        raise UnsafeAnswer(f"{what} is larger than {limit} bytes; it was not read any further")


def check_length(found: int | None, expected: int, digest: str) -> None:
    """A blob's announced length must be the one its descriptor names.

    Raises:
        UnsafeAnswer: it is another one.
    """
    if found is not None and found != expected:
        raise UnsafeAnswer(f"the registry announces {found} bytes for {digest}, its manifest says {expected}")


def check_excess(received: int, expected: int, digest: str) -> None:
    """A blob must end where its descriptor says.

    Raises:
        UnsafeAnswer: it goes on.
    """
    if received > expected:
        raise UnsafeAnswer(f"the registry sends more than the {expected} bytes of {digest}")


def check_range(header: str | None, offset: int, size: int, digest: str) -> None:
    """A partial answer must be the part that was asked for.

    Raises:
        ContentMismatch: another part.
    """
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", header or "")
    if not found or int(found[1]) != offset or int(found[2]) != size - 1 or found[3] not in ("*", str(size)):
        raise ContentMismatch(f"the registry sent another part of {digest} than bytes {offset} to {size - 1}")


def check_digest(claimed: str | None, expected: str, what: str) -> None:
    """A digest that the registry tells, where it tells one, must be the one of the content.

    Raises:
        ContentMismatch: it is another one (of the same algorithm).
    """
    if claimed and claimed != expected and claimed.partition(":")[0] == expected.partition(":")[0]:
        shown = claimed if DIGEST.fullmatch(claimed) else "something that is no digest"
        raise ContentMismatch(f"{what} is {expected}, and the registry calls it {shown}")


def clean_token(token: str) -> str:
    """A token that can stand in a header and nowhere else (RFC 9110 field values, no line breaks).

    Raises:
        UnsafeAnswer: blanks, control characters, or far too long.
    """
    if not re.fullmatch(r"[\x21-\x7e]{1,65536}", token):
        raise UnsafeAnswer("the token service answered with something that cannot be a token")
    return token


def printable(text: str, limit: int = 300) -> str:
    """A server's words for a terminal: one line, bounded, no control or bidirectional characters."""
    kept = re.sub(r"[\u200b-\u200f\u202a-\u202e\u2066-\u2069]", "", text[: limit * 4])
    kept = "".join(letter if letter.isprintable() else " " for letter in kept)
    kept = " ".join(kept.split())
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def _check_hop(source: Origin, to: str, what: str) -> None:
    try:
        origin = Origin.of(to)
    except ValueError:
        raise UnsafeAnswer(f"{source.netloc} {what} to {redact(to)!r}, which is no URL") from None
    if source.scheme == "https" and origin.scheme != "https":
        raise UnsafeAnswer(f"{source.netloc} {what} to {redact(to)}, without TLS", hint="it was not followed")


def _related(one: str, other: str) -> bool:
    """Whether one host is the other, or stands above it: who runs example.com decides about login.example.com."""
    upper, lower = sorted((one, other), key=len)
    return upper == lower or (lower.endswith(f".{upper}") and re.search(r"\.[a-z][^.]*$", upper) is not None)


def _zone(address: str) -> str:
    """``open`` for the Internet's addresses, ``local`` or ``metadata`` for those inside."""
    found = _parsed(address)
    if found is None:  # a name that only a proxy resolves
        return "open"
    if found.is_link_local:
        return "metadata"
    return "open" if found.is_global else "local"


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """An address, the one that it carries if it does; None of a name."""
    import ipaddress

    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv4Address):
        return found
    carried = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF) if found in ipaddress.IPv6Network(_NAT64) else None
    return carried or found.ipv4_mapped or found.sixtofour or found
