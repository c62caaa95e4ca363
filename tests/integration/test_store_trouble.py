"""The local store in trouble: damaged files, full disks, folders that may not be written."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.fixtures import modules
from tests.fixtures.stores import CONFIG, MODULE, V1, V2, Cut, as_nobody, blob_files, file_size_limit, refuse, tree
from wasme.errors import StoreError, UnsupportedImage, WasmeError
from wasme.image import layouts
from wasme.image.descriptor import Descriptor, describe
from wasme.image.reference import Reference
from wasme.image.store import Store, open_store


class TestTrouble:
    def test_one_broken_image_hides_no_other(self, store: Store, root: Path) -> None:
        """[BUG of the original: `list` failed] Each broken image is an entry that says what is wrong."""
        for number in range(4):
            store.add(Reference.parse(f"h.io/x:{number}"), layouts.build("oci", modules.sized(500 + number), CONFIG))
        (root / "blobs" / "sha256" / store.image(Reference.parse("h.io/x:0")).module.hex).unlink()
        (root / "blobs" / "sha256" / store.image(Reference.parse("h.io/x:1")).manifest.hex).unlink()
        index = root / "index.json"
        document = json.loads(index.read_text())
        document["manifests"][2]["digest"] = "sha256:short"
        document["manifests"] += [7, {"annotations": {"org.opencontainers.image.ref.name": "Not A Name"}}]
        index.write_text(json.dumps(document))

        problems = {(entry.name, entry.tag): entry.problem for entry in store.entries()}

        assert problems.pop(("h.io/x", "3")) is None
        assert all(problems.values())
        assert {"h.io/x", "Not A Name", ""} <= {name for name, _ in problems}

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests":{}}', '{"manifests":7}', "\udcff", "[" * 100_000])
    def test_damaged_index(self, store: Store, root: Path, content: str) -> None:
        """A damaged index is one clear error, for reading and for writing, and is left as it is."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        (root / "index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        before = tree(root)

        for action in (
            store.check_writable,
            store.entries,
            lambda: store.image(V1),
            lambda: store.add(V2, layouts.build("oci", MODULE, CONFIG)),
        ):
            with pytest.raises(StoreError, match=r"index\.json is damaged") as raised:
                action()
            assert "nothing has been changed" in str(raised.value.hint)

        assert tree(root) == before

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        """A file where a folder should be is named."""
        (tmp_path / "file").write_text("x")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            store = open_store(path)
            with pytest.raises(StoreError, match="a file is in the way"):
                store.add(V1, layouts.build("oci", MODULE, CONFIG))
            with pytest.raises(StoreError, match="a file is in the way"):
                store.entries()
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "blobs").write_text("x")
        with pytest.raises(StoreError, match="a file is in the way"):
            open_store(tmp_path / "store").add(V1, layouts.build("oci", MODULE, CONFIG))

    def test_read_only_folder(self) -> None:
        """A store that may only be read can be read, and says that it cannot be written."""
        with tempfile.TemporaryDirectory() as folder:
            store = open_store(Path(folder))
            store.add(V1, layouts.build("oci", MODULE, CONFIG))
            folders = [Path(folder), *(path for path in Path(folder).rglob("*") if path.is_dir())]
            for each in folders:
                each.chmod(0o555)

            def read_and_write() -> None:
                assert store.module_path(V1).read_bytes() == MODULE
                assert [entry.problem for entry in store.entries()] == [None]
                for write in (lambda: store.alias(V1, V2), lambda: store.remove(V1), store.prune, store.check_writable):
                    with pytest.raises(StoreError, match="permission denied") as raised:
                        write()
                    assert "--store DIR" in str(raised.value.hint)

            try:
                as_nobody(read_and_write)
            finally:
                for each in folders:
                    each.chmod(0o755)

    def test_no_room_for_the_file(self, store: Store, root: Path) -> None:
        """A file that may not grow (a limit as real as a full disk) ends in one error, and leaves no part of it."""
        store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))
        before = tree(root)
        with file_size_limit(20_000), pytest.raises(StoreError, match="cannot be written"):
            store.add(V2, layouts.build("oci", modules.sized(100_000), CONFIG))

        assert set(tree(root)) - set(before) <= {f"blobs/sha256/{layouts.build('oci', MODULE, CONFIG).blobs[0][0].hex}"}
        assert store.module_path(V1).read_bytes() == modules.minimal()

    def test_full_disk(self, tmp_path: Path) -> None:
        """On a disk that fills up under two writers, one line says so, room is given back, and images stay."""
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "none", tmp_path], capture_output=True
        ).returncode:
            pytest.skip("mounting a small disk needs root; test_no_room_for_the_file covers the path without")
        try:
            store = open_store(tmp_path / "store")
            store.add(V1, layouts.build("oci", MODULE, CONFIG))
            (tmp_path / "ballast").write_bytes(bytes(200_000))
            too_large = modules.sized(250_000)
            named = describe(too_large, "x/y")
            with pytest.raises(StoreError, match="needs 250000 bytes more"):
                store.push(named, refuse)

            class Filling(Cut):
                def read(self, size: int, /) -> bytes:
                    if self.position > 50_000:  # the disk was large enough when the transfer began
                        with contextlib.suppress(OSError), (tmp_path / "ballast").open("ab", buffering=0) as ballast:
                            while ballast.write(bytes(4096)):
                                pass
                    return super().read(size)

            (tmp_path / "ballast").unlink()
            with pytest.raises(StoreError, match="the disk is full") as raised:
                store.push(named, Filling(too_large).open)

            assert "wasme prune" in str(raised.value.hint)
            assert store.module_path(V1).read_bytes() == MODULE
            assert len(blob_files(tmp_path / "store")) == 3
        finally:
            subprocess.run(["umount", tmp_path], check=True)

    def test_no_room_for_the_index(self, store: Store, root: Path) -> None:
        """Where the index cannot be written, the old one stands."""
        store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))
        long = [Reference.parse(f"h.io/{'x' * 200}:{number}") for number in range(4)]
        for name in long:
            store.alias(V1, name)
        index = (root / "index.json").read_bytes()

        with file_size_limit(len(index)), pytest.raises(StoreError, match=r"index\.json cannot be written"):
            store.alias(V1, V2)

        assert (root / "index.json").read_bytes() == index
        assert not [path for path in root.iterdir() if path.name.endswith(".tmp")]

    def test_more_than_the_disk_holds_is_refused_at_once(self, store: Store) -> None:
        """A blob larger than the free space is refused before its source is opened."""
        huge = Descriptor("x/y", "sha256:" + "0" * 64, 1 << 60)

        with pytest.raises(StoreError, match="needs 1152921504606846976 bytes more"):
            store.push(huge, refuse)

    def test_an_image_without_its_blobs_gets_no_name(self, store: Store) -> None:
        """A manifest whose blobs are not all here cannot be named."""
        draft = layouts.build("oci", MODULE, CONFIG)
        for blob, opener in draft.blobs:
            if blob.digest != draft.module.digest:
                store.push(blob, opener)

        with pytest.raises(StoreError, match=f"{draft.module.digest} is missing"):
            store.tag(draft.descriptor, V1)
        assert store.entries() == []

    def test_no_filter_gets_no_name(self, store: Store) -> None:
        """A container image without a plugin is refused when it is named; it never shows in lists."""
        from tests.unit.image.shelf import Shelf, packed
        from wasme.image.copy import copy_image

        shelf = Shelf()
        layer = shelf.put(packed(("bin/sh", b"x")), "application/vnd.oci.image.layer.v1.tar+gzip")
        shelf.names[str(V1)] = shelf.image(shelf.put(b"{}", "application/vnd.oci.image.config.v1+json"), [layer])

        with pytest.raises(UnsupportedImage, match=r"holds no plugin\.wasm"):
            copy_image(shelf, V1, store, V1)
        assert store.entries() == []

    def test_no_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a home folder the error says what to set."""
        monkeypatch.setattr(Path, "home", _no_home)

        with pytest.raises(WasmeError) as raised:
            open_store()
        assert "HOME" in str(raised.value.hint)


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")
