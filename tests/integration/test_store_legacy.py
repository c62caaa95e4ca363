"""The original's store: read, never written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures import modules
from wasme.errors import ContentMismatch, ImageError, ImageNotFound, StoreError
from wasme.image import layouts
from wasme.image.copy import copy_image
from wasme.image.descriptor import sha256
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig, encode
from wasme.image.store import open_store

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
AUTH = Reference.parse("webassemblyhub.io/hxpmark/auth:0.01")
MODULE = modules.sized(12_553)


def legacy_image(root: Path, reference: str, module: bytes = MODULE, updated: int = 1630130280) -> Path:
    """A folder as the original writes it, under its own name for it."""
    folder = root / hashlib.md5(reference.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "image_ref").write_text(reference)
    (folder / "descriptor.json").write_text(json.dumps({
        "mediaType": "application/vnd.module.wasm.content.layer.v1+wasm",
        "digest": sha256(module),
        "size": len(module),
        "annotations": {"org.opencontainers.image.title": "filter.wasm"},
    }, separators=(",", ":")))  # fmt: skip
    (folder / "runtime-config.json").write_bytes(encode(CONFIG))
    (folder / "filter.wasm").write_bytes(module)
    os.utime(folder, (updated, updated))
    return folder


def snapshot(root: Path) -> dict[str, tuple[bytes | None, int]]:
    return {
        str(path): (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns) for path in root.rglob("*")
    }


@pytest.fixture
def legacy(home: Path) -> Path:
    return home / ".wasme" / "store"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("webassemblyhub.io/salrashid123/add-header:latest", "0276212f01b5c227c466eec5d1fc8761"),
        ("webassemblyhub.io/hxpmark/auth:0.01", "6d9f0860f168859ae01999fb189bd158"),
        ("docker.io/library/testimage:latest", "8cf302492a44e6f5c428e058460cca8e"),
        ("localhost:5000/test:v1", "97a524c1be7a948ae10a6328f57e8a70"),
    ],
)
def test_found_under_the_originals_folder_names(legacy: Path, reference: str, name: str) -> None:
    """The folders that the original made, by the names known from users' logs, are found."""
    assert legacy_image(legacy, reference).name == name

    assert open_store().image(Reference.parse(reference)).module.digest == sha256(MODULE)


def test_read_like_any_other(legacy: Path) -> None:
    """Listed with the folder's time, read with the manifest that the original would push, loaded from its own file."""
    folder = legacy_image(legacy, str(AUTH))
    before = snapshot(legacy)
    store = open_store()

    (entry,) = store.entries()
    image = store.image(AUTH)

    pushed = layouts.build("oci", MODULE, CONFIG)
    assert (entry.name, entry.tag, entry.size, entry.digest) == (AUTH.name, "0.01", 12_553, sha256(MODULE))
    assert entry.manifest_digest == image.manifest.digest == pushed.descriptor.digest
    assert (entry.updated.timestamp(), entry.directory) == (1630130280, str(folder))
    assert (image.layout, image.config, image.manifest_bytes) == ("oci", CONFIG, pushed.manifest)
    assert store.module_path(AUTH) == folder / "filter.wasm"
    assert store.image(Reference.parse(f"{AUTH.name}@{pushed.descriptor.digest}")).config == CONFIG
    assert snapshot(legacy) == before
    assert not (legacy.parent / "oci").exists()


def test_a_moved_folder_is_found_by_its_reference(legacy: Path) -> None:
    """`image_ref` is trusted, not the folder's name."""
    legacy_image(legacy, str(AUTH)).rename(legacy / ("0" * 32))

    assert open_store().image(AUTH).config == CONFIG


def test_ours_counts_for_the_same_name(legacy: Path) -> None:
    """A name in both stores is ours; taken away there, the original's shows again; the original's is never removed."""
    legacy_image(legacy, str(AUTH))
    store = open_store()
    store.add(AUTH, layouts.build("oci", modules.minimal(), CONFIG))
    assert [entry.size for entry in store.entries()] == [len(modules.minimal())]
    assert store.image(AUTH).module.size == len(modules.minimal())

    store.remove(AUTH)
    assert [entry.size for entry in store.entries()] == [12_553]
    before = snapshot(legacy)
    with pytest.raises(StoreError, match="lies in the original's store, which is never written") as raised:
        store.remove(AUTH)

    assert f"rm -r {legacy}" in str(raised.value.hint)
    assert snapshot(legacy) == before


