"""Files that appear whole or not at all, locks between processes, and what to say when the disk says no."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from wasme.errors import StoreError

_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_REASONS = {
    errno.ENOSPC: ("the disk is full", "free some space, then run the command again; `wasme prune` frees unused blobs"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, then run the command again"),
    errno.EROFS: ("the file system is read-only", "choose another store with --store DIR"),
    errno.EACCES: ("permission denied", "check its owner and mode, or choose another store with --store DIR"),
    errno.EPERM: ("permission denied", "check its owner and mode, or choose another store with --store DIR"),
    errno.ENOTDIR: ("a file is in the way where a folder should be", "move it away, or choose another --store DIR"),
    errno.EISDIR: ("a folder is in the way where a file should be", "move it away, or choose another --store DIR"),
    errno.EEXIST: ("a file is in the way where a folder should be", "move it away, or choose another --store DIR"),
}


def explain(error: OSError, path: Path, verb: str) -> StoreError:
    """The one error for whatever the operating system refused; ``verb`` as in "cannot be written"."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
    return StoreError(f"{path} cannot be {verb}: {reason}", hint=hint)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path, "made") from None


def write_whole(path: Path, content: bytes) -> None:
    """Give ``path`` this content, in one step that survives a crash: write beside, fsync, rename.

    Raises:
        StoreError: it cannot be written; what was there before is still there.
    """
    try:
        replace(path, content)
    except OSError as error:
        raise explain(error, path, "written") from None


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """The same for files that are not the store's, whose errors have other words: OSError where it cannot be written.

    Args:
        mode: the file's permissions, less the umask; 0o600 keeps it its owner's from the first byte on.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed and had our number
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(handle, "wb") as file:  # noqa: PTH123 -- a handle, not a path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def sync_folder(path: Path) -> None:
    """Make the names in a folder last through a power cut, on file systems that know how."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path`` for oneself, waiting for whoever has it; the kernel frees it when a process dies.

    Raises:
        StoreError: the lock file cannot be opened.
    """
    with _held(open_lock(path)):
        yield


@contextlib.contextmanager
def held(path: Path, mode: int = 0o644) -> Iterator[None]:
    """`locked` for files that are not the store's: OSError where the lock file cannot be opened."""
    with _held(os.open(path, _LOCK_FILE, mode)):
        yield


@contextlib.contextmanager
def _held(handle: int) -> Iterator[None]:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_lock(path: Path) -> int:
    """A handle on a lock file, made if it is not there.

    Raises:
        StoreError: it cannot be opened.
    """
    try:
        return os.open(path, _LOCK_FILE, 0o644)
    except OSError as error:
        raise explain(error, path, "opened") from None


def try_lock(handle: int) -> bool:
    """Take the lock for oneself if nobody has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
