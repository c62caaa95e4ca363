"""The bytes: ``blobs/sha256/ab/<hex>``, one file for each digest, shared by all repositories.

A file gets its name only when it is whole, its digest has been computed from what arrived, and it is on the disk. The
name is given inside a database transaction (``repositories.add_blob``), and taken away inside one (``delete_blob``).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Blobs:
    """A folder of files named by digest.

    Args:
        root: the folder; made where it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._prefix = str(root)
        root.mkdir(mode=0o750, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob lies, or would lie. ``digest`` has been checked."""
        algorithm, _, name = digest.partition(":")
        return self._root / algorithm / name[:2] / name

    def keep(self, temporary: Path, digest: str) -> None:
        """Give a finished, synced file its name; an older file of the same digest is replaced."""
        final = self.path(digest)
        if not final.parent.exists():
            final.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            sync_folder(final.parent.parent)
            sync_folder(self._root)
        temporary.replace(final)
        sync_folder(final.parent)

    def holds(self, digest: str, size: int) -> bool:
        """Whether the file is there, whole as far as its length tells."""
        algorithm, _, name = digest.partition(":")
        try:  # every pull asks, and a Path costs ten times the system call
            return os.stat(f"{self._prefix}/{algorithm}/{name[:2]}/{name}").st_size == size  # noqa: PTH116
        except FileNotFoundError:
            return False

    def discard(self, digest: str) -> None:
        """Take the file away, if it is there."""
        self.path(digest).unlink(missing_ok=True)


class ByteCache:
    """Small blobs in memory, the least recently used dropped first. A digest's bytes never change.

    Args:
        capacity: bytes in all.
        largest: bytes of the largest blob taken.
    """

    def __init__(self, capacity: int = 32 * 1024 * 1024, largest: int = 256 * 1024) -> None:
        self._capacity = capacity
        self.largest = largest
        self._held: dict[str, bytes] = {}
        self._size = 0

    def get(self, digest: str) -> bytes | None:
        """The bytes, if they are held."""
        content = self._held.pop(digest, None)
        if content is not None:
            self._held[digest] = content
        return content

    def put(self, digest: str, content: bytes) -> None:
        """Hold the bytes, dropping others for them."""
        if len(content) > self.largest or digest in self._held:
            return
        self._held[digest] = content
        self._size += len(content)
        while self._size > self._capacity:
            oldest = next(iter(self._held))
            self._size -= len(self._held.pop(oldest))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(handle)
    finally:
        os.close(handle)
