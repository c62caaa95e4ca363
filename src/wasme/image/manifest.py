"""Manifests and indexes: parsing what arrives, and choosing a child of an index.

A manifest is untrusted until its digest is checked, and hostile until it is parsed: its size, its nesting and its
counts are bounded here, and a document that could be read as a manifest and as an index is neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec

from wasme.errors import ContentMismatch, ImageError, UnsupportedImage
from wasme.image import media_types
from wasme.image.content import Fetcher, Readable
from wasme.image.descriptor import Descriptor, verify

MAX_BYTES = 4 << 20
"""What registries must take (distribution specification, end-7a), and more than any filter needs."""
MAX_LAYERS = 128
MAX_CHILDREN = 1024

_Document = TypeVar("_Document")


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """One image: a configuration and layers, in order."""

    config: Descriptor
    layers: list[Descriptor]
    schema_version: int = 2
    media_type: str | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Configuration and layers, each digest once, in order."""
        found: dict[str, Descriptor] = {}
        for blob in (self.config, *self.layers):
            found.setdefault(blob.digest, blob)
        return tuple(found.values())


class Index(msgspec.Struct, frozen=True, rename="camel"):
    """Several manifests under one name, told apart by platform."""

    manifests: list[Descriptor]
    schema_version: int = 2
    media_type: str | None = None


_ABSENT = msgspec.Raw(b"null")


class _Shape(msgspec.Struct, rename="camel"):
    """Just enough to see what a document claims to be."""

    schema_version: int | None = None
    media_type: str | None = None
    config: msgspec.Raw = _ABSENT
    layers: msgspec.Raw = _ABSENT
    manifests: msgspec.Raw = _ABSENT
    fs_layers: msgspec.Raw = _ABSENT


def parse(content: bytes) -> Manifest | Index:
    """Read a manifest or an index, whichever the document is.

    Raises:
        UnsupportedImage: it is neither, is both, is too large, or is Docker's schema 1.
    """
    if len(content) > MAX_BYTES:
        raise UnsupportedImage(f"a manifest of {len(content)} bytes; the limit is {MAX_BYTES}")
    shape = _decode(content, _Shape)
    an_index, layers, config = (bytes(part) != b"null" for part in (shape.manifests, shape.layers, shape.config))
    if bytes(shape.fs_layers) != b"null" or shape.schema_version == 1 or shape.media_type in media_types.DOCKER_SCHEMA1:
        raise UnsupportedImage(
            "the image has a Docker schema 1 manifest, which cannot be verified and is not supported",
            hint="push it again with any tool made after 2016",
        )
    if an_index and (layers or config):
        raise UnsupportedImage("the manifest claims to be an image and an index at once")
    if an_index:
        if shape.media_type in media_types.MANIFESTS:
            raise UnsupportedImage(f"an index that calls itself {shape.media_type}")
        index = _decode(content, Index)
        if len(index.manifests) > MAX_CHILDREN:
            raise UnsupportedImage(f"an index of {len(index.manifests)} manifests; the limit is {MAX_CHILDREN}")
        return index
    if not config or not layers:
        raise UnsupportedImage("the document is neither an image manifest nor an index")
    if shape.media_type in media_types.INDEXES:
        raise UnsupportedImage(f"an image manifest that calls itself {shape.media_type}")
    manifest = _decode(content, Manifest)
    if len(manifest.layers) > MAX_LAYERS:
        raise UnsupportedImage(f"an image of {len(manifest.layers)} layers; the limit is {MAX_LAYERS}")
    if len({(blob.digest, blob.size) for blob in (manifest.config, *manifest.layers)}) != len(manifest.blobs):
        raise UnsupportedImage("the manifest promises one digest in two sizes")
    return manifest


