"""Image references, normalised as Docker does it (the original's "full ref").

``add-header`` is ``docker.io/library/add-header:latest``; ``localhost:5000/a/b:v1`` stays as it is. Unlike the
original, which dropped it, a digest is kept and honoured: ``name@sha256:…`` and ``name:tag@sha256:…``.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from wasme.errors import InvalidReference
from wasme.image.digest import DIGEST

_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_DOMAIN = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
"""The expression of one component of a repository's name."""
PATH = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*")
"""A repository's name without its host."""
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
"""A tag."""
FULL = re.compile(
    rf"((?!(?:index\.)?docker\.io/)(?=localhost/|[^/]*[.:])(?:{_DOMAIN.pattern})/(?:{PATH.pattern})):({TAG.pattern})"
)
"""A full reference with a tag, outside Docker's own hub: name and tag, as `Reference.parse` finds them, in one step."""
_IDENTIFIER = re.compile(r"[a-f0-9]{64}")
_MAX_NAME = 255
_GRAMMAR = "a reference is [HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST], the name in lower case"


class Reference(NamedTuple):
    """A parsed image reference.

    Attributes:
        domain: the registry's host, with its port if it has one, e.g. ``docker.io``.
        path: the repository in that registry, e.g. ``library/add-header``.
        tag: the tag; ``latest`` where neither tag nor digest was given, None where only a digest was.
        digest: the manifest's digest, or None.
    """

    domain: str
    path: str
    tag: str | None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Parse what a user types.

        Raises:
            InvalidReference: with the original's words, and the grammar as hint.
        """
        if _IDENTIFIER.fullmatch(text):
            raise InvalidReference(f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings")
        name, at, digest = text.partition("@")
        if at and not DIGEST.fullmatch(digest):
            raise InvalidReference(f"invalid reference format: {text[:300]!r}: the digest", hint=_GRAMMAR)
        tag: str | None = None
        colon = name.rfind(":")
        if colon > name.rfind("/"):
            name, tag = name[:colon], name[colon + 1 :]
            if not TAG.fullmatch(tag):
                raise InvalidReference(f"invalid reference format: {text[:300]!r}: the tag", hint=_GRAMMAR)
        found = _split(name)
        if found is None:
            raise _complaint(text, name)
        if tag is None and not at:
            tag = "latest"
        return cls(*found, tag, digest or None)

    @property
    def name(self) -> str:
        """The repository with its host: ``docker.io/library/add-header``."""
        return f"{self.domain}/{self.path}"

    @property
    def full(self) -> str:
        """The whole reference, as logs and the store write it."""
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.full


@functools.lru_cache(1024)
def _split(name: str) -> tuple[str, str] | None:
    """Domain and path of a name without tag and digest; None where it names nothing. Cached: names recur in lists."""
    domain, path = _components(name)
    if not PATH.fullmatch(path) or not _DOMAIN.fullmatch(domain) or len(domain) + 1 + len(path) > _MAX_NAME:
        return None
    return domain, path


def _components(name: str) -> tuple[str, str]:
    """Docker's rule for the first component: a host has a dot or a colon, or is ``localhost``."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        domain, path = "docker.io", name
    else:
        domain, path = first, rest
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return domain, path


def _complaint(text: str, name: str) -> InvalidReference:
    """Why ``name``, the part of ``text`` before tag and digest, names nothing; in Docker's words."""
    domain, path = _components(name)
    if len(domain) + 1 + len(path) > _MAX_NAME:
        return InvalidReference(f"repository name must not be more than {_MAX_NAME} characters: {text[:80]!r}…")
    if path != path.lower() and _split(f"{domain}/{path.lower()}"):
        return InvalidReference(
            f"invalid reference format: repository name must be lowercase: {text!r}",
            hint=f"use {name.lower() + text[len(name) :]!r}",
        )
    return InvalidReference(f"invalid reference format: {text[:300]!r}", hint=_GRAMMAR)
