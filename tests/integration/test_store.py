"""The local store on a real disk: names, blobs, resuming, freeing, and what happens when the disk says no."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures import modules
from wasme.errors import ContentMismatch, ImageNotFound, StoreError, UnsupportedImage, WasmeError
from wasme.image import layouts
from wasme.image.content import Readable, from_bytes
from wasme.image.descriptor import Descriptor, describe, sha256
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import Store, open_store

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
V1, V2 = Reference.parse("h.io/demo/auth:v1"), Reference.parse("h.io/demo/auth:v2")
MODULE = modules.sized(15_000)


def blob_files(root: Path) -> set[str]:
    return {path.name for path in (root / "blobs" / "sha256").iterdir()}


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return open_store(root)


class TestNames:
    def test_nothing_is_made_by_reading(self, store: Store, root: Path) -> None:
        """Reading a store that is not there leaves the disk as it was."""
        assert store.entries() == []
        with pytest.raises(ImageNotFound):
            store.image(V1)
        with pytest.raises(ImageNotFound):
            store.remove(V1)
        assert store.prune() == (0, 0, False)

        assert not root.exists()

    def test_asking_whether_it_can_be_written_makes_nothing(self, store: Store, root: Path) -> None:
        """Long work asks first; the answer leaves no trace."""
        store.check_writable()

        assert not root.exists()

    @pytest.mark.parametrize("layout", layouts.LAYOUTS)
    def test_what_is_added_is_there_for_the_next_process(self, store: Store, root: Path, layout: str) -> None:
        """An image of each layout is listed, read, and its bare module is a verified file."""
        draft = layouts.build(layout, MODULE, CONFIG)
        store.add(V1, draft)

        again = open_store(root)
        (entry,) = again.entries()
        image = again.image(V1)

        assert (entry.name, entry.tag, entry.size, entry.digest) == ("h.io/demo/auth", "v1", 15_000, sha256(MODULE))
        assert entry.manifest_digest == draft.descriptor.digest == image.manifest.digest
        assert entry.problem is None
        assert abs(entry.updated.timestamp() - time.time()) < 60
        assert (image.layout, image.config, image.module.digest) == (layout, CONFIG, sha256(MODULE))
        assert again.module_path(V1).read_bytes() == MODULE == Path(entry.directory).read_bytes()

    def test_it_is_an_oci_layout(self, store: Store, root: Path) -> None:
        """The marker, an index whose row has the full reference, and blobs under their digests."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))

        assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
        (row,) = json.loads((root / "index.json").read_text())["manifests"]
        assert row["annotations"]["org.opencontainers.image.ref.name"] == "h.io/demo/auth:v1"
        for name in blob_files(root):
            assert sha256((root / "blobs" / "sha256" / name).read_bytes()) == f"sha256:{name}"

    def test_alias_shares_blobs(self, store: Store, root: Path) -> None:
        """A second name costs a row in the index, and no blob."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        before = blob_files(root)

        store.alias(V1, V2)

        assert blob_files(root) == before
        assert {entry.tag for entry in store.entries()} == {"v1", "v2"}

    def test_the_same_name_again_moves_its_time(self, store: Store, root: Path) -> None:
        """[BUG of the original: UPDATED stayed] Tagging a name again makes it the newest, and there is one row."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        index = root / "index.json"
        index.write_text(index.read_text().replace(f"{time.gmtime().tm_year}-", "2001-"))
        assert store.entries()[0].updated.year == 2001

        store.alias(V1, V1)

        (entry,) = store.entries()
        assert entry.updated.year == time.gmtime().tm_year

    def test_a_name_changes_hands(self, store: Store) -> None:
        """A name that stood for one image stands for the other afterwards."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        store.add(V1, layouts.build("oci", modules.minimal(), CONFIG))

        assert store.image(V1).module.size == len(modules.minimal())
        assert len(store.entries()) == 1

    def test_close_matches(self, store: Store) -> None:
        """An unknown name's error has the names that were probably meant."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))

        with pytest.raises(ImageNotFound) as typo:
            store.image(Reference.parse("h.io/demo/auht:v1"))
        with pytest.raises(ImageNotFound) as other:
            store.image(Reference.parse("h.io/demo/auth:stable-2026"))

        assert typo.value.hint == other.value.hint == "did you mean h.io/demo/auth:v1?"

    def test_nothing_is_written_without_a_change(self, store: Store, root: Path) -> None:
        """Pruning a store with nothing to free leaves its index untouched."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        before = (root / "index.json").stat()

        store.prune()

        after = (root / "index.json").stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_rows_of_others_pass_through(self, store: Store, root: Path) -> None:
        """Rows and keys that other tools wrote, odd ones included, are still there after a change of ours."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        index = root / "index.json"
        document = json.loads(index.read_text())
        odd = [{"mediaType": "x/y", "digest": "sha256:" + "0" * 64, "size": 1, "data": "eA==", "x": [1.5, None]}, 7]
        document = {
            **document,
            "manifests": [*odd, *document["manifests"]],
            "annotations": {"a": "b"},
            "future": {"é": 1},
        }
        index.write_text(json.dumps(document))

        store.alias(V1, V2)

        after = json.loads(index.read_text())
        assert after["manifests"][:3] == document["manifests"]
        assert {key: after[key] for key in ("annotations", "future")} == {"annotations": {"a": "b"}, "future": {"é": 1}}


