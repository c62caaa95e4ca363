"""The ways in which a filter is laid out as an image, behind one seam: ``build`` writes three, ``read`` reads all.

======== ========================================================================= ==============================
oci      the original's: the runtime config twice and the raw module               the original, Istio, gateways
compat   a container image whose last layer holds plugin.wasm, packed              Istio, gateways
wasm     CNCF's: one raw layer ``application/wasm``                                wkg, wasmCloud, runwasi
======== ========================================================================= ==============================

Read besides: ``wasm-pkg`` (the original's module layer without its config) and ``wasm-to-oci``. Where an image could be
read in two ways, Istio's order decides, so that what wasme shows is what a mesh runs: a packed last layer first. An
index is followed to one child (`manifest.choose`). Extra layers are never written: Istio refuses them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wasme.errors import InputError, StoreError, UnsupportedImage
from wasme.image import gojson, manifest, media_types, runtime_config, tarball
from wasme.image.content import Fetcher, Opener, Readable, Verified, from_bytes, from_file
from wasme.image.descriptor import Descriptor, describe
from wasme.image.manifest import Manifest
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig

_EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class FilterImage:
    """One image that carries a filter, read and verified.

    Attributes:
        reference: the name under which it was asked for.
        manifest: the image manifest's descriptor; of an index, the chosen child's.
        manifest_bytes: the manifest, byte for byte.
        layout: ``oci``, ``compat``, ``wasm``, ``wasm-pkg`` or ``wasm-to-oci``.
        config: the runtime config; empty where the image carries none.
        module: digest and size of the bare module; its layer's descriptor, except in layout ``compat``.
        parsed: the manifest as a value.
        chosen_from: the digest of the index that the manifest was chosen from, or None.
    """

    reference: Reference
    manifest: Descriptor
    manifest_bytes: bytes
    layout: str
    config: RuntimeConfig
    module: Descriptor
    parsed: Manifest
    chosen_from: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A new image, not yet anywhere; a place to copy it from.

    Attributes:
        layout: as asked for.
        config: the runtime config.
        module: digest and size of the bare module.
        descriptor: the manifest's descriptor.
        blobs: every blob of the image with its content, the manifest last.
    """

    layout: str
    config: RuntimeConfig
    module: Descriptor
    descriptor: Descriptor
    blobs: tuple[tuple[Descriptor, Opener], ...]

    @property
    def manifest(self) -> bytes:
        """The manifest, byte for byte."""
        with self.blobs[-1][1](0) as content:
            return content.read(self.descriptor.size)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
        """Open one of the blobs."""
        for blob, opener in self.blobs:
            if blob.digest == descriptor.digest:
                return opener(offset)
        raise StoreError(f"{descriptor.digest} is not part of the image")

    def resolve(self, _reference: Reference) -> Descriptor:
        """A draft is what any name stands for."""
        return self.descriptor


@dataclass(frozen=True, slots=True)
class _Module:
    """A bare module on its way into an image."""

    opener: Opener
    digest: str
    size: int

    def descriptor(self, media_type: str, annotations: dict[str, str] | None = None) -> Descriptor:
        return Descriptor(media_type=media_type, digest=self.digest, size=self.size, annotations=annotations)


def build(layout: str, module: bytes | Path, config: RuntimeConfig) -> Draft:
    """Lay a module out as an image; the same arguments give the same bytes.

    Args:
        layout: ``oci``, ``compat`` or ``wasm``.
        module: the module's bytes, or its file, which is streamed, never held.
        config: its runtime config.

    Raises:
        InputError: the file cannot be read, or the layout is unknown.
    """
    if layout not in _WRITERS:
        raise InputError(f"unknown layout {layout!r}", hint=f"layouts are {', '.join(_WRITERS)}")
    return _WRITERS[layout](_measure(module), config)


def oci_manifest(config: RuntimeConfig, module: Descriptor) -> tuple[bytes, bytes]:
    """The original's configuration blob and manifest, byte for byte.

    Args:
        config: the runtime config.
        module: the module layer's descriptor, as it is to stand in the manifest.
    """
    config_blob = runtime_config.encode(config)
    described = describe(config_blob, media_types.RUNTIME_CONFIG, {media_types.TITLE: runtime_config.FILE_NAME})
    return config_blob, _manifest(described, [described, module], _told(config), media_type=False)


