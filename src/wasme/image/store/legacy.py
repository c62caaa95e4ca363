"""The original's store, ``~/.wasme/store``, read and never written, so that the old program goes on working.

One folder per image, called after the MD5 of its full reference: ``image_ref``, ``descriptor.json`` (the module
layer's), ``runtime-config.json`` and ``filter.wasm``. There is no manifest: it is made anew from these files, the same
one that the original would push. The name that counts is in ``image_ref``; the folder's own name is trusted for
nothing. The files were not written in one step, so any folder may be half an image.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.errors import ContentMismatch, ImageError, WasmeError
from wasme.image import durable
from wasme.image.reference import Reference
from wasme.image.store.entry import Entry

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from wasme.image.content import Readable
    from wasme.image.descriptor import Descriptor
    from wasme.image.layouts import Draft, FilterImage

MODULE_FILE = "filter.wasm"
_FOLDER_NAME = re.compile(r"[0-9a-f]{32}")
_MAX_SMALL_FILE = 64 << 10


class LegacyStore:
    """The folder at ``path``, in the original's form."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def is_here(path: Path) -> bool:
        """Whether the folder holds images in the original's form."""
        try:
            with os.scandir(path) as found:
                return any(_FOLDER_NAME.fullmatch(entry.name) and entry.is_dir() for entry in found)
        except OSError:
            return False

    def entries(self) -> list[Entry]:
        """One entry for each folder; half an image is an entry with a problem."""
        return [self._entry(folder) for folder in self._folders()]

    def find(self, reference: Reference) -> Path | None:
        """The folder of an image, or None."""
        import hashlib

        named = hashlib.md5(f"{reference.name}:{reference.tag}".encode(), usedforsecurity=False).hexdigest()
        folders = [self.path / named, *(folder for folder in self._folders() if folder.name != named)]
        for folder in folders:
            # One damaged folder hides no other.
            with contextlib.suppress(WasmeError):
                found = Reference.parse(_text(folder / "image_ref"))
                if found.name != reference.name or reference.tag not in {None, found.tag}:
                    continue
                if reference.digest is None or reference.digest == self._draft(folder).descriptor.digest:
                    return folder
        return None

    def draft(self, folder: Path) -> Draft:
        """The image in a folder, its manifest made anew.

        Raises:
            ImageError: a file of it is missing or cannot be read.
        """
        return self._draft(folder)

    def image(self, reference: Reference, folder: Path) -> FilterImage:
        """The image in a folder, read like any other."""
        from wasme.image import layouts

        draft = self._draft(folder)
        return layouts.read(draft, draft.descriptor, reference)

    def module_path(self, folder: Path) -> Path:
        """The module's file, verified.

        Raises:
            ContentMismatch: it is not the module that the image's descriptor names.
        """
        import hashlib

        module = self._draft(folder).module
        path = folder / MODULE_FILE
        hashed = hashlib.new(module.algorithm)
        try:
            with path.open("rb") as file:
                while part := file.read(256 << 10):
                    hashed.update(part)
        except OSError as error:
            raise durable.explain(error, path, "read") from None
        if hashed.hexdigest() != module.hex:
            raise ContentMismatch(f"{path} is not the module {module.digest}", hint="pull or build the image again")
        return path

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable] | None:
        """Open a blob of any image here; None where no image has it."""
        for folder in self._folders():
            try:
                draft = self._draft(folder)
            except ImageError:
                continue
            if any(blob.digest == descriptor.digest for blob, _ in draft.blobs):
                try:
                    return draft.fetch(descriptor, offset)
                except OSError as error:
                    raise durable.explain(error, folder / MODULE_FILE, "read") from None
        return None

    def _folders(self) -> Iterator[Path]:
        try:
            with os.scandir(self.path) as found:
                names = sorted(entry.name for entry in found if entry.is_dir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise durable.explain(error, self.path, "read") from None
        yield from (self.path / name for name in names)

    def _entry(self, folder: Path) -> Entry:
        name, tag = folder.name, ""
        try:
            updated = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            reference = Reference.parse(_text(folder / "image_ref"))
            name, tag = reference.name, reference.tag or ""
            draft = self._draft(folder)
            size = (folder / MODULE_FILE).stat().st_size
            if size != draft.module.size:
                raise ImageError(f"{MODULE_FILE} has {size} bytes, not {draft.module.size}")
        except OSError as error:
            problem = f"{Path(error.filename or folder).name}: {error.strerror}"
            return Entry(name, tag, 0, "", "", datetime.fromtimestamp(0, UTC), str(folder), problem)
        except WasmeError as error:
            return Entry(name, tag, 0, "", "", datetime.fromtimestamp(0, UTC), str(folder), error.message)
        return Entry(name, tag, size, draft.module.digest, draft.descriptor.digest, updated, str(folder))

    def _draft(self, folder: Path) -> Draft:
        import msgspec

        from wasme.image import layouts, media_types, runtime_config
        from wasme.image.content import from_bytes, from_file
        from wasme.image.descriptor import Descriptor, describe

        try:
            module = msgspec.json.decode(_bytes(folder / "descriptor.json"), type=Descriptor)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise ImageError(f"{folder / 'descriptor.json'} cannot be read: {error}") from None
        path = folder / runtime_config.FILE_NAME
        config = runtime_config.parse(_bytes(path), str(path), strict=False)
        config_blob, document = layouts.oci_manifest(config, module)
        return layouts.Draft(
            "oci",
            config,
            module,
            describe(document, media_types.OCI_MANIFEST),
            (
                (describe(config_blob, media_types.RUNTIME_CONFIG), from_bytes(config_blob)),
                (module, from_file(folder / MODULE_FILE)),
                (describe(document, media_types.OCI_MANIFEST), from_bytes(document)),
            ),
        )


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SMALL_FILE + 1)
    except FileNotFoundError:
        raise ImageError(f"{path} is missing", hint="the image was written half; pull or build it again") from None
    except OSError as error:
        raise durable.explain(error, path, "read") from None
    if len(content) > _MAX_SMALL_FILE:
        raise ImageError(f"{path} is larger than any of its kind")
    return content


def _text(path: Path) -> str:
    return _bytes(path).decode("utf-8", "replace")
