"""Manifests and indexes: what is refused, and which child of an index is taken."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.image.shelf import OCI_MANIFEST, Shelf, plain
from wasme.errors import ContentMismatch, UnsupportedImage, WasmeError
from wasme.image import manifest
from wasme.image.descriptor import Descriptor, describe

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
D = {"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 3}
E = {"mediaType": "x/z", "digest": "sha256:" + "1" * 64, "size": 4}


def parse(document: Any) -> manifest.Manifest | manifest.Index:
    return manifest.parse(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"schemaVersion": 1, "fsLayers": [], "history": []}, "Docker schema 1"),
        ({"schemaVersion": 1, "config": D, "layers": []}, "Docker schema 1"),
        (
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v1+json",
                "config": D,
                "layers": [],
            },
            "Docker schema 1",
        ),
        ({"config": D, "layers": [D], "manifests": [D]}, "an image and an index at once"),
        ({"mediaType": OCI_INDEX, "config": D, "layers": [D]}, "an image manifest that calls itself"),
        ({"mediaType": OCI_MANIFEST, "manifests": [D]}, "an index that calls itself"),
        ({"schemaVersion": 2}, "neither an image manifest nor an index"),
        ({"config": D, "layers": None}, "neither an image manifest nor an index"),
        ([], "cannot be read"),
        ("text", "cannot be read"),
        ({"config": {**D, "digest": "sha256:short"}, "layers": []}, r"no.* a sha256 or sha512 digest.*\$.config"),
        ({"config": {**D, "size": -1}, "layers": []}, "a size of -1 bytes"),
        ({"config": {**D, "size": 1 << 63}, "layers": []}, "a size of 9223372036854775808"),
        ({"config": {**D, "mediaType": "x/\x1b[2J"}, "layers": []}, "control characters"),
        ({"config": {**D, "size": "3"}, "layers": []}, "cannot be read"),
        ({"config": D, "layers": [D] * (manifest.MAX_LAYERS + 1)}, "129 layers"),
        ({"manifests": [D] * (manifest.MAX_CHILDREN + 1)}, "1025 manifests"),
        ({"config": D, "layers": [{**D, "size": 4}]}, "one digest in two sizes"),
    ],
)
def test_refused(document: Any, words: str) -> None:
    """What is no manifest, is two things at once, or is too much of anything is refused in words."""
    with pytest.raises(UnsupportedImage, match=words):
        parse(document)


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b'{"config":' * 100_000])
def test_deep_nesting_is_refused(content: bytes) -> None:
    """Nesting ends in an error, not in a crash."""
    with pytest.raises(UnsupportedImage):
        manifest.parse(content)


def test_large_manifest_is_refused_unread() -> None:
    """More than 4 MiB are refused: as bytes, and by the promised size before anything is fetched."""
    with pytest.raises(UnsupportedImage, match="the limit is 4194304"):
        manifest.parse(b" " * (manifest.MAX_BYTES + 1))
    shelf = Shelf()
    promised = Descriptor(OCI_MANIFEST, D["digest"], manifest.MAX_BYTES + 1)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedImage, match="the limit is 4194304"):
        manifest.fetch_manifest(shelf, promised)

    assert shelf.events == []


def test_blobs_are_named_once() -> None:
    """The original's configuration is its first layer too: one blob."""
    parsed = parse({"config": D, "layers": [D, E, E]})

    assert isinstance(parsed, manifest.Manifest)
    assert [blob.digest for blob in parsed.blobs] == [D["digest"], E["digest"]]


class TestFetch:
    def test_other_content_is_refused(self) -> None:
        """A manifest with another digest is never parsed."""
        shelf = Shelf()
        named = shelf.put(b"{}", OCI_MANIFEST)
        shelf.blobs[named.digest] = b"[]"

        with pytest.raises(ContentMismatch, match="is sha256:"):
            manifest.fetch_manifest(shelf, named)

    @pytest.mark.parametrize(("content", "words"), [(b"{", "1 bytes arrived, 2 were"), (b"{}}", "more than the prom")])
    def test_other_sizes_are_refused(self, content: bytes, words: str) -> None:
        """A source that stops early or goes on is noticed."""
        shelf = Shelf()
        named = shelf.put(b"{}", OCI_MANIFEST)
        shelf.blobs[named.digest] = content

        with pytest.raises(ContentMismatch, match=words):
            manifest.fetch(shelf, named)

    def test_an_endless_source_is_left(self) -> None:
        """No more than one byte beyond the promise is asked for."""
        asked: list[int] = []

        class Endless:
            def __enter__(self) -> Endless:
                return self

            def __exit__(self, *_: object) -> None: ...

            def fetch(self, _descriptor: Descriptor, _offset: int = 0) -> Endless:
                return self

            def read(self, size: int, /) -> bytes:
                asked.append(size)
                return b"x" * size

        with pytest.raises(ContentMismatch):
            manifest.fetch(Endless(), describe(b"{}", OCI_MANIFEST))

        assert sum(asked) == 3