def _oci(module: _Module, config: RuntimeConfig) -> Draft:
    layer = module.descriptor(media_types.MODULE_LAYER, {media_types.TITLE: "filter.wasm"})
    config_blob, document = oci_manifest(config, layer)
    described = describe(config_blob, media_types.RUNTIME_CONFIG, {media_types.TITLE: runtime_config.FILE_NAME})
    return _draft("oci", config, layer, document, (described, from_bytes(config_blob)), (layer, module.opener))


def _compat(module: _Module, config: RuntimeConfig) -> Draft:
    import tempfile

    try:
        handle, name = tempfile.mkstemp(prefix="wasme")
        scratch = _Scratch(handle)
        Path(name).unlink()
        with scratch.writer() as file:
            unpacked = tarball.write(module.opener(0), module.size, runtime_config.encode(config), file)
    except OSError as error:
        raise StoreError(f"the layer cannot be packed in the temporary folder: {error.strerror}") from None
    opener = scratch.open_at
    measured = _measure_stream(opener)
    layer = measured.descriptor(media_types.OCI_TAR_GZIP)
    # A container image must name a platform; of those a cluster knows, amd64 is the one Istio asks an index for.
    config_blob = gojson.encode(
        {
            "created": _EPOCH,
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [unpacked]},
        }
    )
    described = describe(config_blob, media_types.OCI_CONFIG)
    annotations = {media_types.VARIANT: "compat", **_told(config)}
    document = _manifest(described, [layer], annotations)
    bare = module.descriptor(media_types.WASM)
    return _draft("compat", config, bare, document, (described, from_bytes(config_blob)), (layer, opener))


def _wasm(module: _Module, config: RuntimeConfig) -> Draft:
    layer = module.descriptor(media_types.WASM)
    config_blob = gojson.encode(
        {"created": _EPOCH, "architecture": "wasm", "os": "wasip1", "layerDigests": [layer.digest]}
    )
    described = describe(config_blob, media_types.WASM_CONFIG)
    annotations = {media_types.CARRIED_CONFIG: runtime_config.encode(config).decode(), **_told(config)}
    document = _manifest(described, [layer], annotations)
    return _draft("wasm", config, layer, document, (described, from_bytes(config_blob)), (layer, module.opener))


_WRITERS: dict[str, Callable[[_Module, RuntimeConfig], Draft]] = {"oci": _oci, "compat": _compat, "wasm": _wasm}
LAYOUTS = tuple(_WRITERS)
"""What ``build`` can write."""


def identify(parsed: Manifest) -> tuple[str, Descriptor]:
    """The layout of an image and the layer that carries its module, told from the manifest alone.

    Raises:
        UnsupportedImage: no layer can carry a filter.
    """
    if parsed.layers and parsed.layers[-1].media_type in media_types.TAR_LAYERS:
        return "compat", parsed.layers[-1]
    for media_type, layout in (
        (media_types.MODULE_LAYER, "oci" if _runtime_config_of(parsed) else "wasm-pkg"),
        (media_types.WASM, "wasm"),
        (media_types.WASM_TO_OCI_LAYER, "wasm-to-oci"),
    ):
        for layer in parsed.layers:
            if layer.media_type == media_type:
                return layout, layer
    kinds = sorted({layer.media_type or "nothing" for layer in parsed.layers})
    raise UnsupportedImage(
        f"the image holds no filter: its layers are {', '.join(kinds)[:300]}"
        if kinds
        else "the image holds no filter: it has no layers",
        hint="an Envoy filter is pushed by `wasme push`, or as an OCI image whose last layer holds plugin.wasm",
    )


def read(
    fetcher: Fetcher, descriptor: Descriptor, reference: Reference, sink: Callable[[bytes], object] | None = None
) -> FilterImage:
    """Read an image of any layout; everything taken from it is verified.

    Args:
        fetcher: where its blobs are.
        descriptor: its manifest, or an index with its manifest in it.
        reference: what it is called.
        sink: takes the module's bytes where they must be unpacked anyway (layout ``compat``).

    Raises:
        ImageError: it is no filter, or its content is not what it promises.
    """
    chosen, document, parsed = manifest.fetch_manifest(fetcher, descriptor)
    layout, layer = identify(parsed)
    module, config_bytes = layer, None
    if layout == "compat":
        with fetcher.fetch(layer) as opened:
            verified = Verified(opened, layer)
            plugin = tarball.read(verified, sink)
            verified.drain()
        module, config_bytes = plugin.module, plugin.config
    return FilterImage(
        reference=reference,
        manifest=chosen,
        manifest_bytes=document,
        layout=layout,
        config=_config(fetcher, parsed, config_bytes, str(reference)),
        module=module,
        parsed=parsed,
        chosen_from=descriptor.digest if chosen.digest != descriptor.digest else None,
    )


