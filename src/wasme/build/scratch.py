"""The folder that a build works in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from wasme.build.interruption import Interruption
from wasme.errors import InputError

_PREFIX = "wasme-build-"
_ABANDONED = 3600.0


@contextlib.contextmanager
def scratch_folder(wanted: Path | None, interruption: Interruption) -> Iterator[Path]:
    """The folder of ``--tmp-dir``, which stays; else a fresh one, which does not.

    A build that was killed could not take its folder away. The next one does, an hour later: a folder in use is locked,
    and a lock ends with its process.

    Raises:
        InputError: there is no place for it.
    """
    if wanted is not None:
        yield chosen(wanted)
        return
    folder, handle = "", -1
    try:
        with interruption.waits():
            # On a Mac the engines' machines see /tmp, and not the folder that Python would take.
            place = "/tmp" if sys.platform == "darwin" else None  # noqa: S108
            try:
                folder = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
            except OSError as error:
                message = f"there is no folder for temporary files: {error.strerror}"
                raise InputError(message, hint="name one with --tmp-dir, or with TMPDIR") from None
            handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            _try_lock(handle)
        _sweep(Path(folder).parent)
        yield Path(folder)
    finally:
        with interruption.waits():
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
            if handle >= 0:
                os.close(handle)


def chosen(folder: Path) -> Path:
    """The folder of ``--tmp-dir``, made if it is not there.

    Raises:
        InputError: it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot use {folder} as --tmp-dir: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into {folder}, which --tmp-dir names")
    return folder


def _sweep(parent: Path) -> None:
    """Take away what killed builds of this user have left."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(_PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            with contextlib.suppress(OSError):
                seen = entry.stat(follow_symlinks=False)
                if seen.st_uid == os.getuid() and seen.st_mtime < time.time() - _ABANDONED:
                    _take_away(entry.path)


def _take_away(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if _try_lock(handle):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
