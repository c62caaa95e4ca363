"""Descriptors: the one way in which content is named (OCI image specification, descriptor.md)."""

from __future__ import annotations

import msgspec

from wasme.errors import ContentMismatch
from wasme.image.digest import DIGEST, sha256

__all__ = ["DIGEST", "Descriptor", "describe", "sha256", "verify"]


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A media type, a digest and a size in bytes; the key order is the original's on the wire.

    Unknown keys of a foreign descriptor are dropped: whoever needs the exact bytes keeps the bytes.
    """

    media_type: str = ""
    digest: str = ""
    size: int = 0
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None
    artifact_type: str | None = None
    platform: dict[str, object] | None = None

    def __post_init__(self) -> None:
        if not DIGEST.fullmatch(self.digest):
            raise ValueError(f"{self.digest[:100]!r} is not a sha256 or sha512 digest")
        if not 0 <= self.size < 1 << 63:
            raise ValueError(f"a size of {self.size} bytes")
        if not self.media_type.isascii() or not self.media_type.isprintable():
            raise ValueError("a media type with control characters")  # it is printed in errors

    @property
    def algorithm(self) -> str:
        """``sha256`` or ``sha512``."""
        return self.digest.partition(":")[0]

    @property
    def hex(self) -> str:
        """The digest without its algorithm."""
        return self.digest.partition(":")[2]


def describe(content: bytes, media_type: str, annotations: dict[str, str] | None = None) -> Descriptor:
    """The descriptor of ``content``."""
    return Descriptor(media_type=media_type, digest=sha256(content), size=len(content), annotations=annotations)


def verify(content: bytes, descriptor: Descriptor) -> None:
    """Check that ``content`` is what ``descriptor`` names.

    Raises:
        ContentMismatch: the size or the digest differs.
    """
    import hashlib

    if len(content) != descriptor.size:
        raise ContentMismatch(f"{descriptor.digest}: {len(content)} bytes arrived, {descriptor.size} were promised")
    found = f"{descriptor.algorithm}:{hashlib.new(descriptor.algorithm, content).hexdigest()}"
    if found != descriptor.digest:
        raise ContentMismatch(f"the content promised as {descriptor.digest} is {found}")
