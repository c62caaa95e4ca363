"""What a hub is told when it starts."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wasme.errors import UsageError

MAX_MANIFEST = 4 * 1024 * 1024
"""Bytes of the largest manifest taken; the distribution specification asks for at least this much."""

UPLOAD_TTL = 24 * 3600.0
"""Seconds after which an upload that nobody went on with is thrown away."""

STALL = 60.0
"""Seconds without a byte of a request's body after which the hub gives up."""

SLOWEST = 512
"""Bytes a second that a request's body must reach on average, after ``STALL``."""

DRAIN = 3.0
"""Seconds for which the hub reads on in a request that it refuses, however fast the rest comes."""

_LONGEST_NAME = 253
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Settings:
    """How one hub serves.

    Attributes:
        data: its folder: ``hub.db``, ``blobs/``, ``uploads/``.
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        open: whether anyone may push without an account (loopback only).
        private: whether nothing is shown to anyone without an account.
        workers: processes that answer.
        certificate: PEM file; with ``key`` the hub speaks HTTPS.
        key: PEM file.
        proxies: reverse proxies whose ``X-Forwarded-For`` is believed.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 5000
    open: bool = False
    private: bool = False
    workers: int = 1
    certificate: Path | None = None
    key: Path | None = None
    proxies: tuple[Network, ...] = ()

    def __post_init__(self) -> None:
        if self.open and not is_loopback(self.host):
            raise UsageError(
                f"--open lets anyone push, and {self.host} can be reached from other machines",
                hint="listen on 127.0.0.1, or make accounts with `wasme hub user add` and leave --open out",
            )
        if self.open and self.private:
            raise UsageError("--open and --private contradict each other")
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers}: at least one process must answer")
        if (self.certificate is None) != (self.key is None):
            raise UsageError("--tls-certificate and --tls-key go together")

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.certificate else "http"


def parse_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:5000``, ``[::1]:5000``, ``localhost:0``, ``:5000`` (every IPv4 address).

    Raises:
        UsageError: anything else.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"--listen {text!r} is no HOST:PORT", hint="such as 127.0.0.1:5000, [::1]:5000 or 0.0.0.0:443")
    return host or "0.0.0.0", int(port)  # noqa: S104 - ":5000" asks for it


def parse_proxies(texts: Iterable[str]) -> tuple[Network, ...]:
    """``--trusted-proxy``: addresses and networks, such as ``192.0.2.1``, ``10.0.0.0/8`` or ``fd00::/8``.

    Raises:
        UsageError: anything else.
    """
    found: list[Network] = []
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise UsageError(
                f"--trusted-proxy: {error}", hint="such as 192.0.2.1, 10.0.0.0/8 or fd00::/8; names are not looked up"
            ) from None
        mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
        if mapped is not None and network.prefixlen >= 96:
            network = ipaddress.IPv4Network((mapped, network.prefixlen - 96))
        found.append(network)
    return tuple(found)


def parse_address(text: str) -> Address | None:
    """An address as it is compared; None for no address. ``::ffff:192.0.2.1`` (on an IPv6 socket) is ``192.0.2.1``."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``, an address or a name in any case."""
    return len(host) <= _LONGEST_NAME and _is_loopback(host.lower())


@lru_cache(256)
def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = parse_address(name)
    return address is not None and address.is_loopback


def url_host(host: str) -> str:
    """``host`` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
