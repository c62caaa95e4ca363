"""A place for content in memory, and images put together by hand as other tools make them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from wasme.errors import StoreError
from wasme.image.content import Opener, Readable, from_bytes
from wasme.image.descriptor import Descriptor, describe, verify
from wasme.image.reference import Reference

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REFERENCE = Reference.parse("localhost:5000/demo/filter:v1")


class Shelf:
    """Fetcher, Pusher, Resolver and Tagger over dictionaries; notes what was done, in order."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.names: dict[str, Descriptor] = {}
        self.events: list[tuple[str, str]] = []

    def put(self, content: bytes, media_type: str, annotations: dict[str, str] | None = None) -> Descriptor:
        described = describe(content, media_type, annotations)
        self.blobs[described.digest] = content
        return described

    def put_json(self, document: Any, media_type: str) -> Descriptor:
        return self.put(json.dumps(document).encode(), media_type)

    def image(
        self,
        config: Descriptor,
        layers: Iterable[Descriptor],
        media_type: str = OCI_MANIFEST,
        annotations: dict[str, str] | None = None,
        **more: Any,
    ) -> Descriptor:
        """Put a manifest; ``more`` are further keys of it."""
        document = {
            "schemaVersion": 2,
            "config": plain(config),
            "layers": [plain(layer) for layer in layers],
            **({"annotations": annotations} if annotations else {}),
            **more,
        }
        return self.put_json(document, media_type)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
        self.events.append(("fetch", descriptor.digest))
        if descriptor.digest not in self.blobs:
            raise StoreError(f"no {descriptor.digest}")
        return from_bytes(self.blobs[descriptor.digest])(offset)

    def push(self, descriptor: Descriptor, opener: Opener) -> None:
        with opener(0) as source:
            content = b""
            while part := source.read(1 << 16):
                content += part
        verify(content, descriptor)
        self.blobs[descriptor.digest] = content
        self.events.append(("push", descriptor.digest))

    def resolve(self, reference: Reference) -> Descriptor:
        return self.names[str(reference)]

    def tag(self, descriptor: Descriptor, reference: Reference) -> None:
        self.names[str(reference)] = descriptor
        self.events.append(("tag", descriptor.digest))


def plain(descriptor: Descriptor) -> dict[str, Any]:
    """A descriptor as JSON."""
    found: dict[str, Any] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
        "annotations": descriptor.annotations,
        "platform": descriptor.platform,
    }
    return {key: value for key, value in found.items() if value is not None}


def packed(*files: tuple[str, bytes] | tarfile.TarInfo, form: int = tarfile.GNU_FORMAT) -> bytes:
    """A gzipped tar of ``(name, content)`` pairs and ready-made entries without content."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as archive:
        for file in files:
            if isinstance(file, tarfile.TarInfo):
                archive.addfile(file)
            else:
                info = tarfile.TarInfo(file[0])
                info.size = len(file[1])
                archive.addfile(info, io.BytesIO(file[1]))
    return gzip.compress(target.getvalue())
