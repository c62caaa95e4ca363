"""Layouts: what is written, and that everything others write is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures import modules
from tests.unit.image.shelf import OCI_MANIFEST, REFERENCE, Shelf, packed, plain
from wasme.errors import ContentMismatch, InputError, UnsupportedImage, WasmeError
from wasme.image import layouts
from wasme.image.descriptor import Descriptor
from wasme.image.runtime_config import RuntimeConfig, encode

MODULE = modules.minimal()
CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1", "v0-x<&>"), ("one", "two"))
RUNTIME_CONFIG = "application/vnd.module.wasm.config.v1+json"
MODULE_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
WASM = "application/wasm"
WASM_CONFIG = "application/vnd.wasm.config.v0+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_TAR = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_TAR = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ABI = "module.wasm.runtime/abi_version"
TYPE = "module.wasm.runtime/type"


def documents(draft: layouts.Draft) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and configuration of a draft."""
    with draft.blobs[0][1](0) as config:
        return json.loads(draft.manifest), json.loads(config.read(1 << 20))


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


class TestWrite:
    @pytest.mark.parametrize("layout", layouts.LAYOUTS)
    def test_same_bytes_from_memory_and_file(self, layout: str, tmp_path: Path) -> None:
        """The same module and config give the same manifest, always, from bytes as from a file."""
        path = tmp_path / "filter.wasm"
        path.write_bytes(MODULE)

        digests = {layouts.build(layout, module, CONFIG).descriptor.digest for module in (MODULE, MODULE, path)}

        assert len(digests) == 1

    @pytest.mark.parametrize("layout", layouts.LAYOUTS)
    def test_written_is_read_back(self, layout: str) -> None:
        """Module and runtime config survive each layout, the one without a place for the config included."""
        draft = layouts.build(layout, MODULE, CONFIG)
        taken = bytearray()

        image = layouts.read(draft, draft.descriptor, REFERENCE, taken.extend)

        assert (image.layout, image.config) == (layout, CONFIG)
        assert (image.module.digest, image.module.size) == (draft.module.digest, len(MODULE))
        assert image.manifest_bytes == draft.manifest
        assert image.manifest == draft.descriptor
        assert bytes(taken) == (MODULE if layout == "compat" else b"")

    def test_oci_has_exactly_the_originals_layers(self) -> None:
        """Two layers, the configuration first; a third would be refused by Istio."""
        manifest, config = documents(layouts.build("oci", MODULE, CONFIG))

        assert [layer["mediaType"] for layer in manifest["layers"]] == [RUNTIME_CONFIG, MODULE_LAYER]
        assert manifest["layers"][0] == manifest["config"]
        assert list(manifest) == ["schemaVersion", "config", "layers", "annotations"]
        assert config == {
            "type": "envoy_proxy",
            "abiVersions": ["v0.2.1", "v0-x<&>"],
            "config": {"rootIds": ["one", "two"]},
        }
        assert manifest["annotations"] == {ABI: "v0.2.1,v0-x<&>", TYPE: "envoy_proxy"}

    def test_compat_is_a_container_image(self) -> None:
        """One packed layer whose unpacked digest the configuration names, and the variant's annotation."""
        draft = layouts.build("compat", MODULE, CONFIG)
        manifest, config = documents(draft)
        with draft.blobs[1][1](0) as opened:
            layer = opened.read(1 << 20)

        assert [layer["mediaType"] for layer in manifest["layers"]] == [OCI_TAR]
        assert manifest["layers"][0]["digest"] == "sha256:" + hashlib.sha256(layer).hexdigest()
        assert manifest["annotations"]["module.wasm.image/variant"] == "compat"
        assert (config["architecture"], config["os"]) == ("amd64", "linux")
        import gzip

        assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(gzip.decompress(layer)).hexdigest()]

    def test_wasm_is_cncfs(self) -> None:
        """One layer application/wasm, and a configuration that names it."""
        manifest, config = documents(layouts.build("wasm", MODULE, CONFIG))

        assert manifest["config"]["mediaType"] == WASM_CONFIG
        assert [layer["mediaType"] for layer in manifest["layers"]] == [WASM]
        assert config["layerDigests"] == [manifest["layers"][0]["digest"]]
        assert (config["architecture"], config["os"]) == ("wasm", "wasip1")

    def test_empty_annotations_are_there(self) -> None:
        """The original always writes both annotations, even empty."""
        manifest, config = documents(layouts.build("oci", MODULE, RuntimeConfig()))

        assert manifest["annotations"] == {ABI: "", TYPE: ""}
        assert config == {}

    def test_html_characters_are_escaped_as_go_does(self) -> None:
        """An annotation with <, > and & is written in Go's form, or the digest would differ."""
        assert b"v0-x\\u003c\\u0026\\u003e" in layouts.build("oci", MODULE, CONFIG).manifest

    def test_unknown_layout_and_unreadable_module(self, tmp_path: Path) -> None:
        """An unknown layout names those there are; a missing module is named."""
        with pytest.raises(InputError, match="unknown layout 'cncf'") as raised:
            layouts.build("cncf", MODULE, CONFIG)
        assert raised.value.hint == "layouts are oci, compat, wasm"
        with pytest.raises(InputError, match=r"gone\.wasm cannot be read: No such file"):
            layouts.build("oci", tmp_path / "gone.wasm", CONFIG)

    @given(st.builds(RuntimeConfig, _TEXT, st.lists(_TEXT).map(tuple), st.lists(_TEXT).map(tuple)))
    def test_any_config_survives_every_layout(self, config: RuntimeConfig) -> None:
        """No text in a config is lost or changed, whichever layout carries it."""
        for layout in layouts.LAYOUTS:
            draft = layouts.build(layout, MODULE, config)
            assert layouts.read(draft, draft.descriptor, REFERENCE).config == config


