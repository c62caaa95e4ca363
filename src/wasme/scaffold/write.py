"""Files put into a folder: all of them or none.

They are first written into a folder of their own beside the destination (inside it, where it exists already), and
then moved to their places. So a full disk or an interruption leaves no half project, and an existing file is never
touched unless ``force`` says so; what ``force`` replaces is kept until all are in, and given back if they cannot be.
Only a kill between two moves leaves some of the files, and the replaced ones in a folder ``.wasme-init-…-before``.
Symbolic links inside the destination are not followed: nothing is written outside.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from wasme.errors import ScaffoldError

# What a file system says that has none, or not for this file.
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)

log = logging.getLogger(__name__)


def check(directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    """See that nothing is in the way.

    Args:
        directory: the project's folder, with no link in its path; it need not exist.
        content: the files to come, by their path in it.
        force: whether files may be replaced.

    Raises:
        ScaffoldError: files that are there already, a folder where a file belongs, a link that leads elsewhere.
    """
    if os.path.lexists(directory) and not directory.is_dir():
        raise ScaffoldError(f"{directory} is not a folder")
    taken: set[str] = set()
    for name in sorted(content):
        path = PurePosixPath(name)
        for parent in reversed(path.parents[:-1]):
            at = directory / parent
            if at.is_symlink():
                raise ScaffoldError(
                    f"{at} is a symbolic link, and wasme writes nothing outside {directory}",
                    hint="take the link away, or choose another folder",
                )
            if os.path.lexists(at) and not at.is_dir():
                taken.add(str(parent))
        at = directory / path
        if at.is_dir() and not at.is_symlink():
            raise ScaffoldError(f"{at} is a folder, and a file has to stand there")
        if os.path.lexists(at) and not force:
            taken.add(name)
    if taken:
        raise ScaffoldError(
            f"these are in {directory} already: {', '.join(sorted(taken))}",
            hint="move them away, and merge them afterwards; or choose another folder; or overwrite them with --force",
        )


def write(directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    """Write all files, or none.

    Args:
        directory: the project's folder; made with its parents where it does not exist.
        content: what ``check`` has seen.
        force: replace files that are there.

    Raises:
        ScaffoldError: a file cannot be written, or not put in its place; nothing is there then that was not before.
    """
    is_new = not directory.exists()
    token = f".wasme-init-{secrets.token_hex(6)}"
    staging = directory.parent / token if is_new else directory / token
    made: list[Path] = []
    try:
        _make_folders(directory.parent, made)
        staging.mkdir()
        made.append(staging)
        _fill(staging, content)
        if is_new:
            staging.rename(directory)
            made.clear()
        else:
            _move_in(staging, directory, content, force=force)
    except OSError as error:
        raise ScaffoldError(f"cannot write {directory}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _take_away(made)


def _fill(staging: Path, content: Mapping[str, bytes]) -> None:
    for name, data in content.items():
        at = staging / name
        at.parent.mkdir(parents=True, exist_ok=True)
        with at.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder with its parents, and note which were not there."""
    for each in reversed((folder, *folder.parents)):
        if not each.is_dir():
            each.mkdir()
            made.append(each)


def _move_in(staging: Path, directory: Path, content: Mapping[str, bytes], *, force: bool) -> None:
    """Put each file into its place; where one cannot be, undo it all."""
    kept = directory / f"{staging.name}-before"
    made: list[Path] = []
    replaced: list[str] = []
    try:
        for name in sorted(content):
            at = directory / name
            _make_folders(at.parent, made)
            if force and os.path.lexists(at):
                (kept / name).parent.mkdir(parents=True, exist_ok=True)
                replaced.append(name)
                _keep(at, kept / name)
                (staging / name).replace(at)
            else:
                _place(staging / name, at)
                made.append(at)
    except BaseException as error:
        _take_away(made)
        _give_back(replaced, directory, kept)
        if isinstance(error, OSError):
            raise ScaffoldError(f"cannot write {error.filename2 or error.filename}: {error.strerror}") from None
        raise
    shutil.rmtree(kept, ignore_errors=True)


def _take_away(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):  # such as a folder that somebody else uses by now: the first error is told
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()


def _give_back(replaced: list[str], directory: Path, kept: Path) -> None:
    """Put kept files into their places again; where one cannot be, it stays where it is kept, and is told of."""
    left: list[str] = []
    for name in replaced:
        try:
            if os.path.lexists(kept / name):
                (kept / name).replace(directory / name)
        except OSError:
            left.append(name)
    if left:
        log.warning(
            "replaced files cannot be put back, and are kept in a folder of their own",
            extra={"fields": {"folder": str(kept), "files": ", ".join(left)}},
        )
    else:
        shutil.rmtree(kept, ignore_errors=True)


def _keep(source: Path, target: Path) -> None:
    """Give a file that is about to be replaced a second name, so that its first one is never empty."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        source.rename(target)


def _place(source: Path, target: Path) -> None:
    """Move a file to a name that is free; fails where something has appeared there."""
    try:
        os.link(source, target)  # unlike a rename, it never replaces
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS or os.path.lexists(target):
            raise
        source.rename(target)
