"""The local store on a real disk: names, digests, and an index that others write too."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fixtures import modules
from tests.fixtures.stores import CONFIG, MODULE, V1, V2, blob_files
from wasme.errors import ContentMismatch, ImageNotFound, WasmeError
from wasme.image import layouts
from wasme.image.content import from_bytes
from wasme.image.descriptor import Descriptor, sha256
from wasme.image.reference import Reference
from wasme.image.store import Store, open_store


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

    @pytest.mark.parametrize("told", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00"])
    def test_a_time_that_is_none_elsewhere(self, store: Store, root: Path, told: str) -> None:
        """A time at the calendar's end, which another zone does not have, is listed as 1970."""
        store.add(V1, layouts.build("oci", MODULE, CONFIG))
        index = root / "index.json"
        document = json.loads(index.read_text())
        document["manifests"][0]["annotations"]["module.wasm.image/updated"] = told
        index.write_text(json.dumps(document))

        assert store.entries()[0].updated.timestamp() == 0

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


_DIGESTS = st.sampled_from(["sha256:" + "0" * 64, "sha256:" + "1" * 64, "sha256:x", ""])
_KEYS = st.sampled_from(
    ["mediaType", "digest", "size", "annotations", "org.opencontainers.image.ref.name"]
    + [f"module.wasm.image/{key}" for key in ("digest", "size", "updated")]
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | _DIGESTS
    | st.sampled_from(["h.io/a:v1", "2026-11-22T07:00:00+00:00", "2026-11-22", "15"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=15,
)  # fmt: skip


def _name(row: Any) -> str:
    annotations = row.get("annotations") if isinstance(row, dict) else None
    name = annotations.get("org.opencontainers.image.ref.name") if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else ""


def _names_a_manifest(row: Any) -> bool:
    return isinstance(row, dict) and row.get("digest") in ("sha256:" + "0" * 64, "sha256:" + "1" * 64)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_JSON, max_size=4))
def test_any_index_is_listed_or_told(tmp_path: Path, rows: list[Any]) -> None:
    """Whatever rows an index holds, each that has a name or is broken is listed in its place, a broken one with its
    problem; listing, finding and pruning raise nothing but WasmeErrors."""
    (tmp_path / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (tmp_path / "blobs" / "sha256" / ("0" * 64)).touch()
    (tmp_path / "oci-layout").write_text("{}")
    (tmp_path / "index.json").write_text(json.dumps({"manifests": rows}))
    store = open_store(tmp_path)

    entries = store.entries()
    listed = [row for row in rows if _name(row) or not _names_a_manifest(row)]
    assert len(entries) == len(listed)
    for entry, row in zip(entries, listed, strict=True):
        assert entry.problem or (entry.digest and _names_a_manifest(row))
        assert f"{entry.name}:{entry.tag}".startswith(_name(row))
    for action in (lambda: store.image(V1), lambda: store.module_path(V1), store.prune):
        with contextlib.suppress(WasmeError):
            action()
