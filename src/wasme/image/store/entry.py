"""What ``list`` shows of one image."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Entry(NamedTuple):
    """One name in a store.

    Attributes:
        name: the repository with its host.
        tag: the tag, or the manifest's digest where the name has no tag.
        size: the module's, in bytes.
        digest: the module's.
        manifest_digest: the manifest's.
        updated: when the name was last given, in UTC.
        directory: where the module lies: the original's folder, or the blob's file.
        problem: why the image cannot be used, or None; with a problem, the fields above may be empty.
    """

    name: str
    tag: str
    size: int
    digest: str
    manifest_digest: str
    updated: datetime
    directory: str
    problem: str | None = None