class TestDigests:
    """[BUG of the original] A digest in a reference was dropped; here it is honoured everywhere."""

    def test_by_digest_under_its_repository(self, store: Store) -> None:
        """name@digest finds a tagged image of that repository, and of no other."""
        draft = layouts.build("oci", MODULE, CONFIG)
        store.add(V1, draft)
        digest = draft.descriptor.digest

        assert store.image(Reference.parse(f"h.io/demo/auth@{digest}")).manifest.digest == digest
        assert store.module_path(Reference.parse(f"h.io/demo/auth:v1@{digest}")).read_bytes() == MODULE
        for wrong in (
            f"h.io/demo/other@{digest}",
            f"h.io/demo/auth:v2@{digest}",
            f"h.io/demo/auth:v1@sha256:{'0' * 64}",
        ):
            with pytest.raises(ImageNotFound):
                store.image(Reference.parse(wrong))

    def test_kept_by_digest_alone(self, store: Store) -> None:
        """An image may be kept under its digest alone; its tag in lists is the digest."""
        draft = layouts.build("oci", MODULE, CONFIG)
        reference = Reference.parse(f"h.io/demo/auth@{draft.descriptor.digest}")

        store.add(reference, draft)

        assert store.entries()[0].tag == draft.descriptor.digest
        assert store.image(reference).config == CONFIG

    def test_another_digest_cannot_be_named(self, store: Store) -> None:
        """An image cannot be kept under a digest that it does not have."""
        with pytest.raises(ContentMismatch):
            store.add(Reference.parse(f"h.io/demo/auth@sha256:{'0' * 64}"), layouts.build("oci", MODULE, CONFIG))
        assert store.entries() == []

    def test_by_the_indexs_digest(self, store: Store) -> None:
        """An image chosen from an index is found by the index's digest too, and says where it was chosen from."""
        draft = layouts.build("oci", MODULE, CONFIG)
        for blob, opener in draft.blobs:
            store.push(blob, opener)
        index = "sha256:" + "1" * 64
        named = Descriptor(draft.descriptor.media_type, draft.descriptor.digest, draft.descriptor.size, {
            "module.wasm.image/index": index,
        })  # fmt: skip
        store.tag(named, Reference.parse(f"h.io/demo/auth:v1@{index}"))

        image = store.image(Reference.parse(f"h.io/demo/auth@{index}"))

        assert (image.manifest.digest, image.chosen_from) == (draft.descriptor.digest, index)

    def test_index_of_another_tool(self, store: Store, root: Path) -> None:
        """A name that another tool gave to an index is the chosen child: listed, found by either digest, kept."""
        from tests.unit.image.shelf import Shelf, plain

        store.add(V2, layouts.build("oci", modules.minimal(), CONFIG))
        draft = layouts.build("oci", MODULE, CONFIG)
        for blob, opener in draft.blobs:
            store.push(blob, opener)
        index = Shelf().put_json(
            {"schemaVersion": 2, "manifests": [plain(draft.descriptor)]}, "application/vnd.oci.image.index.v1+json"
        )
        content = json.dumps({"schemaVersion": 2, "manifests": [plain(draft.descriptor)]}).encode()
        store.push(index, from_bytes(content))
        document = json.loads((root / "index.json").read_text())
        document["manifests"].append(
            {**plain(index), "annotations": {"org.opencontainers.image.ref.name": "h.io/demo/auth:v1"}}
        )
        (root / "index.json").write_text(json.dumps(document))

        entry = next(entry for entry in store.entries() if entry.tag == "v1")
        assert (entry.manifest_digest, entry.size, entry.problem) == (draft.descriptor.digest, 15_000, None)
        for digest in (index.digest, draft.descriptor.digest):
            for name in (f"h.io/demo/auth@{digest}", f"h.io/demo/auth:v1@{digest}"):
                image = store.image(Reference.parse(name))
                assert (image.manifest.digest, image.chosen_from) == (draft.descriptor.digest, index.digest)
        with pytest.raises(ImageNotFound):
            store.image(Reference.parse(f"h.io/demo/auth:v2@{draft.descriptor.digest}"))
        assert store.prune().files == 0
        store.alias(Reference.parse(f"h.io/demo/auth@{draft.descriptor.digest}"), Reference.parse("h.io/demo/auth:v3"))
        assert store.image(Reference.parse(f"h.io/demo/auth:v3@{index.digest}")).chosen_from == index.digest


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
        with pytest.raises(ContentMismatch, match=r"the module of h\.io/demo/auth:v1 is not"):
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


