"""The store beside another program that reads and writes OCI layouts: skopeo, both ways."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.fixtures import modules
from tests.fixtures.tools import need
from wasme.image import layouts
from wasme.image.descriptor import sha256
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import Store, open_store

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
V1, V2 = Reference.parse("localhost:5000/demo/auth:v1"), Reference.parse("localhost:5000/demo/auth:v2")
MODULE = modules.sized(15_000)


def skopeo(*args: str) -> str:
    done = subprocess.run([need("skopeo"), *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def store(home: Path) -> Store:
    (home / ".wasme").mkdir()  # skopeo makes one folder, not two
    return open_store()


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_skopeo_reads_ours(store: Store, tmp_path: Path, layout: str) -> None:
    """Every layout is inspected and copied out by `oci:PATH:REF`, byte for byte."""
    draft = layouts.build(layout, MODULE, CONFIG)
    store.add(V1, draft)

    assert skopeo("inspect", "--raw", f"oci:{store.path}:{V1}").encode() == draft.manifest
    skopeo("copy", f"oci:{store.path}:{V1}", f"dir:{tmp_path}/out")

    assert (tmp_path / "out" / "manifest.json").read_bytes() == draft.manifest
    for blob, _ in draft.blobs[:-1]:
        assert sha256((tmp_path / "out" / blob.hex).read_bytes()) == blob.digest


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_skopeo_writes_into_ours(store: Store, tmp_path: Path, layout: str) -> None:
    """What skopeo copies in under a full reference is listed and used; our own rows stay and stay fast."""
    other = open_store(tmp_path / "other")
    other.add(V2, layouts.build(layout, MODULE, CONFIG))
    store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))

    skopeo("copy", f"oci:{other.path}:{V2}", f"oci:{store.path}:{V2}")

    entries = {entry.tag: entry for entry in store.entries()}
    assert (entries["v2"].digest, entries["v2"].size, entries["v2"].problem) == (sha256(MODULE), 15_000, None)
    assert entries["v1"].problem is None
    assert store.image(V2).layout == layout
    assert store.image(V2).config == CONFIG
    assert store.module_path(V2).read_bytes() == MODULE
    rows = json.loads((store.path / "index.json").read_text())["manifests"]
    assert rows[0]["annotations"]["module.wasm.image/digest"] == sha256(modules.minimal())


def test_skopeo_replaces_a_name_of_ours(store: Store, tmp_path: Path) -> None:
    """A name that skopeo gives to another image stands for that image; what it stood for before can be freed."""
    other = open_store(tmp_path / "other")
    other.add(V1, layouts.build("oci", modules.minimal(), CONFIG))
    store.add(V1, layouts.build("oci", MODULE, CONFIG))

    skopeo("copy", f"oci:{other.path}:{V1}", f"oci:{store.path}:{V1}")

    assert [entry.size for entry in store.entries()] == [len(modules.minimal())]
    assert store.module_path(V1).read_bytes() == modules.minimal()
    assert store.prune().size > 15_000
    assert store.module_path(V1).read_bytes() == modules.minimal()
    assert skopeo("inspect", "--raw", f"oci:{store.path}:{V1}").encode() == store.image(V1).manifest_bytes


def test_we_write_beside_skopeos(store: Store, tmp_path: Path) -> None:
    """An image that skopeo wrote is tagged, removed and kept by `prune` like any other; skopeo still reads all."""
    other = open_store(tmp_path / "other")
    other.add(V1, layouts.build("compat", MODULE, CONFIG))
    skopeo("copy", f"oci:{other.path}:{V1}", f"oci:{store.path}:{V1}")

    store.alias(V1, V2)
    store.prune()
    assert skopeo("inspect", "--raw", f"oci:{store.path}:{V1}") == skopeo("inspect", "--raw", f"oci:{store.path}:{V2}")
    store.remove(V1)
    store.prune()

    assert store.module_path(V2).read_bytes() == MODULE
    assert [entry.tag for entry in store.entries()] == ["v2"]


def test_containers_image_made_by_skopeo(store: Store, tmp_path: Path) -> None:
    """A container image in Docker's own format, converted by skopeo on its way in, is a filter."""
    plugin = io.BytesIO()
    with tarfile.open(fileobj=plugin, mode="w") as archive:
        info = tarfile.TarInfo("plugin.wasm")
        info.size = len(MODULE)
        archive.addfile(info, io.BytesIO(MODULE))
    layer = plugin.getvalue()
    config = json.dumps({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer)]},
        "config": {},
    }).encode()  # fmt: skip
    folder = tmp_path / "docker"
    folder.mkdir()
    packed = gzip.compress(layer)
    for blob in (packed, config):
        (folder / sha256(blob).partition(":")[2]).write_bytes(blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": len(config),
            "digest": sha256(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                "size": len(packed),
                "digest": sha256(packed),
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "version").write_text("Directory Transport Version: 1.1\n")

    skopeo("copy", f"dir:{folder}", f"oci:{store.path}:{V1}")

    assert store.image(V1).layout == "compat"
    assert store.module_path(V1).read_bytes() == MODULE


def test_short_names_are_read_as_dockers(store: Store, tmp_path: Path) -> None:
    """A name without a host, as people give it to skopeo, is Docker's full name to us; an unnamed image is no entry."""
    other = open_store(tmp_path / "other")
    other.add(V1, layouts.build("oci", MODULE, CONFIG))
    skopeo("copy", f"oci:{other.path}:{V1}", f"oci:{store.path}:hello:v7")
    skopeo("copy", f"oci:{other.path}:{V1}", f"oci:{store.path}:")

    assert [(entry.name, entry.tag) for entry in store.entries()] == [("docker.io/library/hello", "v7")]
    assert store.module_path(Reference.parse("hello:v7")).read_bytes() == MODULE
