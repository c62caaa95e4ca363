"""``index.json``: which names stand for which manifests, and beside each name what ``list`` shows of it.

Each row is kept as the bytes it was read as, so that rows other tools wrote pass through unchanged and one row that
cannot be understood harms no other. Changes are made under a lock, to the file as it is at that moment, and replace it
in one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from wasme.errors import InvalidReference, StoreError
from wasme.image import media_types
from wasme.image.descriptor import DIGEST, Descriptor
from wasme.image.reference import Reference
from wasme.image.store import durable

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
_LOCK = ".wasme.lock"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EMPTY = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'

# What `list` shows of an image, written beside its name so that listing opens no blob.
MODULE_DIGEST = "module.wasm.image/digest"
MODULE_SIZE = "module.wasm.image/size"
LAYOUT = "module.wasm.image/layout"
UPDATED = "module.wasm.image/updated"
# containerd and buildx put the whole name here, and only the tag into the specification's annotation.
_CONTAINERD_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``list`` shows of an image, as its row remembers it."""

    digest: str
    size: int
    updated: datetime


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the index.

    Attributes:
        raw: its bytes.
        descriptor: the manifest or index that it names; None where the row cannot be read.
        name: the name as it stands there; "" where it has none.
        reference: the name parsed; None where that cannot be done.
        problem: why the row cannot be used, or None.
    """

    raw: msgspec.Raw
    descriptor: Descriptor | None
    name: str
    reference: Reference | None
    problem: str | None

    @property
    def chosen_from(self) -> str | None:
        """The digest of the index that the manifest was chosen from, if it was."""
        return self.annotations.get(media_types.CHOSEN_FROM)

    @property
    def annotations(self) -> dict[str, str]:
        """The row's annotations."""
        return (self.descriptor.annotations if self.descriptor else None) or {}

    @property
    def summary(self) -> Summary | None:
        """What the row remembers of its image; None where another tool wrote it."""
        told = self.annotations
        digest, size, updated = told.get(MODULE_DIGEST, ""), told.get(MODULE_SIZE, ""), told.get(UPDATED, "")
        if not DIGEST.fullmatch(digest) or not size.isdecimal() or len(size) > 15:
            return None
        try:
            moment = datetime.fromisoformat(updated)
        except ValueError:
            return None
        return Summary(digest, int(size), moment if moment.tzinfo else moment.replace(tzinfo=UTC))


@dataclass(slots=True)
class Rows:
    """The index as it is at one moment; changed only inside `IndexFile.changing`."""

    rows: list[Row]
    rest: dict[str, msgspec.Raw] = field(default_factory=dict)

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
        named = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations)
        raw = msgspec.Raw(msgspec.json.encode(named))
        self.rows = [row for row in self.rows if row.reference is None or name_of(row.reference) != name]
        self.rows.append(_row(raw))

    def remove(self, unwanted: list[Row]) -> None:
        """Take rows out."""
        self.rows = [row for row in self.rows if not any(row is other for other in unwanted)]


class IndexFile:
    """The index of the OCI image layout at ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / INDEX_FILE

    @property
    def exists(self) -> bool:
        """Whether ``root`` is an image layout already."""
        return (self.root / LAYOUT_FILE).exists()

    def read(self) -> Rows:
        """The index; of a store that is not there yet, an empty one.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            if self.exists:
                raise self._damaged("it is missing") from None
            return Rows([])
        except NotADirectoryError as error:
            raise durable.explain(error, self.root, "read") from None
        except OSError as error:
            raise durable.explain(error, self.path, "read") from None
        try:
            rest = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
            raws = msgspec.json.decode(rest.get("manifests", b"null"), type=list[msgspec.Raw] | None)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise self._damaged(str(error)) from None
        return Rows([_row(raw) for raw in raws or []], rest)

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
                durable.write_whole(self.path, _encode(rows))

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


def name_of(reference: Reference) -> str:
    """The name under which an image is kept: its tag if it has one, else its digest."""
    return f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{reference.digest}"


def _row(raw: msgspec.Raw) -> Row:
    try:
        descriptor = msgspec.json.decode(raw, type=Descriptor)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Row(raw, None, "", None, f"a row of the index cannot be read: {error}")
    told = descriptor.annotations or {}
    name = told.get(_CONTAINERD_NAME) or told.get(media_types.REF_NAME) or ""
    if not name:
        return Row(raw, descriptor, "", None, None)
    try:
        return Row(raw, descriptor, name, Reference.parse(name), None)
    except InvalidReference as error:
        return Row(raw, descriptor, name, None, error.message)


def _encode(rows: Rows) -> bytes:
    document: dict[str, object] = {"schemaVersion": 2, **rows.rest}
    document["manifests"] = [row.raw for row in rows.rows]
    return msgspec.json.encode(document)