_DIGESTS = st.sampled_from(["sha256:" + "0" * 64, "sha256:" + "1" * 64, "sha256:x", ""])
_KEYS = st.sampled_from(["mediaType", "digest", "size", "annotations", "org.opencontainers.image.ref.name",
                         "module.wasm.image/digest", "module.wasm.image/size", "module.wasm.image/updated"])  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | _DIGESTS
    | st.sampled_from(["h.io/a:v1", "2026-11-22T07:00:00+00:00", "2026-11-22", "15"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_JSON, max_size=4))
def test_any_index_is_listed_or_told(tmp_path: Path, rows: list[Any]) -> None:
    """Whatever rows an index holds, listing, finding and pruning raise nothing but WasmeErrors."""
    (tmp_path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (tmp_path / "blobs" / "sha256" / ("0" * 64)).touch()
    (tmp_path / "oci-layout").write_text("{}")
    (tmp_path / "index.json").write_text(json.dumps({"manifests": rows}))
    store = open_store(tmp_path)

    for entry in store.entries():
        assert entry.problem or entry.digest
    for action in (lambda: store.image(V1), lambda: store.module_path(V1), store.prune):
        with contextlib.suppress(WasmeError):
            action()


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


def as_nobody(action: Callable[[], None]) -> None:
    """Run ``action`` without root's rights, in a child process where this one has them."""
    if os.geteuid() != 0:
        action()
        return
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            action()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size``: writing fails as on a full disk."""
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


class Cut:
    """A source that breaks off at a position, and notes the offsets it was opened at."""

    def __init__(self, content: bytes, at: int | None = None) -> None:
        self.content = content
        self.at = at
        self.offsets: list[int] = []

    def open(self, offset: int) -> AbstractContextManager[Readable]:
        self.offsets.append(offset)
        self.position = offset
        return contextlib.nullcontext(self)

    def read(self, size: int, /) -> bytes:
        end = min(self.position + min(size, 1_000), len(self.content))
        if self.at is not None and end > self.at:
            raise ConnectionError(errno.ECONNRESET, "reset by peer")
        part = self.content[self.position : end]
        self.position = end
        return part


def refuse(offset: int) -> AbstractContextManager[Readable]:
    raise AssertionError(f"asked for content from {offset} on")
