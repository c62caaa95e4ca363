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

from wasme.cache.folder import explain

log = logging.getLogger(__name__)

FOLDER = "ready"
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
