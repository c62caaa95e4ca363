"""Blobs of the local store: verified, resumed, healed, and freed once nothing names them."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.fixtures import modules
from tests.fixtures.stores import CONFIG, MODULE, V1, V2, Cut, blob_files, refuse
from wasme.errors import ContentMismatch, StoreError
from wasme.image import layouts
from wasme.image.content import Readable, from_bytes
from wasme.image.descriptor import Descriptor, describe
from wasme.image.reference import Reference
from wasme.image.store import Store, open_store


class TestBlobs:
    def test_wrong_content_is_never_seen(self, store: Store, root: Path) -> None:
        """Other, longer and shorter content is refused; neither blob nor partial file is left of what is wrong."""
        named = describe(MODULE, "x/y")
        for wrong in (MODULE[:-1] + b"!", MODULE + b"!", b""):
            with pytest.raises(ContentMismatch):
                store.push(named, from_bytes(wrong))
            assert blob_files(root) == set()

    def test_an_endless_source_is_left(self, store: Store, root: Path) -> None:
        """A source that goes on beyond the promised size is left at once, and fills no disk."""

        class Endless(Cut):
            def read(self, size: int, /) -> bytes:
                self.position += size
                assert self.position < 2_000_000, "read on and on"
                return bytes(size)

        with pytest.raises(ContentMismatch, match="more bytes"):
            store.push(describe(MODULE, "x/y"), Endless(b"").open)
        assert blob_files(root) == set()

    def test_a_broken_transfer_goes_on_where_it_broke(self, store: Store, root: Path) -> None:
        """After a cut, another process asks for the missing part only."""
        named = describe(MODULE, "x/y")
        with pytest.raises(ConnectionError):
            store.push(named, Cut(MODULE, 9_000).open)
        assert blob_files(root) == {f"{named.hex}.partial"}

        rest = Cut(MODULE)
        open_store(root).push(named, rest.open)

        assert rest.offsets == [9_000]
        assert (root / "blobs" / "sha256" / named.hex).read_bytes() == MODULE
        assert blob_files(root) == {named.hex}

    def test_a_short_answer_is_kept_for_the_next_try(self, store: Store) -> None:
        """Content that ends early is an error, and what came of it is not asked for again."""
        named = describe(MODULE, "x/y")
        with pytest.raises(ContentMismatch, match="9000 bytes arrived, 15000 were promised"):
            store.push(named, from_bytes(MODULE[:9_000]))

        rest = Cut(MODULE)
        store.push(named, rest.open)
        assert rest.offsets == [9_000]

    def test_a_damaged_partial_file_heals(self, store: Store, root: Path) -> None:
        """Where the old part does not fit the rest, the whole is fetched once more."""
        named = describe(MODULE, "x/y")
        folder = root / "blobs" / "sha256"
        folder.mkdir(parents=True)
        for damaged in (bytes(9_000), bytes(20_000), bytes(15_000)):
            (folder / f"{named.hex}.partial").write_bytes(damaged)
            whole = Cut(MODULE)

            store.push(named, whole.open)

            assert whole.offsets[-1] == 0
            assert (folder / named.hex).read_bytes() == MODULE
            (folder / named.hex).unlink()

    def test_a_finished_partial_file_needs_no_transfer(self, store: Store, root: Path) -> None:
        """Killed between the last byte and the rename: nothing is asked for."""
        named = describe(MODULE, "x/y")
        folder = root / "blobs" / "sha256"
        folder.mkdir(parents=True)
        (folder / f"{named.hex}.partial").write_bytes(MODULE)

        store.push(named, refuse)

        assert blob_files(root) == {named.hex}

    def test_what_is_there_is_not_asked_for(self, store: Store) -> None:
        """A blob that is there, whole, is never opened at its source."""
        store.push(describe(MODULE, "x/y"), from_bytes(MODULE))

        store.push(describe(MODULE, "x/y"), refuse)

    def test_a_damaged_blob_heals(self, store: Store, root: Path) -> None:
        """A blob whose bytes rotted on the disk is told when it is used, and replaced by the next pull."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        path = store.module_path(V1)
        path.write_bytes(MODULE[:-1] + b"!")
        with pytest.raises(ContentMismatch, match=r"h\.io/demo/auth:v1: .* is damaged"):
            store.module_path(V1)

        store.add(V1, layouts.build("oci", MODULE, CONFIG))

        assert store.module_path(V1).read_bytes() == MODULE

    def test_waiting_for_one_who_fails(self, store: Store, root: Path) -> None:
        """Who waits for a writer that fails and takes its file away begins anew, under the blob's own name."""
        named = describe(MODULE, "x/y")
        waiting, failed = threading.Event(), threading.Event()

        def fail(_offset: int) -> AbstractContextManager[Readable]:
            waiting.set()
            failed.wait(10)
            raise ConnectionError

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(store.push, named, fail)
            waiting.wait(10)
            second = pool.submit(store.push, named, from_bytes(MODULE))
            time.sleep(0.1)
            assert not second.done()
            failed.set()
            assert isinstance(first.exception(10), ConnectionError)
            second.result(10)

        assert (root / "blobs" / "sha256" / named.hex).read_bytes() == MODULE
        assert blob_files(root) == {named.hex}

    def test_empty_blob(self, store: Store, root: Path) -> None:
        """A blob without content is a blob."""
        store.push(describe(b"", "x/y"), from_bytes(b""))

        assert blob_files(root) == {describe(b"", "x/y").hex}

    @pytest.mark.parametrize("layout", layouts.LAYOUTS)
    def test_blobs_outlast_a_power_cut_that_their_name_outlasts(
        self, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch, layout: str
    ) -> None:
        """When the index names an image, every blob of it stands in a folder that was synced after the blob came."""
        lasting: set[str] = set()
        real = os.fsync

        def watched(handle: int) -> None:
            real(handle)
            there = Path(f"/proc/self/fd/{handle}").readlink()
            if there == root / "blobs" / "sha256":
                lasting.update(blob_files(root))
            elif there.name.startswith(".index.json") and b"h.io" in there.read_bytes():
                named.append({*lasting})

        named: list[set[str]] = []
        monkeypatch.setattr(os, "fsync", watched)
        store.add(V1, layouts.build(layout, MODULE, CONFIG))

        assert named == [blob_files(root)]

    def test_sha512(self, store: Store, root: Path) -> None:
        """A blob named by sha512 is kept under that name."""
        import hashlib

        named = Descriptor("x/y", "sha512:" + hashlib.sha512(MODULE).hexdigest(), len(MODULE))
        store.push(named, from_bytes(MODULE))

        assert (root / "blobs" / "sha512" / named.hex).read_bytes() == MODULE
        with pytest.raises(ContentMismatch):
            store.push(Descriptor("x/y", "sha512:" + "0" * 128, len(MODULE)), from_bytes(MODULE))


