"""Blobs as files named by their digest, written by many processes at once and never seen half.

A blob grows as ``<hex>.partial`` under a lock on that very file. Whoever comes second waits, and then finds the blob
there, or takes the partial file over where the first was killed: what is there is hashed again and only the rest is
asked for. Size and digest are checked before the rename that makes the blob visible. If they are wrong after a
take-over, the old part may be to blame, so the blob is fetched once more from its beginning.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from wasme.errors import ContentMismatch, StoreError
from wasme.image import durable

if TYPE_CHECKING:
    import hashlib

    from wasme.image.content import Opener
    from wasme.image.descriptor import Descriptor

log = logging.getLogger(__name__)

PARTIAL = ".partial"
_ALGORITHMS = ("sha256", "sha512")
_CHUNK = 256 << 10
_BLOB_NAME = re.compile(r"[a-f0-9]{64}|[a-f0-9]{128}")


class Blobs:
    """The folder ``blobs/`` of an OCI image layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, digest: str) -> Path:
        """Where the blob of this digest is, or would be."""
        return Path(self.name(digest))

    def name(self, digest: str) -> str:
        """The same as text, for lists of many."""
        return f"{self.path}/{digest.replace(':', '/', 1)}"

    def open(self, descriptor: Descriptor, offset: int = 0) -> IO[bytes]:
        """Open a blob from ``offset`` on.

        Raises:
            StoreError: it is not there, or cannot be read.
        """
        path = self.file(descriptor.digest)
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            raise StoreError(
                f"{descriptor.digest} is missing in {self.path.parent}", hint="pull or build the image again"
            ) from None
        except OSError as error:
            raise durable.explain(error, path, "read") from None
        stream.seek(offset)
        return stream

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there and is what it should be."""
        try:
            with self.file(descriptor.digest).open("rb") as file:
                if os.fstat(file.fileno()).st_size != descriptor.size:
                    return False
                return _hash(file, descriptor.algorithm)[0].hexdigest() == descriptor.hex
        except FileNotFoundError:
            return False
        except OSError as error:
            raise durable.explain(error, self.file(descriptor.digest), "read") from None

    def take(self, descriptor: Descriptor, opener: Opener) -> None:
        """Hold a blob, asking ``opener`` for what is missing of it.

        Raises:
            ContentMismatch: something else arrived; nothing of it is kept.
            StoreError: it cannot be written.
        """
        final = self.file(descriptor.digest)
        while True:
            if self._keep(descriptor):
                return
            durable.make_folder(final.parent)
            partial = final.with_name(final.name + PARTIAL)
            with _own(partial) as file:
                if file is None or self._keep(descriptor, partial):
                    continue  # somebody else finished it, or gave it up, while we waited
                self._check_room(descriptor, file)
                _fill(file, descriptor, opener, partial)
                _finish(file, partial, final)
                return

    def take_unnamed(self, write: Callable[[Callable[[bytes], object]], Descriptor]) -> Descriptor:
        """Hold a blob whose digest is known only once it is written, such as a module that is being unpacked.

        Args:
            write: is given the function that takes the bytes, and returns the descriptor of what it wrote.
        """
        folder = self.path / "sha256"
        durable.make_folder(folder)
        partial = folder / f"{os.urandom(16).hex()}{PARTIAL}"
        with _own(partial) as file:
            if file is None:
                raise StoreError(f"{partial} vanished while it was written")
            try:
                descriptor = write(lambda part: _write(file, part, partial))
                _finish(file, partial, self.file(descriptor.digest))
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return descriptor

    def sync(self) -> None:
        """Make the names of all blobs last: asked once before an index names them.

        Raises:
            StoreError: the disk does not take it.
        """
        try:
            for folder in (*(self.path / algorithm for algorithm in _ALGORITHMS), self.path, self.path.parent):
                with contextlib.suppress(FileNotFoundError):
                    durable.sync_folder(folder)
        except OSError as error:
            raise durable.explain(error, self.path, "written") from None

    def present(self) -> set[str]:
        """The digests of all blobs that are there."""
        found: set[str] = set()
        for algorithm in _ALGORITHMS:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found.update(f"{algorithm}:{name}" for name in os.listdir(self.path / algorithm))  # noqa: PTH208 -- faster
        return found

    def free(self, kept: set[str], older_than: float | None) -> list[int]:
        """Remove every blob whose digest is not in ``kept``, and every partial file that nobody writes.

        Args:
            kept: digests.
            older_than: if not None, only what was last written or asked for before this time (seconds, epoch).

        Returns:
            The sizes of the files removed, in bytes.
        """
        freed: list[int] = []
        for algorithm, name in self._names():
            file = self.path / algorithm / name
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                if older_than is not None and status.st_mtime > older_than:
                    continue
                if name.endswith(PARTIAL):
                    handle = os.open(file, os.O_RDWR | os.O_CLOEXEC)
                    try:
                        if not durable.try_lock(handle):
                            continue
                        file.unlink()
                    finally:
                        os.close(handle)
                elif _BLOB_NAME.fullmatch(name) and f"{algorithm}:{name}" not in kept:
                    file.unlink()
                else:
                    continue
                freed.append(status.st_size)
        return freed

    def _names(self) -> Iterator[tuple[str, str]]:
        """Algorithm and file name of everything in the folder."""
        for algorithm in _ALGORITHMS:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.path / algorithm) as found:
                for entry in found:
                    if entry.is_file(follow_symlinks=False):
                        yield algorithm, entry.name

    def _keep(self, descriptor: Descriptor, partial: Path | None = None) -> bool:
        """Whether the blob is there already; then it counts as new, so that no `prune` takes it from under us."""
        if not self.holds(descriptor):
            return False
        with contextlib.suppress(OSError):
            os.utime(self.file(descriptor.digest))
            if partial is not None:
                partial.unlink(missing_ok=True)
        return True

    def _check_room(self, descriptor: Descriptor, file: IO[bytes]) -> None:
        """Refuse at once what cannot fit, instead of filling the disk first."""
        disk = os.fstatvfs(file.fileno())
        room = disk.f_bavail * disk.f_frsize
        needed = descriptor.size - os.fstat(file.fileno()).st_size
        if needed > room:
            raise StoreError(
                f"{descriptor.digest} needs {needed} bytes more in {self.path}, and {room} are free",
                hint="free some space, then run the command again; `wasme prune` frees unused blobs",
            )


@contextlib.contextmanager
def _own(partial: Path) -> Iterator[IO[bytes] | None]:
    """The partial file, locked; None where it was renamed or removed while we waited. An empty one is not left."""
    handle = durable.open_lock(partial)
    with open(handle, "r+b", buffering=0) as file:  # noqa: PTH123 -- a handle, not a path
        if not durable.try_lock(handle):
            log.debug("waiting for another process that writes %s", partial.name)
            fcntl.flock(handle, fcntl.LOCK_EX)
        if not _is_still(handle, partial):
            yield None
            return
        try:
            yield file
        finally:
            with contextlib.suppress(OSError):
                if os.fstat(handle).st_size == 0 and _is_still(handle, partial):
                    partial.unlink()


def _is_still(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _fill(file: IO[bytes], descriptor: Descriptor, opener: Opener, partial: Path) -> None:
    """Complete the partial file and check it; a file with wrong content is emptied."""
    hashed, size = _hash(file, descriptor.algorithm)
    if size > descriptor.size:
        hashed, size = _restart(file, descriptor)
    for taken_over in (size > 0, False):
        if size < descriptor.size or size == 0:
            size = _append(file, descriptor, opener, partial, hashed, size)
        if size < descriptor.size:
            # The rest may still come: what is there is kept, unless it is all that ever came.
            raise ContentMismatch(
                f"{descriptor.digest}: {size} bytes arrived, {descriptor.size} were promised", hint="try again"
            )
        if size == descriptor.size and hashed.hexdigest() == descriptor.hex:
            return
        wrong = "more bytes" if size > descriptor.size else f"{descriptor.algorithm}:{hashed.hexdigest()}"
        hashed, size = _restart(file, descriptor)
        if not taken_over:
            raise ContentMismatch(f"the content promised as {descriptor.digest} is {wrong}")
        log.debug("%s did not continue what was there: fetched again from its beginning", descriptor.digest)


def _append(
    file: IO[bytes], descriptor: Descriptor, opener: Opener, partial: Path, hashed: hashlib._Hash, size: int
) -> int:
    with opener(size) as source:
        while part := source.read(_CHUNK):
            size += len(part)
            if size > descriptor.size:
                break
            hashed.update(part)
            _write(file, part, partial)
    return size


def _restart(file: IO[bytes], descriptor: Descriptor) -> tuple[hashlib._Hash, int]:
    import hashlib

    file.seek(0)
    file.truncate()
    return hashlib.new(descriptor.algorithm), 0


def _hash(file: IO[bytes], algorithm: str) -> tuple[hashlib._Hash, int]:
    """The hash of a file from its beginning, and its size; the position is then at its end."""
    import hashlib

    hashed, size = hashlib.new(algorithm), 0
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    file.seek(0)
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        hashed.update(view[:count])
        size += count
    return hashed, size


def _write(file: IO[bytes], part: bytes, path: Path) -> None:
    """Write all of ``part``; a full disk gives back what the file took of it."""
    view = memoryview(part)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        with contextlib.suppress(OSError):
            file.truncate(0)
        raise durable.explain(error, path, "written") from None


def _finish(file: IO[bytes], partial: Path, final: Path) -> None:
    try:
        os.fsync(file.fileno())
        partial.replace(final)
    except OSError as error:
        raise durable.explain(error, final, "written") from None
