"""Passwords are kept as argon2id hashes (OWASP's parameters for a small server: 19 MiB, two passes)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from wasme.errors import MissingExtra

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MAX_PASSWORD = 1024


@cache
def _hasher() -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise MissingExtra("hub", "wasme hub") from None
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


@cache
def _nobody() -> str:
    return _hasher().hash("nobody has this password")


def hash_password(password: str) -> str:
    """The hash to keep.

    Raises:
        MissingExtra: argon2 is not installed.
    """
    return _hasher().hash(password)


def is_right(password_hash: str | None, password: str) -> bool:
    """Whether ``password`` is the one that was hashed; takes as long for a user that does not exist (None)."""
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        _hasher().verify(password_hash or _nobody(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
