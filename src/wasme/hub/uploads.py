"""Uploads under way: one file each, its length the offset, so that any worker goes on where another stopped.

There is no row for an upload: a session is its file, ``uploads/<id>-<repository's hash>``, and lives through a kill -9
with every byte that reached it. One writer at a time holds the file's lock. The running hash stays in the memory of
the worker that wrote last; if another worker goes on, or the hub was restarted, the file is read once more at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.hub.refusal import Refusal

if TYPE_CHECKING:
    from hashlib import _Hash

_ID = re.compile(r"[0-9a-f]{32}")
_READ = 1024 * 1024
_MAX_HASHES = 1024


class Session:
    """An upload whose file this process holds.

    Attributes:
        id: as it stands in the upload's URL.
        path: its file.
        offset: bytes that are there.
    """

    def __init__(self, upload_id: str, path: Path, handle: int) -> None:
        self.id = upload_id
        self.path = path
        self.offset = os.fstat(handle).st_size
        self._handle = handle
        self._algorithm = "sha256"
        self._hash: _Hash | None = hashlib.sha256() if self.offset == 0 else None
        os.lseek(handle, 0, os.SEEK_END)

    def expect(self, algorithm: str) -> None:
        """Hash with ``algorithm`` from the first byte on, where none has come yet."""
        if self.offset == 0 and algorithm != self._algorithm:
            self._algorithm, self._hash = algorithm, hashlib.new(algorithm)

    def resume_hash(self, algorithm: str, offset: int, running: _Hash) -> None:
        """Take up a hash over the first ``offset`` bytes, if that is all of them."""
        if offset == self.offset:
            self._algorithm, self._hash = algorithm, running

    @property
    def running_hash(self) -> tuple[str, int, _Hash] | None:
        """What ``resume_hash`` takes; None if the hash has been lost."""
        return None if self._hash is None else (self._algorithm, self.offset, self._hash)

    def write(self, batch: bytes) -> None:
        """Append.

        Raises:
            OSError: ENOSPC among others; the file may then hold a part of ``batch`` (see ``rewind``).
        """
        view = memoryview(batch)
        while view:
            written = os.write(self._handle, view)
            view = view[written:]
        if self._hash is not None:
            self._hash.update(batch)
        self.offset += len(batch)

    def rewind(self, offset: int) -> None:
        """Forget everything after ``offset``: a chunk that could not be written whole has not been written."""
        os.ftruncate(self._handle, offset)
        os.lseek(self._handle, offset, os.SEEK_SET)
        self.offset, self._hash = offset, None

    def finish(self, algorithm: str) -> str:
        """Bring the content onto the disk.

        Returns:
            Its digest.
        """
        if self._hash is None or self._algorithm != algorithm:
            self._algorithm, self._hash = algorithm, hashlib.new(algorithm)
            position = 0
            while block := os.pread(self._handle, _READ, position):
                self._hash.update(block)
                position += len(block)
        os.fsync(self._handle)
        return f"{algorithm}:{self._hash.hexdigest()}"


class Uploads:
    """The folder of uploads under way.

    Args:
        root: the folder; made where it is missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._hashes: dict[str, tuple[str, int, _Hash]] = {}
        root.mkdir(mode=0o750, exist_ok=True)

    def start(self, repository: str) -> str:
        """Begin an upload; its id."""
        upload_id = uuid.uuid4().hex
        os.close(os.open(self._path(repository, upload_id), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o640))
        return upload_id

    def offset(self, repository: str, upload_id: str) -> int:
        """Bytes that have arrived.

        Raises:
            Refusal: 404 BLOB_UPLOAD_UNKNOWN.
        """
        try:
            return self._path(repository, upload_id).stat().st_size
        except FileNotFoundError:
            raise _unknown(upload_id) from None

    @contextmanager
    def open(self, repository: str, upload_id: str) -> Iterator[Session]:
        """Go on with an upload, alone.

        Raises:
            Refusal: 404 BLOB_UPLOAD_UNKNOWN, or 409 while another request writes to it.
        """
        path = self._path(repository, upload_id)
        try:
            handle = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            raise _unknown(upload_id) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refusal(
                    409, "BLOB_UPLOAD_INVALID", "another request is writing to this upload; ask for its status first"
                ) from None
            if not _is_still(path, handle):  # finished or cancelled between open and lock: this file is a blob now
                raise _unknown(upload_id)
            session = Session(upload_id, path, handle)
            if running := self._hashes.pop(upload_id, None):
                session.resume_hash(*running)
            yield session
            if session.running_hash and path.exists():
                self._remember(session)
        finally:
            os.close(handle)

    def cancel(self, repository: str, upload_id: str) -> None:
        """Throw an upload away.

        Raises:
            Refusal: 404 BLOB_UPLOAD_UNKNOWN.
        """
        try:
            self._path(repository, upload_id).unlink()
        except FileNotFoundError:
            raise _unknown(upload_id) from None
        self._hashes.pop(upload_id, None)

    def purge(self, older_than: float) -> int:
        """Throw away uploads to which nothing was written for ``older_than`` seconds; how many there were."""
        deadline = time.time() - older_than
        gone = 0
        for path in self._root.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < deadline:
                    path.unlink()
                    gone += 1
        return gone

    def _remember(self, session: Session) -> None:
        assert session.running_hash is not None
        self._hashes[session.id] = session.running_hash
        while len(self._hashes) > _MAX_HASHES:
            del self._hashes[next(iter(self._hashes))]

    def _path(self, repository: str, upload_id: str) -> Path:
        if not _ID.fullmatch(upload_id):
            raise _unknown(upload_id)
        mark = hashlib.sha256(repository.encode()).hexdigest()[:16]
        return self._root / f"{upload_id}-{mark}"


def _is_still(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _unknown(upload_id: str) -> Refusal:
    return Refusal(404, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; begin again", detail={"id": upload_id[:80]})