def test_tag_copies_into_our_store(legacy: Path) -> None:
    """Tagging an image of the original's makes one of ours, byte for byte, and leaves the original's alone."""
    legacy_image(legacy, str(AUTH))
    before = snapshot(legacy)
    target = Reference.parse("h.io/mine:v1")

    open_store().alias(AUTH, target)

    assert snapshot(legacy) == before
    ours = open_store(legacy.parent / "oci")
    assert ours.module_path(target).read_bytes() == MODULE
    assert ours.image(target).manifest.digest == open_store().image(AUTH).manifest.digest


@pytest.mark.parametrize("missing", ["image_ref", "descriptor.json", "runtime-config.json", "filter.wasm"])
def test_half_an_image_hides_no_other(legacy: Path, missing: str) -> None:
    """[BUG of the original: a failed pull broke `list`] A folder written half is an entry with a problem."""
    legacy_image(legacy, "h.io/good:v1")
    (legacy_image(legacy, "h.io/half:v1") / missing).unlink()
    (legacy / "a-file").write_text("ignored, as by the original")

    entries = {entry.name: entry for entry in open_store().entries()}

    assert entries.pop("h.io/good").problem is None
    (half,) = entries.values()
    assert missing in str(half.problem)


def test_a_damaged_folder_does_not_hide_the_same_name(legacy: Path) -> None:
    """Asked for by digest, an image is found although a folder before it, of the same name, is half written."""
    whole = legacy_image(legacy, str(AUTH))
    digest = open_store().image(AUTH).manifest.digest
    half = legacy / ("0" * 32)
    whole.rename(legacy / ("f" * 32))
    half.mkdir()
    (half / "image_ref").write_text(str(AUTH))

    assert open_store().image(Reference.parse(f"{AUTH}@{digest}")).module.digest == sha256(MODULE)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("descriptor.json", b"{"),
        ("descriptor.json", b'{"digest":"sha256:x"}'),
        ("descriptor.json", b"[" * 60_000),
        ("descriptor.json", b" " * 100_000),
        ("runtime-config.json", b"\xff"),
        ("image_ref", b"\xff\xfe"),
        ("image_ref", b""),
        ("filter.wasm", b"short"),
    ],
)
def test_damaged_files_are_told(legacy: Path, file: str, content: bytes) -> None:
    """Any damage to any file is an entry with a problem, not a crash."""
    (legacy_image(legacy, str(AUTH)) / file).write_bytes(content)

    (entry,) = open_store().entries()

    assert entry.problem
    assert "\n" not in entry.problem


def test_a_changed_module_is_not_loaded(legacy: Path) -> None:
    """A module of the right size and other content is refused where it would be loaded or copied."""
    folder = legacy_image(legacy, str(AUTH))
    (folder / "filter.wasm").write_bytes(MODULE[:-1] + b"!")
    store = open_store()

    with pytest.raises(ContentMismatch, match="is not the module sha256:"):
        store.module_path(AUTH)
    with pytest.raises(ImageError):
        store.alias(AUTH, Reference.parse("h.io/x:v1"))


def test_store_flag_takes_either_kind(tmp_path: Path, run: Callable[..., Result]) -> None:
    """A folder is what lies in it; an original's is read, and refused for writing in one line."""
    legacy_image(tmp_path / "old", str(AUTH))
    before = snapshot(tmp_path / "old")

    assert run("list", "--store", tmp_path / "old", "--output", "json").json[0]["tag"] == "0.01"
    for command in (("tag", str(AUTH), "x:v1"), ("prune",)):
        refused = run(*command, "--store", tmp_path / "old", ok=False)
        assert refused.exit_code == 1
        assert "store of the original wasme, which is read and never written" in refused.stderr
        assert "Hint: give another folder with --store DIR" in refused.stderr
    assert snapshot(tmp_path / "old") == before


def test_an_empty_folder_becomes_ours(tmp_path: Path) -> None:
    """An empty folder, and one that is not there, become an OCI layout with their first image."""
    for folder in (tmp_path, tmp_path / "new"):
        open_store(folder).add(AUTH, layouts.build("oci", MODULE, CONFIG))
        assert (folder / "oci-layout").exists()


def test_unknown_in_both(legacy: Path) -> None:
    """Close matches come from both stores."""
    legacy_image(legacy, str(AUTH))
    with pytest.raises(ImageNotFound) as raised:
        open_store().image(Reference.parse("webassemblyhub.io/hxpmark/auth:0.02"))

    assert raised.value.hint == f"did you mean {AUTH}?"


def test_copies_like_any_source(legacy: Path, tmp_path: Path) -> None:
    """An image of the original's is pushed by the same copy as any other: blobs, manifest, name."""
    legacy_image(legacy, str(AUTH))
    target = open_store(tmp_path / "target")

    copied = copy_image(open_store(), AUTH, target, AUTH)

    assert len(copied.blobs) == 2
    assert target.module_path(AUTH).read_bytes() == MODULE
