"""Markers: the files ``ready/<namespace>`` that the kubelet waits for before it starts a pod with filters.

A marker stands while every module of the namespace's filters is held, and is taken away only when one of them is
missing. A namespace of which nothing is known any more keeps its marker: without filters all of them are held, and a
pod whose template still has the mount must start.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from pathlib import Path

from wasme.cache import memory
from wasme.cache.folder import explain
from wasme.cache.memory import Memory

log = logging.getLogger(__name__)

FOLDER = "ready"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Markers:
    """The markers of one node.

    Args:
        folder: the cache's folder, in which ``ready/`` lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._told = ""

    def clear(self) -> None:
        """Take all away."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def withhold(self, kept: Memory, boot_id: Path = BOOT_ID) -> None:
        """After a start of the node take all away until the list is read: filters may have come while it was away.

        Which they were is kept first, for those without filters come back as well.
        """
        try:
            boot = boot_id.read_text().strip()
        except OSError:
            return  # no such file, no such knowledge
        if boot == kept.boot:
            return
        with contextlib.suppress(OSError):
            kept.withheld = sorted({*kept.withheld, *(entry.name for entry in self._folder.iterdir())})
        memory.save(self._folder.parent, kept)
        self.clear()
        kept.boot = boot
        memory.save(self._folder.parent, kept)

    def withdraw(self, namespaces: set[str]) -> None:
        """Take the markers of these namespaces away: something of theirs is missing."""
        for name in namespaces:
            if _NAMESPACE.fullmatch(name):
                with contextlib.suppress(OSError):
                    (self._folder / name).unlink()

    def write(self, namespaces: set[str]) -> set[str]:
        """Write the markers of these namespaces; returns those that stand now."""
        standing = set()
        for name in namespaces:
            marker = self._folder / name
            # What is no namespace's name would be a path.
            if not _NAMESPACE.fullmatch(name):
                continue
            try:
                if not marker.exists():
                    self._folder.mkdir(exist_ok=True)
                    marker.touch(0o644)
                standing.add(name)
            except OSError as error:
                reason = explain(error, marker).message
                if reason != self._told:
                    self._told = reason
                    log.error("marker cannot be written", extra={"fields": {"reason": reason}})
        return standing
