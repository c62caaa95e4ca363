"""Repositories: which manifests, tags and blobs each has. Plain SQL over ``Database``; every write is one transaction.

A blob's row is never there without its file, and the database's write lock keeps the two together: ``add_blob`` gives
the file its name inside the transaction that adds the row; ``delete_blob`` commits the row's end first, and unlinks the
file in a second transaction, which looks again whether the blob came back meanwhile. So a blob that a repository lists
has its file, whatever else happens at the same moment or is cut off in between; at worst a file is left that nothing
lists, and the next upload of it takes its place. A file that somebody else took away, or a disk lost, makes its blob
unknown (``blob_size``), so that the next push brings it back.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from wasme.hub.blobs import Blobs
from wasme.hub.database import Database
from wasme.hub.manifest import Manifest
from wasme.hub.names import is_digest, namespace
from wasme.hub.refusal import Refusal, blob_unknown, manifest_unknown, name_unknown

log = logging.getLogger(__name__)

_BY_TAG = """FROM repositories r JOIN tags t ON t.repository_id = r.id JOIN manifests m ON m.id = t.manifest_id
    WHERE r.name = ? AND t.name = ?"""
_BY_DIGEST = """FROM repositories r JOIN manifests m ON m.repository_id = r.id WHERE r.name = ? AND m.digest = ?"""


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest whose subject is another."""

    media_type: str
    digest: str
    size: int
    artifact_type: str | None
    annotations: dict[str, str]


