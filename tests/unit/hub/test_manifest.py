"""What the hub reads in a manifest, and what it refuses to take."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.hub.manifest import parse
from wasme.hub.refusal import Refusal
from wasme.image.media_types import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


CONFIG = {"mediaType": "application/vnd.module.wasm.config.v1+json", "digest": digest("a"), "size": 221}
LAYER = {"mediaType": "application/vnd.module.wasm.content.layer.v1+wasm", "digest": digest("b"), "size": 12553}
KEYS = ["schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations",
        "digest", "size", "urls", "blobs"]  # fmt: skip
ORIGINAL = {"schemaVersion": 2, "config": CONFIG, "layers": [CONFIG, LAYER], "annotations": {"x": "y"}}


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def test_the_originals_manifest_without_a_media_type_takes_the_content_type() -> None:
    """The original writes no mediaType; what the request says is served again, without parameters."""
    assert parse(encode(ORIGINAL), OCI_MANIFEST + "; charset=utf-8").media_type == OCI_MANIFEST
    assert parse(encode(ORIGINAL), DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    assert parse(encode(ORIGINAL), None).media_type == OCI_MANIFEST
    assert parse(encode({"schemaVersion": 2, "manifests": []}), None).media_type == OCI_INDEX
    assert parse(encode({**ORIGINAL, "mediaType": OCI_MANIFEST}), None).media_type == OCI_MANIFEST


def test_the_hubs_size_counts_manifest_config_and_every_layer() -> None:
    """The original's hub showed 13939 for its 944-byte manifest: the config counts twice, being layer 0 as well."""
    body = encode(ORIGINAL)
    found = parse(body, OCI_MANIFEST)
    assert found.image_size == len(body) + 221 + 221 + 12553
    assert 944 + 221 + 221 + 12553 == 13939
    assert found.module_digest == LAYER["digest"]


@pytest.mark.parametrize("media_type", ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"])
def test_the_module_is_found_in_the_other_layouts(media_type: str) -> None:
    body = encode({**ORIGINAL, "layers": [{**LAYER, "mediaType": media_type}]})
    assert parse(body, OCI_MANIFEST).module_digest == LAYER["digest"]


def test_layers_that_lie_elsewhere_are_not_asked_for() -> None:
    """Non-distributable and foreign layers, and layers with URLs, need not be pushed."""
    elsewhere = [
        {**LAYER, "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "digest": digest("c")},
        {**LAYER, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": digest("d")},
        {**LAYER, "urls": ["https://example.org/x"], "digest": digest("e")},
    ]
    found = parse(encode({**ORIGINAL, "layers": [LAYER, *elsewhere]}), OCI_MANIFEST)
    assert {each.digest for each in found.blobs} == {digest("a"), digest("b")}


def test_subject_and_artifact_type() -> None:
    """The artifact type is the manifest's own, else the config's media type; an index has none of the latter."""
    subject = {"mediaType": OCI_MANIFEST, "digest": digest("f"), "size": 3}
    found = parse(encode({**ORIGINAL, "subject": subject}), OCI_MANIFEST)
    assert (found.subject, found.artifact_type) == (digest("f"), CONFIG["mediaType"])
    assert parse(encode({**ORIGINAL, "artifactType": "application/x"}), OCI_MANIFEST).artifact_type == "application/x"
    assert parse(encode({"schemaVersion": 2, "manifests": []}), OCI_INDEX).artifact_type is None


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", OCI_MANIFEST),
        (b"not json", OCI_MANIFEST),
        (b"[]", OCI_MANIFEST),
        (b"{}", OCI_MANIFEST),
        (b"\xff\xfe", OCI_MANIFEST),
        (b"[" * 200_000, OCI_MANIFEST),
        (b'{"config":' * 100_000, OCI_MANIFEST),
        (encode({**ORIGINAL, "mediaType": OCI_INDEX}), OCI_MANIFEST),
        (encode({**ORIGINAL, "schemaVersion": 1}), OCI_MANIFEST),
        (encode({**ORIGINAL, "config": {**CONFIG, "digest": "sha256:abc"}}), OCI_MANIFEST),
        (encode({**ORIGINAL, "config": {**CONFIG, "size": -1}}), OCI_MANIFEST),
        (encode({**ORIGINAL, "config": {**CONFIG, "size": 2**70}}), OCI_MANIFEST),
        (encode({**ORIGINAL, "config": {**CONFIG, "size": "9"}}), OCI_MANIFEST),
        (encode({**ORIGINAL, "annotations": {"a": 1}}), OCI_MANIFEST),
        (encode({**ORIGINAL, "manifests": []}), OCI_INDEX),
        (encode(ORIGINAL), "text/html"),
        (encode(ORIGINAL), "application/<script>"),
        (encode({**ORIGINAL, "mediaType": "application/\u212a"}), None),  # lower() makes an ASCII k of it
        (encode({**ORIGINAL, "mediaType": "application/x\u017f"}), None),
    ],
)
def test_everything_else_is_refused_with_a_reason(body: bytes, content_type: str) -> None:
    """Not JSON, too deep, lying, or a type that a browser would run: 400 MANIFEST_INVALID, never a crash."""
    with pytest.raises(Refusal, match="cannot be taken") as refused:
        parse(body, content_type)
    assert (refused.value.status, refused.value.code) == (400, "MANIFEST_INVALID")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from([digest("a"), OCI_MANIFEST]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=20,
)


@given(
    JSON | st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from([None, OCI_MANIFEST, OCI_INDEX, "a", "\xff"])
)
def test_any_json_is_taken_or_refused(value: object, content_type: str | None) -> None:
    """Nothing but a Refusal comes out, and what is taken fits the database."""
    try:
        found = parse(encode(value), content_type)
    except Refusal:
        return
    assert 0 <= found.image_size < 2**63


def test_search_words_leave_the_abi_hashes_out() -> None:
    annotations = {"module.wasm.runtime/abi_version": "v0-541b2c1155fffb15", "org.opencontainers.image.title": "Auth"}
    assert parse(encode({**ORIGINAL, "annotations": annotations}), OCI_MANIFEST).words == "Auth"
