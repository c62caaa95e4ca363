"""The guards against hostile images: each trap is caught, and goes through once its guard is switched off.

So a guard that is taken out, or moved to where it no longer stands in the way, fails here by name.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures import modules
from tests.unit.image.shelf import OCI_MANIFEST, REFERENCE, Shelf, packed, plain
from wasme.errors import ImageError
from wasme.image import content, layouts, manifest, runtime_config, tarball
from wasme.image.descriptor import Descriptor

MODULE = modules.minimal()
OCI_TAR = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
RUNTIME_CONFIG = "application/vnd.module.wasm.config.v1+json"
MODULE_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"


def compat(shelf: Shelf, *files: tuple[str, bytes] | tarfile.TarInfo) -> Descriptor:
    return shelf.image(shelf.put(b"{}", "x/config"), [shelf.put(packed(*files), OCI_TAR)])


def sparse(shelf: Shelf) -> Descriptor:
    holes = tarfile.TarInfo("plugin.wasm")
    holes.type = tarfile.GNUTYPE_SPARSE
    return compat(shelf, holes)


def outside(shelf: Shelf) -> Descriptor:
    return compat(shelf, ("../../plugin.wasm", MODULE))


def twice(shelf: Shelf) -> Descriptor:
    return compat(shelf, ("plugin.wasm", MODULE), ("x/plugin.wasm", MODULE))


def bomb(shelf: Shelf) -> Descriptor:
    return compat(shelf, ("plugin.wasm", bytes(20 << 20)))


def large(shelf: Shelf) -> Descriptor:
    return compat(shelf, ("README", modules.sized(3 << 20)), ("plugin.wasm", MODULE))


def crowd(shelf: Shelf) -> Descriptor:
    return compat(shelf, *[("x", b"")] * 10_001, ("plugin.wasm", MODULE))


def long_header(shelf: Shelf) -> Descriptor:
    return compat(shelf, ("x" * 100_000, b""), ("plugin.wasm", MODULE))


def damaged_header(shelf: Shelf) -> Descriptor:
    return damaged(shelf, 0)


def damaged_end(shelf: Shelf) -> Descriptor:
    return damaged(shelf, 512 + -(-len(MODULE) // 512) * 512)


def damaged(shelf: Shelf, header: int) -> Descriptor:
    archive = bytearray(gzip.decompress(packed(("plugin.wasm", MODULE), ("x", b""))))
    archive[header + 105] ^= 1
    layer = shelf.put(gzip.compress(bytes(archive)), OCI_TAR)
    return shelf.image(shelf.put(b"{}", "x/config"), [layer])


def swapped_layer(shelf: Shelf) -> Descriptor:
    named = compat(shelf, ("plugin.wasm", MODULE))
    other = packed(("plugin.wasm", MODULE + b"\0"))
    for digest, blob in list(shelf.blobs.items()):
        if blob[:2] == b"\x1f\x8b":
            shelf.blobs[digest] = other
    return named


def swapped_config(shelf: Shelf) -> Descriptor:
    config = shelf.put(b'{"type":"a"}', RUNTIME_CONFIG)
    named = shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)])
    shelf.blobs[config.digest] = b'{"type":"b"}'
    return named


def huge_manifest(shelf: Shelf) -> Descriptor:
    config = shelf.put(b"{}", RUNTIME_CONFIG)
    return shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)], annotations={"x": "y" * (5 << 20)})


def many_layers(shelf: Shelf) -> Descriptor:
    config = shelf.put(b"{}", RUNTIME_CONFIG)
    return shelf.image(config, [*[config] * 200, shelf.put(MODULE, MODULE_LAYER)])


def many_children(shelf: Shelf) -> Descriptor:
    config = shelf.put(b"{}", RUNTIME_CONFIG)
    child = plain(shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)]))
    return shelf.put_json({"schemaVersion": 2, "manifests": [child] * 2_000}, OCI_INDEX)


def huge_config(shelf: Shelf) -> Descriptor:
    config = shelf.put(b'{"x":"' + b"y" * (2 << 20) + b'"}', RUNTIME_CONFIG)
    return shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)], media_type=OCI_MANIFEST)


def nothing(*_: Any) -> None:
    """A guard that looks away."""


@pytest.mark.parametrize(
    ("trap", "guard", "off"),
    [
        (sparse, (tarball, "_check"), nothing),
        (outside, (tarball, "_check"), nothing),
        (twice, (tarball, "_check"), nothing),
        (bomb, (tarball, "MAX_RATIO"), 10**9),
        (large, (tarball, "MAX_UNPACKED"), 10**12),
        (crowd, (tarball, "_MAX_ENTRIES"), 10**9),
        (long_header, (tarball, "_MAX_EXTENDED"), 10**9),
        (damaged_header, (tarfile, "calc_chksums"), lambda _: range(1 << 18)),
        (damaged_end, (tarball, "_require_end"), nothing),
        (swapped_layer, (content.Verified, "drain"), nothing),
        (swapped_config, (manifest, "verify"), nothing),
        (huge_manifest, (manifest, "MAX_BYTES"), 10**9),
        (many_layers, (manifest, "MAX_LAYERS"), 10**9),
        (many_children, (manifest, "MAX_CHILDREN"), 10**9),
        (huge_config, (runtime_config, "MAX_BYTES"), 10**9),
    ],
)
def test_trap(
    trap: Callable[[Shelf], Descriptor], guard: tuple[Any, str], off: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its guard the trap is refused in words; without it, it would have been read."""
    if trap is large:
        monkeypatch.setattr(tarball, "MAX_UNPACKED", 1 << 20)
    shelf = Shelf()
    named = trap(shelf)

    with pytest.raises(ImageError) as refused:
        layouts.read(shelf, named, REFERENCE)
    assert "\n" not in refused.value.message

    monkeypatch.setattr(*guard, off)
    if trap is swapped_layer:  # a Verified that vouches for anything
        monkeypatch.setattr(content.Verified, "read", lambda self, size: self._source.read(size))
    assert layouts.read(shelf, named, REFERENCE).module.digest
