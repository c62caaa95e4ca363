"""SQLite: one connection for each thread, one writer at a time, numbered migrations.

WAL lets readers go on while somebody writes; ``synchronous = FULL`` makes a commit last through a power cut, so that
what was acknowledged stays. Write transactions begin IMMEDIATE: SQLite's write lock, which holds across processes, is
also what keeps a blob's file and its row together (see ``repositories``).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from wasme.errors import HubError

_BUSY_SECONDS = 30.0


class Database:
    """The hub's metadata.

    Args:
        path: the database's file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._writing = threading.Lock()
        self._all: list[sqlite3.Connection] = []

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, for reading; each statement sees one consistent state."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._connect()
            self._local.connection = found
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: commits at the end, rolls back on any error. Nobody else writes meanwhile."""
        connection = self.connection
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def migrate(self) -> None:
        """Bring the schema up to this version of wasme.

        Raises:
            HubError: the file is no database of a hub, or one of a newer wasme, or SQLite lacks FTS5.
        """
        steps = migrations()
        try:
            self.connection.execute("PRAGMA journal_mode = WAL")
            with self.transaction() as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version > len(steps):
                    raise HubError(
                        f"{self._path} was made by a newer wasme (schema {version}, this one knows {len(steps)})",
                        hint="upgrade wasme, or give another --data folder",
                    )
                for number, script in enumerate(steps[version:], start=version + 1):
                    for statement in statements(script):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {number}")
        except sqlite3.Error as error:
            raise HubError(
                f"{self._path}: {error}", hint="SQLite 3.34 or newer with FTS5 is needed, and the file must be a hub's"
            ) from error

    def close(self) -> None:
        """Close every thread's connection; nobody may be using one."""
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._local = threading.local()

    def _connect(self) -> sqlite3.Connection:
        # Only `close` touches another thread's connection, when that thread has stopped using it.
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._all.append(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection


def migrations() -> list[str]:
    """The schema's steps in order; the number in a file's name is its place."""
    folder = resources.files("wasme.hub") / "migrations"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".sql")), key=lambda each: each.name)
    return [each.read_text(encoding="utf-8") for each in files]


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: ``executescript`` would commit in between."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
