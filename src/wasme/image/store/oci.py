"""The store proper: an OCI image layout that other tools can read and write beside us.

Three things may happen at the same time in other processes: blobs are written, names are changed, and `prune` frees
blobs. Writers hold a shared lease from their first blob to their name. Freeing needs the lease for itself; while
somebody writes, only what has been idle for a day is freed (other tools take no lease; the file that skopeo writes a
blob to is taken as one). Names change under the index's own lock (see `index`).
Readers take no lock: files are replaced in one step, and an open file outlives its name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wasme.errors import ContentMismatch, ImageError, StoreError, WasmeError
from wasme.image import durable, media_types
from wasme.image.reference import Reference
from wasme.image.store.blobs import Blobs
from wasme.image.store.entry import Entry
from wasme.image.store.index import IndexFile, Row, Summary, name_of, recall

# `list` reads the index and nothing else: what reads images is imported where images are read.
if TYPE_CHECKING:
    from wasme.image.content import Opener, Readable
    from wasme.image.descriptor import Descriptor
    from wasme.image.layouts import FilterImage

log = logging.getLogger(__name__)

_LEASE = ".wasme.lease"
_FOREIGN_PARTS = "oci-put-blob*"
_IDLE = 24 * 3600.0
_NEVER = datetime.fromtimestamp(0, UTC)


class Pruned(NamedTuple):
    """What `prune` freed.

    Attributes:
        files: how many blobs and abandoned partial files.
        size: their bytes.
        busy: whether somebody was writing, so that only idle blobs were freed.
    """

    files: int
    size: int
    busy: bool


class OciStore:
    """The OCI image layout at ``path``, made when it is first written to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blobs = Blobs(path / "blobs")
        self._index = IndexFile(path)
        self._writers = 0
        self._lease = -1
        self._guard = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep `prune` away from blobs that have no name yet.

        Raises:
            StoreError: the store cannot be written.
        """
        with self._guard:
            if self._writers == 0:
                self._index.refuse_stranger()
                durable.make_folder(self.path)
                self._lease = durable.open_lock(self.path / _LEASE)
                fcntl.flock(self._lease, fcntl.LOCK_SH)
            self._writers += 1
        try:
            yield
        finally:
            with self._guard:
                self._writers -= 1
                if self._writers == 0:
                    os.close(self._lease)

    def check_writable(self) -> None:
        """Whether an image could be added, told without making anything.

        Raises:
            StoreError: the index is damaged, or the folder may not be written.
        """
        self._index.read()
        self._index.refuse_stranger()
        there = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            read_only = os.statvfs(there).f_flag & os.ST_RDONLY
            raise durable.explain(OSError(errno.EROFS if read_only else errno.EACCES, ""), there, "written")

    def stranger(self) -> str | None:
        """The name of something in the folder that shows that it is no store; else None."""
        return self._index.stranger()

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
        """Open a blob."""
        return self.blobs.open(descriptor, offset)

    def push(self, descriptor: Descriptor, opener: Opener) -> None:
        """Hold a blob, verified."""
        with self.writing():
            self.blobs.take(descriptor, opener)

    def tag(self, descriptor: Descriptor, reference: Reference) -> None:
        """Name an image whose blobs are all here.

        Raises:
            ImageError: it is no filter, or not what the reference's digest asks for.
            StoreError: a blob is missing, or the index cannot be written.
        """
        if reference.digest not in {
            None,
            descriptor.digest,
            (descriptor.annotations or {}).get(media_types.CHOSEN_FROM),
        }:
            raise ContentMismatch(f"{descriptor.digest} cannot be called {reference}")
        with self.writing():
            image = self._unpack(descriptor, reference)
            self.blobs.sync()
            with self._index.changing() as rows:
                for blob in (image.manifest, image.module, *image.parsed.blobs):
                    self._require(blob, reference)
                now = datetime.now(UTC).replace(microsecond=0)
                rows.put(descriptor, reference, Summary(image.module.digest, image.module.size, now), image.layout)

    def find(self, reference: Reference) -> Row | None:
        """The row of an image: by its tag, by its digest under that repository's name, or by both at once."""
        rows = self._index.read().rows
        for row in rows:
            if _matches(row, reference):
                return row
        return next((row for row in rows if self._chooses(row, reference)), None) if reference.digest else None

    def row_descriptor(self, row: Row) -> Descriptor:
        """The manifest that a row names, told where it was chosen from, and nothing else of the row.

        Raises:
            ImageError: the row cannot be read.
        """
        from wasme.image.descriptor import Descriptor

        if row.problem:
            raise ImageError(f"{row.name or 'an image without a name'} in {self.path}: {row.problem}")
        named = row.descriptor
        annotations = {media_types.CHOSEN_FROM: row.chosen_from} if row.chosen_from else None
        return Descriptor(named.media_type, named.digest, named.size, annotations)

    def image(self, reference: Reference, row: Row) -> FilterImage:
        """Read the image of a row.

        Raises:
            ImageError: it is no filter, or damaged.
        """
        import dataclasses

        from wasme.image import layouts

        descriptor = self.row_descriptor(row)
        try:
            image = layouts.read(self, descriptor, reference)
        except ContentMismatch:
            self.check_whole(reference, row)
            raise
        return dataclasses.replace(image, chosen_from=row.chosen_from) if row.chosen_from else image

    def check_whole(self, reference: Reference, row: Row) -> None:
        """Read all that an image consists of; for saying what is wrong, once something is.

        Raises:
            ContentMismatch: a file of it is damaged, by its path.
            StoreError: one is missing.
        """
        from wasme.image import manifest

        pending = [self.row_descriptor(row)]
        while pending:
            blob = pending.pop(0)
            if not self.blobs.holds(blob):
                if not (path := self.blobs.file(blob.digest)).exists():
                    raise StoreError(
                        f"{reference}: {blob.digest} is missing in {self.path}", hint="pull or build the image again"
                    )
                raise ContentMismatch(f"{reference}: {path} is damaged", hint="pull or build the image again")
            if blob.media_type in media_types.INDEXES | media_types.MANIFESTS:
                parsed = manifest.parse(manifest.fetch(self, blob))
                pending += [manifest.choose(parsed)] if isinstance(parsed, manifest.Index) else parsed.blobs

    def module_path(self, reference: Reference, row: Row) -> Path:
        """The file of the bare module, verified; unpacked first where the layout packs it.

        Raises:
            ContentMismatch: the file is not what it should be.
            StoreError: it cannot be unpacked.
        """
        image = self.image(reference, row)
        if image.layout == "compat" and not self.blobs.holds(image.module):
            self._unpack(self.row_descriptor(row), reference)
        if not self.blobs.holds(image.module):
            self.check_whole(reference, row)
        return self.blobs.file(image.module.digest)

    def entries(self) -> list[Entry]:
        """One entry per name; read from the index alone where wasme wrote the row."""
        present = self.blobs.present()
        entries = []
        for value in self._index.document().get("manifests") or []:
            if recalled := recall(value, present):
                name, tag, (digest, size, updated), manifest_digest = recalled
                directory = self.blobs.name(digest)
                entries.append(Entry(name, tag, size, digest, manifest_digest, updated, directory))
            elif (row := Row(value)).name or row.problem:
                entries.append(self._entry(row, present))
        return entries

    def remove(self, reference: Reference) -> list[Reference]:
        """Take a name away, or with a digest alone: the image kept under that digest, else every tag that has it.

        Returns:
            The names taken away; none if the image was unknown.
        """
        if not self._matching(reference):
            return []  # nothing to write: a folder that is no store yet stays as it is
        with self._index.changing() as rows:
            found = [row for row in rows.rows if _matches(row, reference)]
            exact = [row for row in found if row.reference and name_of(row.reference) == name_of(reference)]
            found = exact or found
            rows.remove(found)
        return [row.reference for row in found if row.reference]

    def prune(self) -> Pruned:
        """Free what no name needs: blobs, partial files nobody writes, and rows without a name.

        Raises:
            StoreError: the index is damaged (nothing is freed then), or a file cannot be removed.
        """
        if not self.blobs.path.exists():
            return Pruned(0, 0, False)
        if not self._index.exists:  # nothing was ever named here, or the index is lost: only partial files are safe
            freed = self.blobs.free(self.blobs.present(), None)
            return Pruned(len(freed), sum(freed), False)
        lease = durable.open_lock(self.path / _LEASE)
        try:
            alone = durable.try_lock(lease) and not self._others_write()
            with self._index.changing() as rows:
                rows.remove([row for row in rows.rows if not row.name and not row.problem])
                kept = set().union(*(self._needed(row) for row in rows.rows))
                freed = self.blobs.free(kept, None if alone else time.time() - _IDLE)
        except OSError as error:
            raise durable.explain(error, self.blobs.path, "pruned") from None
        finally:
            os.close(lease)
        return Pruned(len(freed), sum(freed), not alone)

    def _matching(self, reference: Reference) -> list[Row]:
        return [row for row in self._index.read().rows if _matches(row, reference)]

    def _others_write(self) -> bool:
        """Whether skopeo or its kin, who take no lease, are in the middle of a blob."""
        recent = time.time() - _IDLE
        return any(file.stat().st_mtime > recent for file in self.path.glob(_FOREIGN_PARTS))

    def _chooses(self, row: Row, reference: Reference) -> bool:
        """Whether the row names an index (another tool's, ours never do) whose chosen manifest is asked for."""
        from wasme.image import manifest

        if row.media_type not in media_types.INDEXES or not _matches(row, reference._replace(digest=row.digest)):
            return False
        try:
            chosen, _, _ = manifest.fetch_manifest(self, self.row_descriptor(row))
        except WasmeError:
            return False
        return chosen.digest == reference.digest

    def _needed(self, row: Row) -> set[str]:
        """Every digest that a row keeps alive; a damaged image keeps what can still be told."""
        from wasme.image import manifest

        needed = {row.digest}
        if summary := row.summary:
            needed.add(summary.digest)
        try:
            pending = [row.descriptor]
        except ImageError:
            return needed
        while pending:
            descriptor = pending.pop()
            if descriptor.media_type not in media_types.MANIFESTS | media_types.INDEXES:
                continue
            try:
                parsed = manifest.parse(manifest.fetch(self, descriptor))
            except WasmeError as error:
                log.warning("%s of %s cannot be read: %s", descriptor.digest, row.name, error)
                continue
            children = parsed.manifests if isinstance(parsed, manifest.Index) else parsed.blobs
            pending.extend(
                child for child in children if isinstance(parsed, manifest.Index) and child.digest not in needed
            )
            needed.update(child.digest for child in children)
        return needed

    def _entry(self, row: Row, present: set[str]) -> Entry:
        reference, digest = row.reference, row.digest
        if reference is None or not digest:
            return Entry(row.name, "", 0, "", "", _NEVER, str(self.path), row.problem or "it has no name")
        tag = reference.tag or reference.digest or ""
        summary = row.summary
        if summary is None:
            return self._foreign_entry(row, reference, tag)
        problem = None
        if digest not in present or summary.digest not in present:
            missing = summary.digest if digest in present else digest
            problem = f"{missing} is missing; pull or build the image again"
        return Entry(
            name=reference.name,
            tag=tag,
            size=summary.size,
            digest=summary.digest,
            manifest_digest=digest,
            updated=summary.updated,
            directory=self.blobs.name(summary.digest),
            problem=problem,
        )

    def _foreign_entry(self, row: Row, reference: Reference, tag: str) -> Entry:
        """The entry of a row that another tool wrote, read from the image's blobs."""
        try:
            image = self.image(reference, row)
            written = self.blobs.file(image.manifest.digest).stat().st_mtime
        except WasmeError as error:
            return Entry(reference.name, tag, 0, "", "", _NEVER, str(self.path), error.message)
        except OSError as error:
            return Entry(reference.name, tag, 0, "", "", _NEVER, str(self.path), error.strerror)
        return Entry(
            name=reference.name,
            tag=tag,
            size=image.module.size,
            digest=image.module.digest,
            manifest_digest=image.manifest.digest,
            updated=datetime.fromtimestamp(int(written), UTC),
            directory=self.blobs.name(image.module.digest),
        )

    def _unpack(self, descriptor: Descriptor, reference: Reference) -> FilterImage:
        """Read an image; of a packed one, the module becomes a blob of its own."""
        from wasme.image import layouts, manifest

        chosen, _, parsed = manifest.fetch_manifest(self, descriptor)
        layout, _ = layouts.identify(parsed)
        if layout != "compat":
            return layouts.read(self, chosen, reference)
        images: list[FilterImage] = []

        def write(sink: object) -> Descriptor:
            images.append(layouts.read(self, chosen, reference, sink))  # type: ignore[arg-type]
            return images[0].module

        self.blobs.take_unnamed(write)
        return images[0]

    def _require(self, blob: Descriptor, reference: Reference) -> None:
        path = self.blobs.file(blob.digest)
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        if size != blob.size:
            wrong = f"{blob.digest} is missing in {self.path}" if size < 0 else f"{path} is damaged"
            raise StoreError(f"{reference}: {wrong}", hint="pull or build the image again")


def _matches(row: Row, reference: Reference) -> bool:
    named = row.reference
    if named is None or named.name != reference.name:
        return False
    if reference.tag is not None:
        if named.tag != reference.tag:
            return False
    elif name_of(named) == name_of(reference):
        return True
    return reference.digest in {None, row.digest, row.chosen_from}
