"""What a word names: files, folders and images, and everything else that may lie under a name."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import filters
from tests.unit.image.shelf import Shelf
from wasme.errors import ImageNotFound, InputError, InvalidReference, RegistryError, UnsupportedImage, WasmeError
from wasme.image import layouts
from wasme.image.content import Source
from wasme.image.copy import copy_image
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
from wasme.inspect.find import find
from wasme.inspect.subject import LARGEST, read_stream

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
REFERENCE = Reference.parse("localhost/demo/add:v1")
RAW = filters.adds_config()


def store(folder: Path, layout: str = "oci", name: Reference = REFERENCE) -> Path:
    open_store(folder).add(name, layouts.build(layout, RAW, CONFIG))
    return folder


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_image_of_the_store(layout: str, tmp_path: Path) -> None:
    """An image of any layout comes with its module, verified, and where that lies."""
    found = find(str(REFERENCE), store(tmp_path, layout))
    assert (found.source, found.name, found.module, found.size) == ("store", str(REFERENCE), RAW, len(RAW))
    assert found.path is not None
    assert found.path.read_bytes() == RAW
    assert found.image is not None
    assert found.image.layout == layout


@pytest.mark.parametrize("name", ["filter.wasm", "./filter.wasm", "./plain", "sub/filter.wasm"])
def test_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is found by a name that ends in .wasm or begins like a path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    Path(name).write_bytes(RAW)
    found = find(name)
    assert (found.source, found.name, found.module, found.image) == ("file", name, RAW, None)


def test_a_file_that_may_be_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is an image first, and a file where there is no such image."""
    monkeypatch.chdir(tmp_path)
    Path("add").write_bytes(b"(module)")
    assert find("add", tmp_path / "none").source == "file"
    store(tmp_path / "store", name=Reference.parse("add"))
    assert find("add", tmp_path / "store").source == "store"


@pytest.mark.parametrize("name", ["", ":v1", ":localhost/demo/add:v1"])
def test_folder_with_a_layout(name: str, tmp_path: Path) -> None:
    """An OCI layout that any tool wrote is read where it lies; its only image needs no name."""
    found = find(f"{store(tmp_path / 'layout')}{name}")
    assert (found.source, found.module) == ("folder", RAW)
    assert found.image is not None


def test_folder_of_another_tools(tmp_path: Path) -> None:
    """skopeo writes only a tag, or no name at all."""
    folder = store(tmp_path / "layout")
    index = json.loads((folder / "index.json").read_text())
    for told in ({"org.opencontainers.image.ref.name": "latest"}, None):
        index["manifests"][0]["annotations"] = told
        (folder / "index.json").write_text(json.dumps(index))
        assert find(str(folder)).module == RAW
    index["manifests"] *= 2
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ImageNotFound, match="2 images"):
        find(str(folder))
    with pytest.raises(ImageNotFound, match="no images called v9"):
        find(f"{folder}:v9")


@pytest.mark.parametrize("index", [b"", b"[]", b"{}", b'{"manifests": [1]}', b'{"manifests": [{"size": 1}]}',
                                   b'{"manifests": [{"digest": "sha256:1", "size": 1}]}', b"[" * 100_000])  # fmt: skip
def test_folder_with_a_damaged_index(index: bytes, tmp_path: Path) -> None:
    """An index that is none is one line."""
    folder = store(tmp_path / "layout")
    (folder / "index.json").write_bytes(index)
    with pytest.raises(UnsupportedImage, match="is no image index"):
        find(str(folder))