def choose(index: Index) -> Descriptor:
    """The child of an index to run: a module runs on any platform, so the order only settles who agrees with whom.

    First what Istio and Envoy Gateway take (linux/amd64, or a child without a platform), then wasip1/wasm, then the
    first image manifest of any platform; build attestations never.

    Raises:
        UnsupportedImage: no child is an image manifest.
    """
    images = [child for child in index.manifests if child.media_type in media_types.MANIFESTS and not _attests(child)]
    for fits in (_istio_takes, _is_wasm, lambda _: True):
        for child in images:
            if fits(child):
                # Of the child only what names it is passed on: annotations of an index bind nobody.
                return Descriptor(media_type=child.media_type, digest=child.digest, size=child.size)
    raise UnsupportedImage(
        "the index holds no image manifest"
        + (f", only {_names(child.media_type for child in index.manifests)}" if index.manifests else " at all")
    )


def fetch(fetcher: Fetcher, descriptor: Descriptor, limit: int | None = None) -> bytes:
    """All bytes of a small blob, verified; the promised size is checked before anything is read.

    Args:
        fetcher: where it is.
        descriptor: what it must be.
        limit: the most bytes it may have; None is what a manifest may have.

    Raises:
        UnsupportedImage: more than ``limit`` bytes are promised.
        ContentMismatch: something else arrived.
    """
    limit = MAX_BYTES if limit is None else limit
    if descriptor.size > limit:
        raise UnsupportedImage(f"{descriptor.digest} has {descriptor.size} bytes; the limit is {limit}")
    opened: AbstractContextManager[Readable] = fetcher.fetch(descriptor)
    with opened as source:
        parts: list[bytes] = []
        missing = descriptor.size + 1  # one more, to notice content that goes on
        while missing > 0 and (part := source.read(missing)):
            parts.append(part)
            missing -= len(part)
    content = b"".join(parts)
    if len(content) > descriptor.size:
        raise ContentMismatch(f"{descriptor.digest}: more than the promised {descriptor.size} bytes arrived")
    verify(content, descriptor)
    return content


def fetch_manifest(fetcher: Fetcher, descriptor: Descriptor) -> tuple[Descriptor, bytes, Manifest]:
    """The image manifest that ``descriptor`` names, or the chosen child of the index that it names.

    Raises:
        ImageError: it cannot be had, verified or read; the digest is in the message.
    """
    content = fetch(fetcher, descriptor)
    parsed = _parse_named(content, descriptor)
    if isinstance(parsed, Index):
        descriptor = choose(parsed)
        content = fetch(fetcher, descriptor)
        parsed = _parse_named(content, descriptor)
        if isinstance(parsed, Index):
            raise UnsupportedImage(f"{descriptor.digest} is an index inside an index")
    media_type = parsed.media_type or descriptor.media_type
    if media_type not in media_types.MANIFESTS:
        media_type = media_types.OCI_MANIFEST
    plain = Descriptor(media_type=media_type, digest=descriptor.digest, size=descriptor.size)
    return plain, content, parsed


def _parse_named(content: bytes, descriptor: Descriptor) -> Manifest | Index:
    try:
        return parse(content)
    except ImageError as error:
        raise UnsupportedImage(f"{descriptor.digest}: {error.message}", hint=error.hint) from None


def _decode(content: bytes, kind: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise UnsupportedImage("the manifest is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnsupportedImage(f"the manifest cannot be read: {error}") from None


def _platform(child: Descriptor) -> tuple[str, str]:
    platform = child.platform or {}
    return str(platform.get("os") or ""), str(platform.get("architecture") or "")


def _istio_takes(child: Descriptor) -> bool:
    return _platform(child) in {("linux", "amd64"), ("", "")}


def _is_wasm(child: Descriptor) -> bool:
    system, architecture = _platform(child)
    return architecture == "wasm" or system.startswith("wasi")


def _attests(child: Descriptor) -> bool:
    return (
        _platform(child) == ("unknown", "unknown")
        or (child.annotations or {}).get("vnd.docker.reference.type") == "attestation-manifest"
    )


def _names(values: Iterable[str]) -> str:
    return ", ".join(sorted({value or "something without a media type" for value in values}))