def child(shelf: Shelf, name: str, system: str = "", architecture: str = "", **more: Any) -> dict[str, Any]:
    """A child of an index, which says its own name."""
    config = shelf.put(name.encode(), "x/config")
    found = plain(shelf.image(config, [config], media_type=more.pop("media_type", OCI_MANIFEST)))
    if system:
        found["platform"] = {"os": system, "architecture": architecture}
    return {**found, **more}


def chosen(shelf: Shelf, *children: dict[str, Any], media_type: str = OCI_INDEX) -> str:
    index = shelf.put_json({"schemaVersion": 2, "manifests": list(children)}, media_type)
    _, _, parsed = manifest.fetch_manifest(shelf, index)
    return shelf.blobs[parsed.config.digest].decode()


class TestIndex:
    @pytest.mark.parametrize("media_type", [OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"])
    def test_istios_child_first(self, media_type: str) -> None:
        """linux/amd64 goes before wasip1/wasm and before other platforms, wherever it stands."""
        shelf = Shelf()
        children = [child(shelf, "arm", "linux", "arm64"), child(shelf, "wasi", "wasip1", "wasm")]

        assert chosen(shelf, *children, child(shelf, "amd", "linux", "amd64"), media_type=media_type) == "amd"

    def test_no_platform_counts_as_istios(self) -> None:
        """A child without a platform is taken as linux/amd64; of two that fit, the first."""
        shelf = Shelf()

        assert chosen(shelf, child(shelf, "wasi", "wasip1", "wasm"), child(shelf, "bare")) == "bare"
        assert chosen(shelf, child(shelf, "one", "linux", "amd64"), child(shelf, "two")) == "one"

    def test_wasm_before_other_machines(self) -> None:
        """Without linux/amd64, the child for wasm is taken; without that, the first."""
        shelf = Shelf()
        arm, wasi = child(shelf, "arm", "linux", "arm64"), child(shelf, "wasi", "wasip1", "wasm")

        assert chosen(shelf, arm, wasi) == "wasi"
        assert chosen(shelf, arm, child(shelf, "s390", "linux", "s390x")) == "arm"

    def test_attestations_are_no_images(self) -> None:
        """Build attestations are passed over, by platform and by annotation."""
        shelf = Shelf()
        attests = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}

        assert (
            chosen(
                shelf,
                child(shelf, "attests", **attests),
                child(shelf, "unknown", "unknown", "unknown"),
                child(shelf, "arm", "linux", "arm64", media_type=DOCKER_MANIFEST),
            )
            == "arm"
        )

    def test_no_image_in_it(self) -> None:
        """An index of other things, and an empty one, are refused with what they hold."""
        shelf = Shelf()

        with pytest.raises(UnsupportedImage, match=r"only application/vnd\.oci\.image\.index"):
            chosen(shelf, child(shelf, "x", media_type=OCI_INDEX))
        with pytest.raises(UnsupportedImage, match="no image manifest at all"):
            chosen(shelf)

    def test_index_in_disguise(self) -> None:
        """A child that says it is a manifest and is an index ends the search."""
        shelf = Shelf()
        inner = plain(shelf.put_json({"schemaVersion": 2, "manifests": []}, OCI_MANIFEST))

        with pytest.raises(UnsupportedImage, match="an index inside an index"):
            chosen(shelf, inner)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([D, E]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["config", "layers", "manifests", "mediaType", "digest", "size", "annotations", "platform", "fsLayers"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_parse_or_are_refused(content: bytes) -> None:
    """Nothing but a WasmeError comes out of parsing, choosing included."""
    with contextlib.suppress(WasmeError):
        parsed = manifest.parse(content)
        if isinstance(parsed, manifest.Index):
            manifest.choose(parsed)
