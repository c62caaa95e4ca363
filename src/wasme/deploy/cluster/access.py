"""What connections to one API server as one user are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Plugin:
    """A program that gives credentials: ``users[].user.exec``."""

    command: str
    args: tuple[str, ...]
    env: Mapping[str, str]
    api_version: str
    provide_cluster_info: bool = False
    install_hint: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """One server and one user. Certificates and keys are PEM bytes. Its ``repr`` shows no secret."""

    server: str
    context: str = ""
    namespace: str = "default"
    user: str = ""
    origin: str = ""
    ca: bytes | None = None
    insecure: bool = False
    server_name: str = ""
    proxy: str = field(default="", repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    plugin: Plugin | None = field(default=None, repr=False)
    impersonate: tuple[tuple[str, str], ...] = ()


def is_address(text: str, *schemes: str) -> bool:
    """Whether a text is a URL of a host, with one of these schemes."""
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and parts.port != 0 and "\\" not in text and is_host(parts.hostname or "")
    except ValueError:
        return False


def is_host(name: str) -> bool:
    """Whether a name can be one of a host: in DNS, in a certificate."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return bool(name.strip(".")) and name.isprintable() and not set(name) & set(" %/\\@")
