"""Origins: who one talks to (RFC 6454: scheme, host and port), and URLs that may be shown."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urljoin, urlsplit

import msgspec

from wasme.errors import UnsafeAnswer
from wasme.image.loopback import is_loopback

_PORTS = {"http": 80, "https": 443}
# Query values that tell nothing secret; everything else (signatures, states, tokens) is shown as dots.
_SHOWN = frozenset(
    ("account", "client_id", "detail", "digest", "from", "last", "mount", "n", "page", "page_size", "project_id", "q",
     "scope", "service")
)  # fmt: skip


class Origin(msgspec.Struct, frozen=True):
    """A server as HTTP knows it.

    Attributes:
        scheme: ``http`` or ``https``.
        host: in lower case, an IPv6 address without its brackets.
        port: always set.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute URL.

        Raises:
            ValueError: no http(s) URL, no host, or a port that is none.
        """
        if re.search(r"[\x00-\x20\x7f\\]", url):
            raise ValueError("a URL with blanks, control characters or backslashes")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("not an http or https URL")
        return cls(parts.scheme, parts.hostname.rstrip(".").lower(), parts.port or _PORTS[parts.scheme])

    @classmethod
    def at(cls, scheme: str, host: str) -> Origin:
        """The origin of ``HOST[:PORT]``.

        Raises:
            ValueError: the port is none.
        """
        return cls.of(f"{scheme}://{host}")

    @property
    def netloc(self) -> str:
        """``HOST[:PORT]``, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """This machine: where plain http needs no asking."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


def join(base: str, location: str) -> str:
    """The absolute URL that a server means by a Location header.

    Raises:
        UnsafeAnswer: it is none, or none of http.
    """
    try:
        url = urljoin(base, location)
        Origin.of(url)
    except ValueError:
        netloc = Origin.of(base).netloc
        raise UnsafeAnswer(f"{netloc} sends to {redact(location)!r}, which is no URL") from None
    return url


def target(url: str) -> str:
    """What a request line carries of an absolute URL: path and query, never a fragment."""
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return f"{path}?{quote(parts.query, safe='/?%:@!$&()*+,;=~-._')}" if parts.query else path


def with_query(url: str, *pairs: tuple[str, str]) -> str:
    """Add query parameters to a URL that may have some already."""
    added = "&".join(f"{quote(key, safe='')}={quote(value, safe=':/,')}" for key, value in pairs)
    return f"{url}{'&' if '?' in url else '?'}{added}"


def redact(url: str) -> str:
    """The URL for a message or a log: without user, fragment and the values of unknown query keys."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an unreadable URL"
    query = "&".join(
        f"{key}={value if key in _SHOWN else '…'}" for key, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    shown = f"{parts.scheme}://{host}{parts.path}" if parts.scheme else f"{host}{parts.path}"
    return re.sub(r"[^\x21-\x7e…]", "?", f"{shown}?{query}" if query else shown)[:500]
