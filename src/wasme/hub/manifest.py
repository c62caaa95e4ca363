"""What the hub reads in a manifest: which content it names, and what lists show of it. The bytes stay as they came."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from wasme.hub.refusal import Refusal
from wasme.image.descriptor import Descriptor
from wasme.image.media_types import (
    ABI_VERSION,
    INDEXES,
    MANIFESTS,
    MODULE_LAYER,
    OCI_INDEX,
    OCI_MANIFEST,
    WASM,
    WASM_TO_OCI_LAYER,
)

_MEDIA_TYPE = re.compile(r"application/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.ASCII | re.IGNORECASE)
_MODULES = frozenset({MODULE_LAYER, WASM_TO_OCI_LAYER, WASM})
# Layers that their registry must not hold (image specification 1.0; Docker's foreign layers).
_ELSEWHERE = re.compile(r"application/vnd\.oci\.image\.layer\.nondistributable\..*|.*\.foreign\.diff\.tar(?:\.gzip)?")
_MAX_WORDS = 8192
_MAX_SIZE = 2**62


class Document(msgspec.Struct, rename="camel"):
    """The fields of image manifests and indexes that matter here; anything else is left alone."""

    schema_version: int = 2
    media_type: str | None = None
    artifact_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    blobs: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


@dataclass(frozen=True)
class Manifest:
    """A manifest as pushed, and what was read in it.

    Attributes:
        body: the exact bytes.
        media_type: as it will be served.
        blobs: content that the repository must hold as blobs.
        children: manifests that the repository must hold (an index's).
        subject: the manifest this one refers to; it may be missing.
        artifact_type: as the referrers API tells it.
        annotations: the manifest's own.
        image_size: bytes of the manifest and of everything it names, each as often as it is named.
        module_digest: the wasm module's, where a layer is one.
    """

    body: bytes
    media_type: str
    blobs: list[Descriptor]
    children: list[Descriptor]
    subject: str | None
    artifact_type: str | None
    annotations: dict[str, str]
    image_size: int
    module_digest: str | None

    @property
    def words(self) -> str:
        """What search finds besides the names: the annotations' values."""
        texts = (value for key, value in sorted(self.annotations.items()) if key != ABI_VERSION)
        return " ".join(texts)[:_MAX_WORDS]


def parse(body: bytes, content_type: str | None) -> Manifest:
    """Read a pushed manifest.

    Args:
        body: its bytes.
        content_type: the request's Content-Type, parameters and all; None where there was none.

    Raises:
        Refusal: 400 MANIFEST_INVALID, with the place in the document.
    """
    try:
        document = msgspec.json.decode(body, type=Document)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _invalid(str(error)) from None
    declared = (content_type or "").partition(";")[0].strip()
    if declared.lower() in ("application/json", "application/octet-stream"):  # says nothing about the document
        declared = ""
    if declared and document.media_type and declared != document.media_type:
        raise _invalid(f"the Content-Type is {declared[:100]}, the document's mediaType is {document.media_type[:100]}")
    media_type = declared or document.media_type or _guess(document)
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise _invalid(f"{media_type[:100]!r} is no media type of a manifest")
    if document.schema_version != 2:
        raise _invalid(f"schemaVersion is {document.schema_version}, only 2 is taken")
    layers = [*(document.layers or ()), *(document.blobs or ())]
    is_index = media_type in INDEXES
    if is_index and (document.config or layers):
        raise _invalid("an index with a config or layers")
    if media_type in MANIFESTS and document.config is None:
        raise _invalid("an image manifest without config")
    config = [document.config] if document.config else []
    children = document.manifests or []
    image_size = len(body) + sum(each.size for each in [*config, *layers, *children])
    if image_size > _MAX_SIZE:
        raise _invalid("its sizes add up to more than there is")
    artifact_type = document.artifact_type
    if not artifact_type and document.config:
        artifact_type = document.config.media_type
    return Manifest(
        body=body,
        media_type=media_type,
        blobs=[each for each in [*config, *layers] if not (each.urls or _ELSEWHERE.fullmatch(each.media_type))],
        children=children,
        subject=document.subject.digest if document.subject else None,
        artifact_type=artifact_type or None,
        annotations=document.annotations or {},
        image_size=image_size,
        module_digest=next((each.digest for each in layers if each.media_type in _MODULES), None),
    )


def _guess(document: Document) -> str:
    return OCI_INDEX if document.manifests is not None else OCI_MANIFEST


def _invalid(reason: str) -> Refusal:
    return Refusal(400, "MANIFEST_INVALID", f"the manifest cannot be taken: {reason[:400]}")
