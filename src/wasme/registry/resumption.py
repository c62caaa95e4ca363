"""Notes of uploads under way, in ``~/.wasme/uploads``, so that a new process can go on with them.

One small file an upload, named by a hash of where it goes, readable by its owner alone: an upload's location may hold
a signature. A lock keeps two processes from sending into one upload; the second one opens its own and notes nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from pathlib import Path
from typing import IO

import msgspec

log = logging.getLogger(__name__)

_OLDEST = 7 * 24 * 3600


class Note(msgspec.Struct):
    """Where an upload goes on (a URL)."""

    location: str


def folder() -> Path:
    """``~/.wasme/uploads``."""
    return Path.home() / ".wasme" / "uploads"


class Notebook:
    """The note of one upload, held exclusively from ``with`` on; without the lock or the disk, a notebook that keeps
    nothing: a push must not fail because it could not be resumed.

    Args:
        place: registry and repository.
        digest: the blob.
    """

    def __init__(self, place: str, digest: str) -> None:
        name = hashlib.sha256(f"{place}@{digest}".encode()).hexdigest()[:40]
        self._path = folder() / f"{name}.json"
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Notebook:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            while True:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                file = os.fdopen(descriptor, "r+b", buffering=0)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    file.close()
                    raise
                # Whoever held the lock before may have removed the file in the meantime.
                if self._path.exists() and os.fstat(file.fileno()).st_ino == self._path.stat().st_ino:
                    self._file = file
                    return self
                file.close()
        except OSError as error:
            log.debug("upload is not noted", extra={"fields": {"reason": error.strerror or "error"}})
            return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            if not self._content():
                self._remove()
            self._file.close()
            self._file = None

    def read(self) -> Note | None:
        """What was noted, if anything."""
        try:
            return msgspec.json.decode(self._content(), type=Note)
        except (msgspec.MsgspecError, UnicodeDecodeError, OSError):
            return None

    def write(self, note: Note) -> None:
        """Note it."""
        if self._file is not None:
            content = msgspec.json.encode(note)
            try:
                # In place, under the lock: a torn note is no JSON, and the upload then begins anew.
                os.ftruncate(self._file.fileno(), 0)
                os.pwrite(self._file.fileno(), content, 0)
            except OSError as error:
                log.debug("upload is not noted", extra={"fields": {"reason": error.strerror or "error"}})

    def forget(self) -> None:
        """The upload is done, or not worth going on with."""
        if self._file is not None:
            os.ftruncate(self._file.fileno(), 0)

    def _content(self) -> bytes:
        return os.pread(self._file.fileno(), 64 * 1024, 0) if self._file is not None else b""

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Registries drop uploads after some days; so do we."""
        oldest = time.time() - _OLDEST
        for path in self._path.parent.glob("*.json"):
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
            except OSError:
                continue
