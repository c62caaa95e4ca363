"""``index.json``: which names stand for which manifests, and beside each name what ``list`` shows of it.

Rows are kept as they were read, so that rows other tools wrote pass through unchanged, and one row that cannot be
understood harms no other. Changes are made under a lock, to the file as it is at that moment, and replace it in one
step. The standard library's JSON is used here, and nothing is parsed further than asked for: `list` starts faster so.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wasme.errors import ImageError, InvalidReference, StoreError
from wasme.image import durable, media_types
from wasme.image.digest import DIGEST
from wasme.image.reference import FULL, Reference

if TYPE_CHECKING:
    from wasme.image.descriptor import Descriptor

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
_LOCK = ".wasme.lock"
_RESERVE = ".wasme.reserve"
_RESERVE_STEP = 8192
# What may lie in a store that was never finished, or at the root of a disk of its own.
_PART_OF_STORE = re.compile(r"blobs|index\.json|oci-put-blob.*|\.(?:wasme|index\.json|oci-layout)\..*|lost\+found")
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

_NEVER = datetime.fromtimestamp(0, UTC)
# What `list` shows of an image, written beside its name so that listing opens no blob.
MODULE_DIGEST = "module.wasm.image/digest"
MODULE_SIZE = "module.wasm.image/size"
LAYOUT = "module.wasm.image/layout"
UPDATED = "module.wasm.image/updated"
# containerd and buildx put the whole name here, and only the tag into the specification's annotation.
_CONTAINERD_NAME = "io.containerd.image.name"


class Summary(NamedTuple):
    """What ``list`` shows of an image, as its row remembers it."""

    digest: str
    size: int
    updated: datetime


class Row:
    """One row of the index.

    Args:
        value: the row as it stands in the file, of whatever type.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        told = value.get("annotations") if isinstance(value, dict) else None
        self.annotations: dict[str, Any] = told if isinstance(told, dict) else {}
        self._reference: Reference | None = None

    def told(self, key: str) -> str:
        """An annotation; "" where there is none."""
        text = self.annotations.get(key)
        return text if isinstance(text, str) else ""

    @property
    def name(self) -> str:
        """The image's name as it stands there; "" where it has none."""
        return self.told(_CONTAINERD_NAME) or self.told(media_types.REF_NAME)

    @property
    def reference(self) -> Reference | None:
        """The name parsed; None where there is none, or it names nothing."""
        if self._reference is None and (name := self.name):
            with contextlib.suppress(InvalidReference):
                self._reference = Reference.parse(name)
        return self._reference

    @property
    def digest(self) -> str:
        """The digest of the manifest that it names; "" where it names none."""
        digest = self.value.get("digest") if isinstance(self.value, dict) else None
        return digest if isinstance(digest, str) and DIGEST.fullmatch(digest) else ""

    @property
    def media_type(self) -> str:
        """The media type of what it names; "" where it tells none."""
        media_type = self.value.get("mediaType") if isinstance(self.value, dict) else None
        return media_type if isinstance(media_type, str) else ""

    @property
    def chosen_from(self) -> str | None:
        """The digest of the index that the manifest was chosen from, if it was."""
        return self.told(media_types.CHOSEN_FROM) or None

    @property
    def problem(self) -> str | None:
        """Why the row cannot be used, or None."""
        if not self.digest:
            return "its row in the index names no manifest"
        if self.name and self.reference is None:
            return "its name is no image reference"
        return None

    @property
    def descriptor(self) -> Descriptor:
        """The manifest or index that it names, with all annotations.

        Raises:
            ImageError: it cannot be read.
        """
        import msgspec

        from wasme.image.descriptor import Descriptor

        try:
            return msgspec.convert(self.value, Descriptor)
        except msgspec.ValidationError as error:
            raise ImageError(f"the row of {self.name or 'an image'} in the index cannot be read: {error}") from None

    @property
    def summary(self) -> Summary | None:
        """What the row remembers of its image; None where another tool wrote it."""
        digest, size, updated = self.told(MODULE_DIGEST), self.told(MODULE_SIZE), self.told(UPDATED)
        if not (digest and DIGEST.fullmatch(digest) and size.isdecimal() and len(size) < 16):
            return None
        try:
            moment = datetime.fromisoformat(updated)
        except ValueError:
            return None
        if not 1 < moment.year < datetime.max.year:  # in another zone it may be no date at all
            moment = _NEVER
        return Summary(digest, int(size), moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class Rows:
    """The index as it is at one moment; changed only inside `IndexFile.changing`."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.rows = [Row(value) for value in document.get("manifests") or []]

    def put(self, descriptor: Descriptor, reference: Reference, summary: Summary, layout: str) -> None:
        """Name a manifest, in place of whatever had the name."""
        name = name_of(reference)
        annotations = {
            media_types.REF_NAME: name,
            MODULE_DIGEST: summary.digest,
            MODULE_SIZE: str(summary.size),
            LAYOUT: layout,
            UPDATED: summary.updated.isoformat(),
        }
        if chosen_from := (descriptor.annotations or {}).get(media_types.CHOSEN_FROM):
            annotations[media_types.CHOSEN_FROM] = chosen_from
        value = {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
            "annotations": annotations,
        }
        self.rows = [row for row in self.rows if row.reference is None or name_of(row.reference) != name]
        self.rows.append(Row(value))

    def remove(self, unwanted: list[Row]) -> None:
        """Take rows out."""
        gone = {id(row) for row in unwanted}
        self.rows = [row for row in self.rows if id(row) not in gone]


class IndexFile:
    """The index of the OCI image layout at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / INDEX_FILE

    @property
    def exists(self) -> bool:
        """Whether ``root`` is an image layout already."""
        return (self.root / LAYOUT_FILE).exists()

    def stranger(self) -> str | None:
        """What shows that the folder is no store: the name of something there that is no part of one; else None."""
        if self.exists:
            return None
        try:
            names = sorted(os.listdir(self.root))  # noqa: PTH208 -- names are all that is asked for
        except OSError:
            return None
        return next((name for name in names if not _PART_OF_STORE.fullmatch(name)), None)

    def refuse_stranger(self) -> None:
        """Nothing, where the folder is a store, or can become one.

        Raises:
            StoreError: it holds something else.
        """
        if strange := self.stranger():
            raise StoreError(
                f"{self.root} is no image store, and not empty: {strange} lies there",
                hint="give an empty or a new folder with --store DIR",
            )

    def read(self) -> Rows:
        """The index; of a store that is not there yet, an empty one.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        return Rows(self.document())

    def document(self) -> dict[str, Any]:
        """The index as it stands in the file; ``manifests`` is a list or not there.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            if self.exists:
                raise self._damaged("it is missing") from None
            return {"schemaVersion": 2}
        except NotADirectoryError as error:
            raise durable.explain(error, self.root, "read") from None
        except OSError as error:
            raise durable.explain(error, self.path, "read") from None
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._damaged(str(error)) from None
        if not isinstance(document, dict) or not isinstance(document.get("manifests"), list | None):
            raise self._damaged("it is no image index")
        return document

    @contextlib.contextmanager
    def changing(self) -> Iterator[Rows]:
        """The index, for oneself alone; written when the block ends well and has changed it.

        Raises:
            StoreError: it is damaged (and stays as it is), or cannot be written.
        """
        durable.make_folder(self.root)
        with durable.locked(self.root / _LOCK):
            if not self.exists:
                self._create()
            rows = self.read()
            before = list(rows.rows)
            yield rows
            if rows.rows != before:
                document = {**rows.document, "manifests": [row.value for row in rows.rows]}
                self._write(json.dumps(document, separators=(",", ":")).encode(), shrinks=len(rows.rows) < len(before))

    def _write(self, content: bytes, *, shrinks: bool) -> None:
        """Replace the index. On a full disk a name can still be taken away: the reserve gives the room for that."""
        reserve = self.root / _RESERVE
        try:
            durable.write_whole(self.path, content)
        except StoreError:
            if not shrinks or not reserve.exists():
                raise
            reserve.unlink(missing_ok=True)
            durable.write_whole(self.path, content)
        self._keep_reserve(reserve, len(content))

    @staticmethod
    def _keep_reserve(reserve: Path, size: int) -> None:
        """Hold room for one more index of this size; a disk without room has none, and a later change tries again."""
        with contextlib.suppress(OSError):
            if not reserve.exists() or reserve.stat().st_size < size:
                # In steps, so that not every new name costs a write; zeros that are written take room, holes do not.
                reserve.write_bytes(bytes((size // _RESERVE_STEP + 2) * _RESERVE_STEP))

    def _create(self) -> None:
        """Make the layout, its marker last: a store without the marker was never finished and is empty."""
        if not self.path.exists():
            durable.write_whole(self.path, _EMPTY)
        durable.write_whole(self.root / LAYOUT_FILE, _LAYOUT)

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"{self.path} is damaged: {why}",
            hint=f"nothing has been changed; restore it, or move {self.root} away and pull or build the images again",
        )


def recall(value: Any, present: set[str]) -> tuple[str, str, Summary, str] | None:
    """What a row remembers of an image that is whole: name, tag, summary and the manifest's digest.

    This is `list` for a row that wasme wrote, in one step for each of thousands. None where anything is unusual: then
    `Row` finds out what.
    """
    try:
        told, digest = value["annotations"], value["digest"]
        module = told[MODULE_DIGEST]
        named = FULL.fullmatch(told[media_types.REF_NAME])
        updated = datetime.fromisoformat(told[UPDATED])
        usual = updated.tzinfo and 1 < updated.year < datetime.max.year and _CONTAINERD_NAME not in told
        if named and usual and digest in present and module in present:
            return named[1], named[2], Summary(module, int(told[MODULE_SIZE]), updated), digest
    except (KeyError, TypeError, ValueError):
        pass
    return None


def name_of(reference: Reference) -> str:
    """The name under which an image is kept: its tag if it has one, else its digest."""
    return f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{reference.digest}"