def layout_a(shelf: Shelf, **more: Any) -> Descriptor:
    config = shelf.put(encode(CONFIG), RUNTIME_CONFIG, {"org.opencontainers.image.title": "runtime-config.json"})
    return shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)], **more)


def config_only_as_config(shelf: Shelf) -> Descriptor:
    return shelf.image(shelf.put(encode(CONFIG), RUNTIME_CONFIG), [shelf.put(MODULE, MODULE_LAYER)])


def layout_b(shelf: Shelf) -> Descriptor:
    layer = shelf.put(packed(("plugin.wasm", MODULE), ("runtime-config.json", encode(CONFIG))), OCI_TAR)
    return shelf.image(shelf.put(b"{}", OCI_CONFIG), [layer], annotations={"module.wasm.image/variant": "compat"})


def layout_b_docker(shelf: Shelf) -> Descriptor:
    base = shelf.put(packed(("etc/passwd", b"root")), DOCKER_TAR)
    layer = shelf.put(packed(("runtime-config.json", encode(CONFIG)), ("plugin.wasm", MODULE)), DOCKER_TAR)
    return shelf.image(
        shelf.put(b"{}", DOCKER_CONFIG), [base, layer], media_type=DOCKER_MANIFEST, mediaType=DOCKER_MANIFEST
    )


def layout_c(shelf: Shelf) -> Descriptor:
    return shelf.image(shelf.put(b"{}", WASM_CONFIG), [shelf.put(MODULE, WASM)], mediaType=OCI_MANIFEST)


def layout_d1(shelf: Shelf) -> Descriptor:
    config = shelf.put(encode(CONFIG), RUNTIME_CONFIG)
    return shelf.image(config, [shelf.put(MODULE, WASM), shelf.put(MODULE, MODULE_LAYER)])


def layout_d2(shelf: Shelf) -> Descriptor:
    return shelf.image(shelf.put(b"{}", WASM_CONFIG), [shelf.put(MODULE, MODULE_LAYER), shelf.put(MODULE, WASM)])


def layout_e(shelf: Shelf) -> Descriptor:
    config = shelf.put(encode(CONFIG), RUNTIME_CONFIG)
    return shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER), shelf.put(b"# readme", "text/markdown")])


def layout_f_higress(shelf: Shelf) -> Descriptor:
    layers = [shelf.put(b"# readme", "application/vnd.module.wasm.doc.v1+markdown"), shelf.put(b"{}", "x/spec")]
    tar = shelf.put(packed(("plugin.wasm", MODULE)), OCI_TAR)
    return shelf.image(shelf.put(b"{}", OCI_CONFIG), [*layers, tar], annotations={ABI: "v0.2.1", TYPE: "t"})


def layout_f_mixed(shelf: Shelf) -> Descriptor:
    config = shelf.put(encode(CONFIG), RUNTIME_CONFIG)
    layers = [config, shelf.put(MODULE, MODULE_LAYER), shelf.put(packed(("plugin.wasm", MODULE)), OCI_TAR)]
    return shelf.image(config, layers)


