"""Accounts: who may push, and where. A user's name is also the first component of the repositories they may push to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from wasme.errors import HubError, InputError
from wasme.hub.database import Database
from wasme.hub.names import is_user
from wasme.hub.passwords import MAX_PASSWORD, hash_password
from wasme.hub.repositories import now

_COLUMNS = "id, name, email, realname, admin, created, updated"


class User(msgspec.Struct, frozen=True, rename="camel"):
    """An account without its secret; moments in milliseconds since 1970."""

    id: int
    name: str
    email: str
    realname: str
    admin: bool
    created: int
    updated: int


class Accounts:
    """The users of a hub."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, password: str, *, email: str = "", realname: str = "", admin: bool = False) -> User:
        """Make an account.

        Raises:
            InputError: a name that cannot begin a repository's, or no usable password.
            HubError: the name is taken.
        """
        if not is_user(name):
            raise InputError(
                f"{name[:80]!r} cannot be a user's name, since it begins the names of their repositories",
                hint="lower-case letters and digits, joined by . _ or -, 64 at most",
            )
        _check_password(password)
        password_hash = hash_password(password)
        moment = now()
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    """INSERT INTO users (name, email, realname, admin, password_hash, created, updated)
                       VALUES (?, ?, ?, ?, ?, ?, ?)""",
                    (name, email, realname, admin, password_hash, moment, moment),
                )
        except sqlite3.IntegrityError:
            raise HubError(
                f"there is a user {name!r} already", hint=f"wasme hub user password {name} changes the password"
            ) from None
        return self.get(name)

    def get(self, name: str) -> User:
        """One account.

        Raises:
            HubError: there is none of that name.
        """
        row = self._database.connection.execute(f"SELECT {_COLUMNS} FROM users WHERE name = ?", (name,)).fetchone()  # noqa: S608
        if row is None:
            raise HubError(f"there is no user {name[:80]!r}", hint="wasme hub user list shows who there is")
        return _user(row)

    def all(self) -> list[User]:
        """Every account, by name."""
        rows = self._database.connection.execute(f"SELECT {_COLUMNS} FROM users ORDER BY name")  # noqa: S608
        return [_user(row) for row in rows]

    def set_password(self, name: str, password: str) -> None:
        """Give an account another password; sessions with the old one end at once.

        Raises:
            HubError: there is no such user.
            InputError: no usable password.
        """
        self.get(name)
        _check_password(password)
        password_hash = hash_password(password)
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE users SET password_hash = ?, updated = ? WHERE name = ?", (password_hash, now(), name)
            )

    def remove(self, name: str) -> None:
        """Take an account away; what it pushed stays.

        Raises:
            HubError: there is no such user.
        """
        self.get(name)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM users WHERE name = ?", (name,))

    def with_secret(self, name: str) -> tuple[User, str] | None:
        """The account and its password hash; None where there is none."""
        row = self._database.connection.execute(
            f"SELECT {_COLUMNS}, password_hash FROM users WHERE name = ?",  # noqa: S608
            (name,),
        ).fetchone()
        return None if row is None else (_user(row), row[7])


@contextmanager
def open_accounts(data: Path) -> Iterator[Accounts]:
    """The accounts of the hub in ``data``, for a command; works while the hub runs, and before its first start.

    Raises:
        HubError: the folder cannot be used.
    """
    database = open_database(data)
    try:
        yield Accounts(database)
    finally:
        database.close()


def open_database(data: Path) -> Database:
    """Open, and where needed make, the database of the hub in ``data``.

    Raises:
        HubError: the folder cannot be used.
    """
    path = data / "hub.db"
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    except OSError as error:
        raise HubError(
            f"the hub's folder {data} cannot be written: {error.strerror}", hint="give another one with --data"
        ) from error
    database = Database(path)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def _check_password(password: str) -> None:
    if not password:
        raise InputError("the password is empty", hint="type one, or send it with --password-stdin")
    if len(password.encode()) > MAX_PASSWORD:
        raise InputError(f"the password is longer than {MAX_PASSWORD} bytes")


def _user(row: tuple[Any, ...]) -> User:
    number, name, email, realname, admin, created, updated = row[:7]
    return User(number, name, email, realname, bool(admin), created, updated)
