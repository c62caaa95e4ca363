"""``HOST:PORT``, as users type it and as Envoy's configuration and admin interface write it."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from wasme.errors import UsageError

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked for, not bound


@dataclass(frozen=True, slots=True)
class Address:
    """A host name or IP address without brackets, and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, what: str) -> Address:
        """Read ``HOST:PORT`` or ``[IPv6]:PORT``.

        Args:
            what: names the value in the error, such as ``--listen``.

        Raises:
            UsageError: it is neither.
        """
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        right = bool(colon and bare) and port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
        if not right or (":" in bare and bare == host) or any(letter in bare for letter in " /[]"):
            raise UsageError(f"{what}: {text!r} is not HOST:PORT", hint="such as 127.0.0.1:8080 or [::1]:8080")
        return cls(bare, int(port))

    @property
    def reachable(self) -> Address:
        """Where to connect: loopback, if this stands for every address of the machine."""
        return Address(_ANYWHERE.get(self.host, self.host), self.port)

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address and needs no name resolution."""
        try:
            host = self.host.partition("%")[0]  # an IPv6 address may name its interface
            socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        except OSError:
            return False
        return True

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine, or only this container, can reach it."""
        return self.host in ("localhost", "::1") or (self.host.startswith("127.") and self.is_ip)

    @property
    def is_anywhere(self) -> bool:
        """Whether it stands for every address of the machine."""
        return self.host in _ANYWHERE

    def to_bind(self, what: str) -> Address:
        """The same, fit to listen on.

        Args:
            what: names the value in the error, such as ``--listen``.

        Raises:
            UsageError: the host is a name; Envoy looks none up to listen on.
        """
        if self.host == "localhost":
            return Address("127.0.0.1", self.port)
        if not self.is_ip:
            raise UsageError(
                f"{what}: {self.host!r} is not an IP address",
                hint="127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses",
            )
        return self

    def envoy(self) -> dict[str, Any]:
        """As Envoy's ``config.core.v3.Address``."""
        return {"socket_address": {"address": self.host, "port_value": self.port}}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