def test_what_is_no_file(tmp_path: Path) -> None:
    """A folder, a pipe, a device, nothing, and a file that may not be read are each one line; no pipe is waited for."""
    pipe = tmp_path / "pipe.wasm"
    os.mkfifo(pipe)
    (tmp_path / "link.wasm").symlink_to(tmp_path / "link.wasm")
    for path, words in (
        (tmp_path, "without an OCI image layout"),
        (pipe, "device or a pipe"),
        (Path("/dev/zero"), "device or a pipe"),
        (tmp_path / "none.wasm", "there is no file"),
        (tmp_path / "link.wasm", "cannot read"),
        (Path("/proc/self/mem"), "cannot read"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            find(str(path))
        assert "\n" not in caught.value.message


def test_a_file_of_two_gigabytes_is_not_read(tmp_path: Path) -> None:
    """A sparse file, far larger than is read: its size is told, and nothing of it is in memory."""
    path = tmp_path / "huge.wasm"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    found = find(str(path))
    assert (found.module, found.size) == (b"", 2 << 30)
    assert found.unread is not None


class Registry:
    """A registry of one image."""

    def __init__(self, layout: str = "oci") -> None:
        self.shelf = Shelf()
        copy_image(layouts.build(layout, RAW, CONFIG), REFERENCE, self.shelf, REFERENCE)
        self.asked: list[str] = []

    @contextlib.contextmanager
    def open(self, reference: Reference) -> Iterator[Source]:
        self.asked.append(str(reference))
        yield self.shelf


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_image_at_a_registry(layout: str, tmp_path: Path) -> None:
    """What the store does not have is looked up at the registry, verified, and not kept."""
    registry = Registry(layout)
    found = find(str(REFERENCE), tmp_path, registry.open)
    assert (found.source, found.module, found.path) == ("registry", RAW, None)
    assert registry.asked == [str(REFERENCE)]
    assert not list(tmp_path.iterdir())


def test_the_store_goes_first(tmp_path: Path) -> None:
    """No registry is asked for what is here."""
    registry = Registry()
    assert find(str(REFERENCE), store(tmp_path), registry.open).source == "store"
    assert registry.asked == []


def test_neither_here_nor_there(tmp_path: Path) -> None:
    """Without a registry to ask, the store's own words; a word that names nothing is told so."""
    with pytest.raises(ImageNotFound, match="there is no image"):
        find("localhost/none:v1", tmp_path)
    with pytest.raises(InvalidReference, match="there is no file No:Such:Thing, and no image is called so"):
        find("No:Such:Thing", tmp_path)


class NoRegistry:
    """One that cannot be reached."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    @contextlib.contextmanager
    def open(self, reference: Reference) -> Iterator[Source]:
        self.asked.append(str(reference))
        raise RegistryError("no such host")
        yield Registry().shelf


@pytest.mark.parametrize("word", ["README.md", "readme.md", "docs/readme.md", "Docs/x", "filter.yaml"])
def test_a_file_that_is_missing(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a word that looks like a file, both are told: no such file, no such image; and no registry is asked."""
    monkeypatch.chdir(tmp_path)
    registry = NoRegistry()
    with pytest.raises((ImageNotFound, InvalidReference), match=f"^there is no file {word}, and "):
        find(word, tmp_path, registry.open)
    assert registry.asked == []


@pytest.mark.parametrize("word", ["build/filter", "demo/add"])
def test_a_path_or_an_image(word: str, tmp_path: Path) -> None:
    """What may be either is asked for at the registry, and the file is in the complaint too."""
    registry = NoRegistry()
    with pytest.raises(WasmeError, match=f"^there is no file {word}, and no image of that name was got: "):
        find(word, tmp_path, registry.open)
    assert len(registry.asked) == 1


@pytest.mark.parametrize("word", ["demo/add:v1", "h.io/demo/readme.md", "localhost/demo/x", "add"])
def test_names_of_images_are_no_paths(word: str, tmp_path: Path) -> None:
    """A tag or a registry makes it an image's name."""
    registry = NoRegistry()
    with pytest.raises(WasmeError) as caught:
        find(word, tmp_path, registry.open)
    assert "there is no file" not in caught.value.message
    assert len(registry.asked) == 1


class TestStandardInput:
    def test_read(self) -> None:
        """A module on standard input is read as it comes."""
        found = read_stream(io.BytesIO(RAW))
        assert (found.name, found.source, found.module, found.size) == ("-", "stdin", RAW, len(RAW))

    def test_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of an endless stream no more than the limit is read."""
        monkeypatch.setattr("wasme.inspect.subject.LARGEST", 100)
        stream = io.BytesIO(bytes(1000))
        found = read_stream(stream)
        assert stream.tell() == 101
        assert found.module == b""
        assert found.unread is not None
        assert "more than 100 bytes" in found.unread.text

    def test_nothing_there(self, tmp_path: Path) -> None:
        """A terminal, no stream at all and a folder are one line each."""
        main, side = os.openpty()
        with os.fdopen(main, "rb", 0), os.fdopen(side, "rb", 0) as terminal:
            for stream in (terminal, None):
                with pytest.raises(InputError, match="no module comes on standard input"):
                    read_stream(stream)
        folder = os.fdopen(os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT), "wb")
        with folder, pytest.raises(InputError, match="cannot read standard input"):
            read_stream(folder)


def test_a_registry_that_lies(tmp_path: Path) -> None:
    """Other bytes than the manifest promises are refused."""
    registry = Registry()
    module = next(digest for digest, content in registry.shelf.blobs.items() if content == RAW)
    registry.shelf.blobs[module] = RAW[:-1] + b"x"
    with pytest.raises(WasmeError, match="promised"):
        find(str(REFERENCE), tmp_path, registry.open)


@pytest.mark.parametrize("layout", ["oci", "compat"])
def test_a_module_too_large_to_read(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module beyond the limit is not held, wherever it lies; that is told, and the rest of the image too."""
    for name in ("images", "subject"):
        monkeypatch.setattr(f"wasme.inspect.{name}.LARGEST", 100)
    for found in (
        find(str(REFERENCE), tmp_path, Registry(layout).open),
        find(str(REFERENCE), store(tmp_path / layout, layout)),
    ):
        assert (found.module, found.size) == (b"", len(RAW))
        assert found.image is not None
        assert found.unread is not None
    assert LARGEST > 100


def test_chosen_from_an_index(tmp_path: Path) -> None:
    """Of an index, the platform of the chosen child is told, since pullers ask for one."""
    registry = Registry()
    child = registry.shelf.names[str(REFERENCE)]
    row = {"mediaType": child.media_type, "digest": child.digest, "size": child.size}
    index = registry.shelf.put_json(
        {"schemaVersion": 2, "manifests": [{**row, "platform": {"os": "wasip1", "architecture": "wasm"}}]},
        "application/vnd.oci.image.index.v1+json",
    )
    registry.shelf.names[str(REFERENCE)] = index
    found = find(str(REFERENCE), tmp_path, registry.open)
    assert found.platform == ("wasip1", "wasm")
    assert found.image is not None
    assert found.image.chosen_from == index.digest