def _config(fetcher: Fetcher, parsed: Manifest, content: bytes | None, where: str) -> RuntimeConfig:
    """The runtime config: from the layer, else the configuration blob, else what the annotations tell."""
    told = parsed.annotations or {}
    if content is None and (blob := _runtime_config_of(parsed)):
        content = manifest.fetch(fetcher, blob, runtime_config.MAX_BYTES)
    if content is None and media_types.CARRIED_CONFIG in told:
        content = told[media_types.CARRIED_CONFIG].encode()
    if content is not None:
        return runtime_config.parse(content, f"the runtime config of {where}", strict=False)
    versions = told.get(media_types.ABI_VERSION, "")
    return RuntimeConfig(
        type=told.get(media_types.RUNTIME_TYPE, ""),
        abi_versions=tuple(version for version in versions.split(",") if version),
    )


def _runtime_config_of(parsed: Manifest) -> Descriptor | None:
    for blob in (parsed.config, *parsed.layers):
        if blob.media_type == media_types.RUNTIME_CONFIG:
            return blob
    return None


def _told(config: RuntimeConfig) -> dict[str, str]:
    return {media_types.ABI_VERSION: ",".join(config.abi_versions), media_types.RUNTIME_TYPE: config.type}


def _manifest(
    config: Descriptor, layers: list[Descriptor], annotations: dict[str, str], *, media_type: bool = True
) -> bytes:
    """A manifest as Go writes it; the original's has no ``mediaType``."""
    return gojson.encode(
        {
            "schemaVersion": 2,
            **({"mediaType": media_types.OCI_MANIFEST} if media_type else {}),
            "config": _descriptor(config),
            "layers": [_descriptor(layer) for layer in layers],
            "annotations": dict(sorted(annotations.items())),
        }
    )


def _descriptor(described: Descriptor) -> dict[str, gojson.Json]:
    fields: dict[str, gojson.Json] = {
        "mediaType": described.media_type,
        "digest": described.digest,
        "size": described.size,
    }
    if described.annotations:
        fields["annotations"] = dict(sorted(described.annotations.items()))
    return fields


def _draft(
    layout: str, config: RuntimeConfig, module: Descriptor, document: bytes, *blobs: tuple[Descriptor, Opener]
) -> Draft:
    described = describe(document, media_types.OCI_MANIFEST)
    return Draft(layout, config, module, described, (*blobs, (described, from_bytes(document))))


def _measure(module: bytes | Path) -> _Module:
    if isinstance(module, bytes):
        return _measure_stream(from_bytes(module))
    try:
        return _measure_stream(from_file(module))
    except OSError as error:
        raise InputError(f"{module} cannot be read: {error.strerror}") from None


def _measure_stream(opener: Opener) -> _Module:
    import hashlib

    hashed, size = hashlib.sha256(), 0
    with opener(0) as content:
        while part := content.read(256 << 10):
            hashed.update(part)
            size += len(part)
    return _Module(opener, f"sha256:{hashed.hexdigest()}", size)


class _Scratch:
    """A file without a name, gone with the last one who holds it; read at several offsets at once."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __del__(self) -> None:
        os.close(self._handle)

    def writer(self) -> IO[bytes]:
        """A file object to write it with."""
        return os.fdopen(os.dup(self._handle), "wb")

    def open_at(self, offset: int) -> AbstractContextManager[Readable]:
        """Open it for reading."""
        return _At(self, offset)

    def pread(self, size: int, offset: int) -> bytes:
        """Bytes from ``offset`` on."""
        return os.pread(self._handle, size, offset)


class _At:
    """Reads a scratch file from an offset without moving anyone else's."""

    def __init__(self, scratch: _Scratch, offset: int) -> None:
        self._scratch = scratch
        self._offset = offset

    def __enter__(self) -> _At:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, size: int, /) -> bytes:
        part = self._scratch.pread(size, self._offset)
        self._offset += len(part)
        return part