class TestFreeing:
    def test_rm_takes_the_name_prune_the_space(self, store: Store, root: Path) -> None:
        """`remove` leaves the blobs, `prune` frees what no other name needs, and tells how much."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        store.add(V2, layouts.build("oci", modules.minimal(), CONFIG))
        before = blob_files(root)

        assert store.remove(V1) == [V1]
        assert blob_files(root) == before
        freed = open_store(root).prune()

        assert freed == (2, 15_000 + len(layouts.build("oci", MODULE, CONFIG).manifest), False)
        assert store.module_path(V2).read_bytes() == modules.minimal()
        assert store.prune() == (0, 0, False)

    def test_unpacked_module_stays_with_its_image(self, store: Store, root: Path) -> None:
        """The module unpacked from a packed image lives as long as the image does."""
        store.add(V1, layouts.build("compat", MODULE, CONFIG))
        assert store.prune().files == 0
        assert store.module_path(V1).read_bytes() == MODULE

        store.remove(V1)
        assert store.prune().files == 4
        assert blob_files(root) == set()

    def test_by_digest_every_tag_of_it_goes(self, store: Store) -> None:
        """With a digest alone, every name that the repository has for it is taken away; others keep theirs."""
        draft = layouts.build("oci", MODULE, CONFIG)
        other = Reference.parse("h.io/demo/other:v1")
        for name in (V1, V2, other):
            store.add(name, draft)

        removed = store.remove(Reference.parse(f"h.io/demo/auth@{draft.descriptor.digest}"))

        assert removed == [V1, V2]
        assert [entry.name for entry in store.entries()] == ["h.io/demo/other"]

    def test_partial_files_are_freed(self, store: Store, root: Path) -> None:
        """What a broken transfer left is freed; files of unknown names are left alone."""
        with pytest.raises(ConnectionError):
            store.push(describe(MODULE, "x/y"), Cut(MODULE, 9_000).open)
        (root / "blobs" / "sha256" / "README").write_text("mine")

        assert store.prune() == (1, 9_000, False)
        assert "README" in blob_files(root)

    def test_whole_blobs_without_any_index_stay(self, store: Store, root: Path) -> None:
        """Where no index says what is used, whole blobs are not called unused."""
        store.push(describe(MODULE, "x/y"), from_bytes(MODULE))

        assert store.prune() == (0, 0, False)
        assert blob_files(root) == {describe(MODULE, "x/y").hex}

    def test_what_is_being_written_stays(self, store: Store, root: Path) -> None:
        """While somebody writes, blobs without a name stay unless they have been idle for a day."""
        store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))
        fresh, old = describe(b"fresh", "x/y"), describe(b"old", "x/y")
        other = open_store(root)
        with other.writing():
            other.push(fresh, from_bytes(b"fresh"))
            other.push(old, from_bytes(b"old"))
            os.utime(root / "blobs" / "sha256" / old.hex, (0, 0))

            assert store.prune() == (1, 3, True)
            assert fresh.hex in blob_files(root)

            os.utime(root / "blobs" / "sha256" / fresh.hex, (0, 0))
            other.push(fresh, refuse)  # it was asked for again: it is needed
            assert store.prune() == (0, 0, True)

        assert store.prune() == (1, 5, False)

    def test_what_skopeo_is_writing_stays(self, store: Store, root: Path) -> None:
        """A blob that skopeo has half written counts as a writer; one that it left behind long ago does not."""
        store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))
        store.push(describe(b"fresh", "x/y"), from_bytes(b"fresh"))
        part = root / "oci-put-blob123"
        part.write_bytes(b"half")

        assert store.prune() == (0, 0, True)
        os.utime(part, (0, 0))
        assert store.prune() == (1, 5, False)
        assert part.exists()

    def test_nothing_is_freed_from_a_damaged_index(self, store: Store, root: Path) -> None:
        """Without a readable index nothing can be called unused."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        before = blob_files(root)
        for damage in (lambda: (root / "index.json").write_text("{"), (root / "index.json").unlink):
            damage()
            with pytest.raises(StoreError, match=r"index\.json is damaged"):
                store.prune()
            assert blob_files(root) == before