def layout_g(shelf: Shelf) -> Descriptor:
    a, c = plain(layout_a(shelf)), plain(layout_c(shelf))
    children = [
        {**c, "platform": {"os": "wasip1", "architecture": "wasm"}},
        {**a, "platform": {"os": "linux", "architecture": "arm64"}},
        {**a, "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    return shelf.put_json({"schemaVersion": 2, "manifests": children}, "application/vnd.oci.image.index.v1+json")


def layout_h(shelf: Shelf) -> Descriptor:
    config = shelf.put(b"{}", "application/vnd.wasm.config.v1+json")
    return shelf.image(config, [shelf.put(MODULE, "application/vnd.wasm.content.layer.v1+wasm")])


def layout_i(shelf: Shelf) -> Descriptor:
    return shelf.image(shelf.put(b"{}", WASM_CONFIG), [shelf.put(MODULE, MODULE_LAYER)])


NOTHING = RuntimeConfig()


@pytest.mark.parametrize(
    ("make", "layout", "config"),
    [
        (layout_a, "oci", CONFIG),
        (config_only_as_config, "oci", CONFIG),
        (layout_b, "compat", CONFIG),
        (layout_b_docker, "compat", CONFIG),
        (layout_c, "wasm", NOTHING),
        (layout_d1, "oci", CONFIG),
        (layout_d2, "wasm-pkg", NOTHING),
        (layout_e, "oci", CONFIG),
        (layout_f_higress, "compat", RuntimeConfig("t", ("v0.2.1",))),
        (layout_f_mixed, "compat", CONFIG),
        (layout_g, "oci", CONFIG),
        (layout_h, "wasm-to-oci", NOTHING),
        (layout_i, "wasm-pkg", NOTHING),
    ],
)
def test_every_layout_is_read(make: Callable[[Shelf], Descriptor], layout: str, config: RuntimeConfig) -> None:
    """Each layout found in the wild gives the module, and the runtime config as far as it carries one."""
    shelf = Shelf()
    named = make(shelf)

    image = layouts.read(shelf, named, REFERENCE)

    assert (image.layout, image.config) == (layout, config)
    assert (image.module.digest, image.module.size) == ("sha256:" + hashlib.sha256(MODULE).hexdigest(), len(MODULE))
    assert image.chosen_from == (named.digest if make is layout_g else None)


class TestRefused:
    def test_a_container_image(self) -> None:
        """A container image without a plugin says so, and what a filter would be."""
        shelf = Shelf()
        named = shelf.image(shelf.put(b"{}", OCI_CONFIG), [shelf.put(packed(("bin/sh", b"")), OCI_TAR)])

        with pytest.raises(UnsupportedImage, match=r"last layer holds no plugin\.wasm"):
            layouts.read(shelf, named, REFERENCE)

    def test_another_artifact(self) -> None:
        """A Helm chart says which layers it has."""
        shelf = Shelf()
        named = shelf.image(shelf.put(b"{}", "x/y"), [shelf.put(b"", "application/vnd.cncf.helm.chart.content.v1")])

        with pytest.raises(UnsupportedImage, match=r"its layers are application/vnd\.cncf\.helm"):
            layouts.read(shelf, named, REFERENCE)

    def test_no_layers(self) -> None:
        """An artifact without layers is no filter."""
        shelf = Shelf()

        with pytest.raises(UnsupportedImage, match="it has no layers"):
            layouts.read(shelf, shelf.image(shelf.put(b"{}", "x/y"), []), REFERENCE)

    @pytest.mark.parametrize("make", [layout_a, layout_b])
    def test_tampered_blobs(self, make: Callable[[Shelf], Descriptor]) -> None:
        """A configuration or packed layer that is not what its digest says is refused, even if it could be read."""
        shelf = Shelf()
        named = make(shelf)
        for digest, content in list(shelf.blobs.items()):
            if content == encode(CONFIG):
                shelf.blobs[digest] = content.replace(b"one", b"eno")
            elif content[:2] == b"\x1f\x8b":
                shelf.blobs[digest] = packed(("plugin.wasm", MODULE + b"\0"), ("runtime-config.json", encode(CONFIG)))

        with pytest.raises(ContentMismatch):
            layouts.read(shelf, named, REFERENCE)

    def test_huge_config_is_refused_unread(self) -> None:
        """A configuration that promises more than a megabyte is not fetched."""
        shelf = Shelf()
        config = Descriptor(RUNTIME_CONFIG, "sha256:" + "0" * 64, 1 << 30)
        named = shelf.image(config, [config, shelf.put(MODULE, MODULE_LAYER)])

        with pytest.raises(UnsupportedImage, match="1073741824 bytes; the limit is 1048576"):
            layouts.read(shelf, named, REFERENCE)
        assert ("fetch", config.digest) not in shelf.events

    @given(
        st.lists(
            st.tuples(st.sampled_from([RUNTIME_CONFIG, MODULE_LAYER, WASM, OCI_TAR, "x/y"]), st.binary(max_size=40))
        ),
        st.dictionaries(st.sampled_from([ABI, TYPE, "module.wasm.runtime/config"]), st.text(max_size=20)),
    )
    def test_any_image_is_read_or_refused(self, layers: list[tuple[str, bytes]], annotations: dict[str, str]) -> None:
        """Whatever an image is made of, nothing but a WasmeError comes out of reading it."""
        shelf = Shelf()
        config = shelf.put(b'{"type":"t"}', RUNTIME_CONFIG)
        named = shelf.image(config, [shelf.put(blob, kind) for kind, blob in layers], annotations=annotations)

        try:
            image = layouts.read(shelf, named, REFERENCE)
        except WasmeError:
            return
        assert image.layout in {"oci", "wasm"}
