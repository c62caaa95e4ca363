"""Tenancy: a folder belongs to one agent at a time, for two would each remove what the other needs.

The agent of an update waits until its predecessor has ended; the agent of another cache does not, and ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path

from wasme.cache.folder import explain
from wasme.errors import CacheError

log = logging.getLogger(__name__)

FILE = ".wasme-cache.lock"
_PAUSE = 0.2
_LONGEST_NAME = 1000
_SURE = 3
"""Looks at the lock that must find a stranger's name there."""


def take(folder: Path, cache: str) -> int:
    """Take the folder for as long as the returned handle is open, which the end of the process closes in any case.

    Args:
        folder: of the modules.
        cache: whose agent this is.

    Raises:
        CacheError: another cache's agent has it, or it cannot be written.
    """
    cache = cache[:_LONGEST_NAME]
    try:
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise explain(error, folder / FILE) from None
    tries = strangers = 0
    while not _lock(handle):
        holder = os.pread(handle, 4 * _LONGEST_NAME, 0).decode(errors="replace")
        # Whoever has just got the lock has not written its name yet.
        strangers = strangers + 1 if holder and holder != cache else 0
        if strangers > _SURE:
            os.close(handle)
            raise CacheError(
                f"{folder} is in use by another node cache, of {holder}, and cannot be that of {cache} too",
                hint="uninstall one of them (filters of all namespaces can share a cache), or give it another folder",
            )
        if not tries:
            log.info("waiting for the agent before this one to end", extra={"fields": {"directory": str(folder)}})
        tries += 1
        time.sleep(_PAUSE)
    with contextlib.suppress(OSError):  # a full disk is told by those who need room
        os.ftruncate(handle, 0)
        os.pwrite(handle, cache.encode(), 0)
    return handle


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
