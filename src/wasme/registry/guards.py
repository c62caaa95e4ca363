"""What a registry may make this client do, and no more: one guard for each known attack.

Each guard is a plain function that raises ``UnsafeAnswer`` (or takes something away), called at exactly one place. The
attacks are those that registry clients fell to: a realm that collects passwords (CVE-2020-15157, CVE-2026-48978),
redirects and upload locations that carry credentials off or reach into the local network (CVE-2026-50151,
GHSA-vh4v-2xq2-g5cg), sizes and digests that lie, manifests without end (GHSA-f36w-mj3v-6jqv).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping

from wasme.errors import ContentMismatch, UnsafeAnswer
from wasme.image.descriptor import DIGEST
from wasme.registry.origin import Origin, redact

MANIFEST_LIMIT = 4 * 1024 * 1024
ANSWER_LIMIT = 1024 * 1024
MAX_REDIRECTS = 8

# Token services that stand on another domain than their registry.
_KNOWN_REALMS = {
    "registry.access.redhat.com": ("sso.redhat.com",),
    "registry.redhat.io": ("sso.redhat.com",),
    "rg.fr-par.scw.cloud": ("api.scaleway.com",),
    "rg.nl-ams.scw.cloud": ("api.scaleway.com",),
    "rg.pl-waw.scw.cloud": ("api.scaleway.com",),
}
# Below these, neighbours are strangers to each other.
_SHARED = frozenset(
    ("amazonaws.com", "appspot.com", "azurecr.io", "azurewebsites.net", "cloudfront.net", "fly.dev", "github.io",
     "gitlab.io", "herokuapp.com", "jfrog.io", "netlify.app", "ngrok.io", "ngrok-free.app", "onrender.com",
     "pages.dev", "pkg.dev", "run.app", "vercel.app", "web.app", "windows.net", "workers.dev")
)  # fmt: skip
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "gob", "gov", "mil", "ne", "net", "nom", "or", "org"))


def check_realm(realm: str, registry: Origin, *, with_secret: bool, trusted: Iterable[str] = ()) -> None:
    """Whether a token may be asked for at ``realm``.

    Args:
        realm: the URL from the registry's challenge.
        registry: who sent the challenge.
        with_secret: a password or refresh token would go along.
        trusted: further hosts that the user's settings allow for this registry.

    Raises:
        UnsafeAnswer: no https (plain http only to the registry's own host, if that is spoken to in plain http too), an
            address inside this network, or a stranger that would get the password.
    """
    try:
        origin = Origin.of(realm)
    except ValueError:
        raise UnsafeAnswer(f"{registry.netloc} sends to {redact(realm)!r} for a token, which is no URL") from None
    if origin.scheme != "https" and not (registry.scheme == "http" and origin.host == registry.host):
        raise UnsafeAnswer(
            f"{registry.netloc} sends to {redact(realm)} for a token, without TLS", hint="nothing was sent there"
        )
    _check_reach(origin, registry, "for a token")
    allowed = (*_KNOWN_REALMS.get(registry.host, ()), *trusted)
    if with_secret and not (origin.host in allowed or origin.netloc in allowed or _same_house(origin, registry)):
        raise UnsafeAnswer(
            f"{registry.netloc} wants its password sent to {origin.netloc}, which is a stranger to it",
            hint=f"if that is right, add to ~/.wasme/config.yaml: authRealms: {{{registry.netloc}: {origin.netloc}}}",
        )


def check_redirect(source: Origin, to: str) -> None:
    """Whether a redirect may be followed.

    Raises:
        UnsafeAnswer: from https down to http, or from outside to an address inside this network.
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
    _check_reach(origin, source, what)


def _check_reach(to: Origin, source: Origin, what: str) -> None:
    """An address inside this network is reached only from one that is inside too."""
    zone = _zone(to.host)
    if zone == "open" or to.host == source.host:
        return
    if zone == "metadata" or _zone(source.host) == "open":
        raise UnsafeAnswer(
            f"{source.netloc} {what} to {to.netloc}, an address inside this network", hint="it was not followed"
        )


def _zone(host: str) -> str:
    """``open`` for names and public addresses, ``local`` or ``metadata`` for addresses inside."""
    import ipaddress

    if host == "localhost" or host.endswith(".localhost"):
        return "local"
    if host == "metadata.google.internal":
        return "metadata"
    text = host.partition("%")[0]
    if ":" not in text and re.fullmatch(r"(?i)[0-9]+|0x[0-9a-f]*", text.rpartition(".")[2]):
        # 127.1, 2130706433 and 0x7f000001 are all 127.0.0.1 to a resolver.
        try:
            text = socket.inet_ntoa(socket.inet_aton(text))
        except OSError:
            return "local"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "open"
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if inner.is_link_local:
        return "metadata"
    return "open" if inner.is_global else "local"


def _same_house(one: Origin, other: Origin) -> bool:
    """The same host, or names under one registered domain, as far as can be told without a list of all suffixes."""
    if one.host == other.host:
        return True
    if _zone(one.host) != "open" or _zone(other.host) != "open" or ":" in one.host + other.host:
        return False
    shared: list[str] = []
    for left, right in zip(reversed(one.host.split(".")), reversed(other.host.split(".")), strict=False):
        if left != right:
            break
        shared.insert(0, left)
    if len(shared) < 2 or shared[0].isdigit() or ".".join(shared) in _SHARED:
        return False
    if len(shared) == 2:
        return shared[0] not in _SECOND_LEVEL or len(shared[1]) != 2
    return not any(".".join(shared[start:]) in _SHARED for start in range(len(shared)))
