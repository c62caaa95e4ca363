"""The local store: every image on this machine, wherever it came from.

`open_store()` gives ``~/.wasme/oci``, an OCI image layout, together with the original's ``~/.wasme/store``, which is
read where it exists and never written. `open_store(DIR)` gives either kind, by what lies there.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.errors import ContentMismatch, ImageError, ImageNotFound, StoreError
from wasme.image.store.entry import Entry
from wasme.image.store.legacy import LegacyStore
from wasme.image.store.oci import OciStore, Pruned

if TYPE_CHECKING:
    from wasme.image.content import Opener, Readable
    from wasme.image.descriptor import Descriptor
    from wasme.image.layouts import Draft, FilterImage
    from wasme.image.reference import Reference

log = logging.getLogger(__name__)

__all__ = ["Entry", "Pruned", "Store", "open_store"]


def open_store(path: Path | None = None) -> Store:
    """The store to use; nothing is read or written yet.

    Args:
        path: a folder of either kind, or one that is empty or not there (an OCI layout from its first image on); None
            for the user's own.

    Raises:
        StoreError: there is no home folder to look in.
    """
    if path is not None:
        path = path.expanduser().absolute()
        return Store(None, LegacyStore(path)) if LegacyStore.is_here(path) else Store(OciStore(path), None)
    try:
        home = Path.home() / ".wasme"
    except RuntimeError:
        raise StoreError("there is no home folder to keep images in", hint="set HOME, or give --store DIR") from None
    return Store(OciStore(home / "oci"), LegacyStore(home / "store"))


class Store:
    """Images by name; a Fetcher, Pusher, Resolver and Tagger at once.

    Args:
        oci: the layout that is written to; None where only the original's store is used.
        legacy: the original's store, or None. Where both have a name, ours counts.
    """

    def __init__(self, oci: OciStore | None, legacy: LegacyStore | None) -> None:
        self._oci = oci
        self._legacy = legacy

    @property
    def path(self) -> Path:
        """The folder that is written to, or read from where nothing can be written."""
        if self._oci:
            return self._oci.path
        assert self._legacy
        return self._legacy.path

    def entries(self) -> list[Entry]:
        """Every image, also those that cannot be used: their entry says why.

        Raises:
            StoreError: a store as a whole cannot be read.
        """
        entries, problem = self.listing()
        if problem:
            raise problem
        return entries

    def listing(self) -> tuple[list[Entry], StoreError | None]:
        """What `entries` gives, and beside it why one of the two stores could not be read: the other's still shows."""
        problem = None
        entries: list[Entry] = []
        try:
            entries = self._oci.entries() if self._oci else []
        except StoreError as error:
            problem = error
        if self._legacy:
            ours = {(entry.name, entry.tag) for entry in entries}
            entries += [entry for entry in self._legacy.entries() if (entry.name, entry.tag) not in ours]
        return entries, problem

    def stranger(self) -> str | None:
        """The name of something in the folder that shows that it is no store at all; else None."""
        return self._oci.stranger() if self._oci else None

    def check_whole(self, reference: Reference) -> None:
        """Read all of an image, to say what is wrong with it once something is.

        Raises:
            ImageError: a file of it is damaged, by its path; or there is no such image.
            StoreError: a file of it is missing.
        """
        if self._oci and (row := self._oci.find(reference)):
            self._oci.check_whole(reference, row)
        else:
            self.module_path(reference)

    def image(self, reference: Reference) -> FilterImage:
        """Read an image: its manifest, layout, runtime config, and what its module is.

        Raises:
            ImageNotFound: there is no such image; the hint has close matches.
            ImageError: it is damaged.
        """
        if self._oci and (row := self._oci.find(reference)):
            return self._oci.image(reference, row)
        if self._legacy and (folder := self._legacy.find(reference)):
            return self._legacy.image(reference, folder)
        raise self._unknown(reference)

    def module_path(self, reference: Reference) -> Path:
        """The file of an image's module, verified just now, for Envoy to load.

        Raises:
            ImageNotFound: there is no such image.
            ContentMismatch: the file is damaged.
        """
        if self._oci and (row := self._oci.find(reference)):
            return self._oci.module_path(reference, row)
        if self._legacy and (folder := self._legacy.find(reference)):
            return self._legacy.module_path(folder)
        raise self._unknown(reference)

    def add(self, reference: Reference, draft: Draft) -> None:
        """Keep a new image under a name.

        Raises:
            StoreError: it cannot be written.
        """
        from wasme.image.copy import copy_image

        self._writable()
        copy_image(draft, reference, self, reference, workers=1)  # from memory to the disk: nothing to wait for

    def alias(self, source: Reference, target: Reference) -> FilterImage:
        """Give an image one more name; a name that is taken changes hands.

        Raises:
            ImageError: the source cannot be read, in the original's words; or the target names another digest.
            StoreError: the store cannot be written.
        """
        from wasme.image.copy import copy_image

        try:
            image = self.image(source)
        except ImageError as error:
            raise type(error)(f"failed reading image {source}: {error.message}", hint=error.hint) from None
        try:
            copy_image(self, source, self, target)
        except (ContentMismatch, StoreError):
            self.check_whole(source)
            raise
        log.info("tagged image", extra={"fields": {"digest": image.module.digest, "image": str(target)}})
        return image

    def remove(self, reference: Reference) -> list[Reference]:
        """Take a name away; its blobs stay until `prune`.

        Returns:
            The names taken away; with a digest alone, the image kept under it, else all tags that stand for it.

        Raises:
            ImageNotFound: there is no such image.
            StoreError: it lies in the original's store.
        """
        if self._oci and (removed := self._oci.remove(reference)):
            return removed
        if self._legacy and (folder := self._legacy.find(reference)):
            raise StoreError(
                f"{reference} lies in the original's store, which is never written: {folder}",
                hint=f"remove it with the program that made it, or by `rm -r {folder}`",
            )
        raise self._unknown(reference)

    def prune(self) -> Pruned:
        """Free what no name needs."""
        return self._writable().prune()

    def writing(self) -> AbstractContextManager[None]:
        """Keep `prune` away, in this and other processes, until the blobs now written have a name."""
        return self._oci.writing() if self._oci else nullcontext()

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
        """Open a blob of any image here.

        Raises:
            StoreError: no image has it.
        """
        if self._legacy and not (self._oci and self._oci.blobs.file(descriptor.digest).exists()):
            found = self._legacy.fetch(descriptor, offset)
            if found is not None:
                return found
        if self._oci:
            return self._oci.fetch(descriptor, offset)
        raise StoreError(f"{descriptor.digest} is missing in {self.path}")

    def push(self, descriptor: Descriptor, opener: Opener) -> None:
        """Hold a blob, verified; what is there already is not asked for again."""
        self._writable().push(descriptor, opener)

    def resolve(self, reference: Reference) -> Descriptor:
        """The manifest that a name stands for.

        Raises:
            ImageNotFound: there is no such image.
        """
        if self._oci and (row := self._oci.find(reference)):
            return self._oci.row_descriptor(row)
        if self._legacy and (folder := self._legacy.find(reference)):
            return self._legacy.draft(folder).descriptor
        raise self._unknown(reference)

    def tag(self, descriptor: Descriptor, reference: Reference) -> None:
        """Name an image whose blobs are here."""
        self._writable().tag(descriptor, reference)

    def check_writable(self) -> None:
        """Nothing, where images can be added; for work that would be lost otherwise.

        Raises:
            StoreError: it is the original's store, is damaged, or lies where nothing may be written.
        """
        self._writable().check_writable()

    def _writable(self) -> OciStore:
        if self._oci is None:
            raise StoreError(
                f"{self.path} is a store of the original wasme, which is read and never written",
                hint="give another folder with --store DIR, or leave --store out",
            )
        return self._oci

    def _unknown(self, reference: Reference) -> ImageNotFound:
        import difflib

        # Only repositories with nearly this name: a host or a tag in common says nothing.
        names = {
            f"{entry.name}{'@' if ':' in entry.tag else ':'}{entry.tag}"
            for entry in self.entries()
            if _is_close(entry.name, reference.name)
        }
        close = difflib.get_close_matches(str(reference), sorted(names), 3, 0.0)
        return ImageNotFound(
            f"there is no image {reference} in {self.path}",
            hint="did you mean " + " or ".join(close) + "?" if close else "`wasme list` shows all",
        )


def _is_close(name: str, wanted: str) -> bool:
    """Whether a repository's name may have been meant by another: the same path but for a typing error."""
    import difflib

    path, other = (text.partition("/")[2].removeprefix("library/") for text in (name, wanted))
    last, other_last = path.rpartition("/")[2], other.rpartition("/")[2]
    return last == other_last or (
        difflib.SequenceMatcher(None, last, other_last).ratio() >= 0.6
        and difflib.SequenceMatcher(None, path, other).ratio() >= 0.75
    )