class Repositories:
    """All repositories of a hub."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    # What a pull asks. These are on the hot path: one statement each, on this thread's connection.

    def manifest(self, repository: str, reference: str) -> tuple[str, str, bytes] | None:
        """(digest, media type, bytes) of what a tag or digest names; None where there is none."""
        where = _BY_DIGEST if is_digest(reference) else _BY_TAG
        found: tuple[str, str, bytes] | None = self._database.connection.execute(
            f"SELECT m.digest, m.media_type, m.body {where}",
            (repository, reference),
        ).fetchone()
        return found

    def manifest_head(self, repository: str, reference: str) -> tuple[str, str, int] | None:
        """(digest, media type, size) without reading the bytes."""
        where = _BY_DIGEST if is_digest(reference) else _BY_TAG
        found: tuple[str, str, int] | None = self._database.connection.execute(
            f"SELECT m.digest, m.media_type, length(m.body) {where}",
            (repository, reference),
        ).fetchone()
        return found

    def blob_size(self, repository: str, digest: str) -> int | None:
        """The size of a blob that the repository has; None where it has not, or its file is lost."""
        row = self._database.connection.execute(
            """SELECT b.size FROM repositories r JOIN repository_blobs m ON m.repository_id = r.id
               JOIN blobs b ON b.digest = m.digest WHERE r.name = ? AND m.digest = ?""",
            (repository, digest),
        ).fetchone()
        return None if row is None or self._is_lost(digest, row[0]) else int(row[0])

    def exists(self, repository: str) -> bool:
        """Whether anything was ever pushed to it."""
        row = self._database.connection.execute("SELECT 1 FROM repositories WHERE name = ?", (repository,)).fetchone()
        return row is not None

    # Listing.

    def tags(self, repository: str, last: str, limit: int) -> list[str]:
        """Tags after ``last`` in byte order.

        Raises:
            Refusal: 404 NAME_UNKNOWN.
        """
        if not self.exists(repository):
            raise name_unknown(repository)
        rows = self._database.connection.execute(
            """SELECT t.name FROM tags t JOIN repositories r ON r.id = t.repository_id
               WHERE r.name = ? AND t.name > ? ORDER BY t.name LIMIT ?""",
            (repository, last, limit),
        )
        return [name for (name,) in rows]

    def names(self, last: str, limit: int) -> list[str]:
        """Repositories with at least one manifest, after ``last`` in byte order."""
        rows = self._database.connection.execute(
            """SELECT name FROM repositories r WHERE name > ?
               AND EXISTS (SELECT 1 FROM manifests WHERE repository_id = r.id) ORDER BY name LIMIT ?""",
            (last, limit),
        )
        return [name for (name,) in rows]

    def referrers(
        self, repository: str, subject: str, artifact_type: str | None, last: str, limit: int
    ) -> list[Referrer]:
        """Manifests that refer to ``subject``, by digest, after the digest ``last``."""
        rows = self._database.connection.execute(
            """SELECT m.media_type, m.digest, length(m.body), m.artifact_type, m.annotations
               FROM manifests m JOIN repositories r ON r.id = m.repository_id
               WHERE r.name = ? AND m.subject = ? AND m.digest > ? AND (? IS NULL OR m.artifact_type = ?)
               ORDER BY m.digest LIMIT ?""",
            (repository, subject, last, artifact_type, artifact_type, limit),
        )
        return [
            Referrer(media_type, digest, size, kind, msgspec.json.decode(annotations, type=dict[str, str]))
            for media_type, digest, size, kind, annotations in rows
        ]

    # Writing.

    def add_blob(self, repository: str, digest: str, size: int, temporary: Path) -> None:
        """Give a finished, synced file to a repository; the file is moved to its place."""
        with self._database.transaction() as connection:
            self._blobs.keep(temporary, digest)
            repository_id = _repository_id(connection, repository)
            connection.execute("INSERT OR IGNORE INTO blobs VALUES (?, ?, ?)", (digest, size, now()))
            connection.execute("INSERT OR IGNORE INTO repository_blobs VALUES (?, ?)", (repository_id, digest))

    def mount(self, repository: str, digest: str, source: str | None) -> bool:
        """Let ``repository`` show a blob that ``source`` has (any repository if None); False where it has not."""
        with self._database.transaction() as connection:
            found = connection.execute(
                """SELECT b.size FROM repository_blobs m JOIN repositories r ON r.id = m.repository_id
                   JOIN blobs b ON b.digest = m.digest WHERE m.digest = ? AND (? IS NULL OR r.name = ?) LIMIT 1""",
                (digest, source, source),
            ).fetchone()
            if found is None or self._is_lost(digest, found[0]):
                return False
            repository_id = _repository_id(connection, repository)
            connection.execute("INSERT OR IGNORE INTO repository_blobs VALUES (?, ?)", (repository_id, digest))
            return True

    def put_manifest(
        self, repository: str, digest: str, manifest: Manifest, tags: list[str], pushed_by: str | None
    ) -> None:
        """Take a manifest, and let ``tags`` name it.

        Raises:
            Refusal: MANIFEST_BLOB_UNKNOWN (404) for content that is missing, MANIFEST_INVALID for a lying size.
        """
        with self._database.transaction() as connection:
            repository_id = _repository_id(connection, repository)
            self._check_content(connection, repository_id, manifest)
            moment = now()
            connection.execute(
                """INSERT INTO manifests (repository_id, digest, media_type, body, image_size, module_digest,
                       artifact_type, subject, annotations, words, pushed_by, created)
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                   ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type""",
                (
                    repository_id, digest, manifest.media_type, manifest.body, manifest.image_size,
                    manifest.module_digest, manifest.artifact_type, manifest.subject,
                    msgspec.json.encode(manifest.annotations).decode(), manifest.words, pushed_by, moment,
                ),
            )  # fmt: skip
            (manifest_id,) = connection.execute(
                "SELECT id FROM manifests WHERE repository_id = ? AND digest = ?", (repository_id, digest)
            ).fetchone()
            connection.executemany(
                "INSERT OR IGNORE INTO manifest_references VALUES (?, ?)",
                [(manifest_id, each.digest) for each in [*manifest.blobs, *manifest.children]],
            )
            connection.executemany(
                """INSERT INTO tags (repository_id, name, manifest_id, updated) VALUES (?, ?, ?, ?)
                   ON CONFLICT (repository_id, name)
                   DO UPDATE SET manifest_id = excluded.manifest_id, updated = excluded.updated""",
                [(repository_id, tag, manifest_id, moment) for tag in tags],
            )
            connection.execute("UPDATE repositories SET updated = ? WHERE id = ?", (moment, repository_id))

    def delete_tag(self, repository: str, tag: str) -> None:
        """Take one tag away; its manifest stays.

        Raises:
            Refusal: 404 MANIFEST_UNKNOWN.
        """
        with self._database.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM tags WHERE name = ? AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
                (tag, repository),
            ).rowcount
        if not gone:
            raise manifest_unknown(tag)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Take a manifest away, and the tags that name it.

        Raises:
            Refusal: 404 MANIFEST_UNKNOWN.
        """
        with self._database.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM manifests WHERE digest = ? "
                "AND repository_id = (SELECT id FROM repositories WHERE name = ?)",
                (digest, repository),
            ).rowcount
        if not gone:
            raise manifest_unknown(digest)

    def delete_blob(self, repository: str, digest: str) -> None:
        """Take a blob away from a repository, and from the disk if that was the last one to have it.

        Raises:
            Refusal: 404 BLOB_UNKNOWN, or 405 DENIED while a manifest of the repository needs it.
        """
        with self._database.transaction() as connection:
            row = connection.execute("SELECT id FROM repositories WHERE name = ?", (repository,)).fetchone()
            repository_id = row[0] if row else None
            needed = connection.execute(
                """SELECT m.digest FROM manifest_references f JOIN manifests m ON m.id = f.manifest_id
                   WHERE f.digest = ? AND m.repository_id = ? LIMIT 1""",
                (digest, repository_id),
            ).fetchone()
            if needed:
                raise Refusal(
                    405,
                    "DENIED",
                    "a manifest needs this blob; delete the manifest first",
                    detail={"manifest": needed[0]},
                )
            gone = connection.execute(
                "DELETE FROM repository_blobs WHERE repository_id = ? AND digest = ?", (repository_id, digest)
            ).rowcount
            if not gone:
                raise blob_unknown(digest)
            last = connection.execute("SELECT 1 FROM repository_blobs WHERE digest = ? LIMIT 1", (digest,)).fetchone()
            if last is None:
                connection.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        if last is None:
            # Not before the row's end is on the disk: a kill here leaves a file too many, never one too few.
            with self._database.transaction() as connection:
                if connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone() is None:
                    self._blobs.discard(digest)

    def _check_content(self, connection: sqlite3.Connection, repository_id: int, manifest: Manifest) -> None:
        missing: list[str] = []
        for blob in manifest.blobs:
            row = connection.execute(
                """SELECT b.size FROM repository_blobs m JOIN blobs b ON b.digest = m.digest
                   WHERE m.repository_id = ? AND m.digest = ?""",
                (repository_id, blob.digest),
            ).fetchone()
            if row is None or self._is_lost(blob.digest, row[0]):
                missing.append(blob.digest)
            elif row[0] != blob.size:
                raise Refusal(
                    400,
                    "MANIFEST_INVALID",
                    f"the manifest cannot be taken: it gives {blob.digest} a size of {blob.size} bytes, "
                    f"it has {row[0]}",
                )
        for child in manifest.children:
            row = connection.execute(
                "SELECT 1 FROM manifests WHERE repository_id = ? AND digest = ?", (repository_id, child.digest)
            ).fetchone()
            if row is None:
                missing.append(child.digest)
        if missing:
            raise Refusal(
                404,
                "MANIFEST_BLOB_UNKNOWN",
                "the manifest names content that the repository does not have; push that first",
                detail={"digests": missing[:100]},
            )

    def _is_lost(self, digest: str, size: int) -> bool:
        """Whether the file of a blob that has its row is gone or cut, which is never the hub's doing."""
        if self._blobs.holds(digest, size):
            return False
        row = self._database.connection.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone()
        if row is not None:  # else it was deleted between the caller's look and this one
            log.error(
                "a blob's file is missing or cut; pushing it again restores it", extra={"fields": {"digest": digest}}
            )
        return True


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _repository_id(connection: sqlite3.Connection, name: str) -> int:
    """The repository's row, made where it is missing."""
    row = connection.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
    if row is None:
        moment = now()
        connection.execute("INSERT OR IGNORE INTO namespaces (name, created) VALUES (?, ?)", (namespace(name), moment))
        row = connection.execute(
            """INSERT INTO repositories (namespace_id, name, created, updated)
               VALUES ((SELECT id FROM namespaces WHERE name = ?), ?, ?, ?) RETURNING id""",
            (namespace(name), name, moment, moment),
        ).fetchone()
    return int(row[0])
