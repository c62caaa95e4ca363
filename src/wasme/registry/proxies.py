"""Which proxy a request goes through: http_proxy, https_proxy and no_proxy, in lower or upper case.

The rules are Go's (golang.org/x/net/http/httpproxy), which the original followed: loopback is never proxied, and
``no_proxy`` holds hosts (and all below them), ``.suffixes``, addresses, networks (CIDR), each with an optional port,
or ``*``.
"""

from __future__ import annotations

import os
from base64 import b64encode
from urllib.parse import unquote, urlsplit

import msgspec

from wasme.errors import InvalidSettings
from wasme.registry.origin import Origin


class Proxy(msgspec.Struct, frozen=True):
    """An HTTP proxy; ``authorization`` is the value of Proxy-Authorization, or None."""

    host: str
    port: int
    authorization: str | None = None


def proxy_for(origin: Origin) -> Proxy | None:
    """The proxy the environment names for ``origin``.

    Raises:
        InvalidSettings: the variable holds something that is no http proxy.
    """
    name = f"{origin.scheme}_proxy"
    value = os.environ.get(name) or os.environ.get(name.upper())
    # A CGI server sets HTTP_PROXY from a request's "Proxy:" header.
    if not value or (origin.scheme == "http" and "REQUEST_METHOD" in os.environ and name not in os.environ):
        return None
    if _bypassed(origin, os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""):
        return None
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme != "http":
        raise InvalidSettings(
            f"{name} in the environment is not an http:// proxy",
            hint="use http://HOST:PORT, or list the registry in no_proxy",
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(host, port, authorization)


def _bypassed(origin: Origin, rules: str) -> bool:
    host = origin.host
    if origin.is_loopback:
        return True
    for rule in filter(None, (each.strip().lower() for each in rules.split(","))):
        if rule == "*":
            return True
        name, port = _split(rule)
        if port is not None and port != origin.port:
            continue
        if "/" in name or name.replace(".", "").isdigit() or ":" in name:
            if _in_network(host, name):
                return True
        elif name.startswith((".", "*.")):
            if host.endswith(name.removeprefix("*")):
                return True
        elif host == name or host.endswith("." + name):
            return True
    return False


def _split(rule: str) -> tuple[str, int | None]:
    """A rule's host and port; a bare IPv6 address has colons and no port."""
    if rule.startswith("["):
        name, _, rest = rule[1:].partition("]")
        port = rest.removeprefix(":")
    elif rule.count(":") == 1:
        name, _, port = rule.partition(":")
    else:
        name, port = rule, ""
    return name, int(port) if port.isdigit() else None


def _in_network(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
