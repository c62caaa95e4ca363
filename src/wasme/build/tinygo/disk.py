"""Where Go writes while it compiles, and whether there is room."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from wasme.errors import InputError

_FULL = re.compile(r"no space left on device|disk quota exceeded|not enough space on the disk|ENOSPC|EDQUOT", re.I)
# Less than what a package's archive takes: Go does not always say why it could not write one.
_LITTLE = 4 << 20


@contextlib.contextmanager
def work_folder(environment: Mapping[str, str], scratch: Path) -> Iterator[Path]:
    """A folder for what is made on the way, which is taken away however the build ends.

    Args:
        environment: Go's; its GOTMPDIR, if that is there, says on which disk.
        scratch: the build's own folder, where it is otherwise.

    Raises:
        InputError: it cannot be made.
    """
    wanted = environment.get("GOTMPDIR", "")
    place = Path(wanted) if wanted and Path(wanted).is_dir() else scratch
    try:
        folder = tempfile.mkdtemp(prefix="go-", dir=place)
    except OSError as error:
        message = f"cannot make a folder in {place}: {error.strerror}"
        raise InputError(message, hint="name another one with --tmp-dir, or with GOTMPDIR") from None
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def hint(said: str, environment: Mapping[str, str], work: Path) -> str | None:
    """What to do where a build failed for want of room; None where it did not.

    Args:
        said: the compiler's words.
        environment: what it ran in.
        work: the folder it worked in.
    """
    folders = {"GOCACHE": _cache(environment), "--tmp-dir": work.parent}
    full = {name: folder for name, folder in folders.items() if _free(folder) < _LITTLE}
    if not full and not _FULL.search(said):
        return None
    told = " and ".join(f"{folder} ({name} names another)" for name, folder in (full or folders).items())
    return f"the disk is full: make room for {told}"


def _cache(environment: Mapping[str, str]) -> Path:
    """Where Go keeps what it has compiled: https://pkg.go.dev/cmd/go#hdr-Build_and_test_caching."""
    named = environment.get("GOCACHE", "")
    if os.path.isabs(named):  # noqa: PTH117 - "" is no path
        return Path(named)
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/go-build"))  # noqa: PTH111 - no error without a home
    base = environment.get("XDG_CACHE_HOME", "") or os.path.expanduser("~/.cache")  # noqa: PTH111
    return Path(base, "go-build")


def _free(folder: Path) -> int:
    """Bytes free for a folder, or for the nearest above that is there."""
    for each in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(each).free
    return sys.maxsize
