"""Guessing passwords is made slow: a few wrong ones, and the answer is 429 with Retry-After.

Counted in the database, so that every worker knows and a restart does not forget. Two limits: for one address trying
one account, and for one address trying many. Nobody can lock another's account from elsewhere.
"""

from __future__ import annotations

import hashlib

from wasme.hub.database import Database
from wasme.hub.refusal import Refusal
from wasme.hub.repositories import now

WINDOW = 5 * 60 * 1000
"""Milliseconds for which a wrong password counts."""

FOR_ONE_ACCOUNT = 10
FOR_ONE_ADDRESS = 60


class Throttle:
    """Counts wrong passwords."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, address: str, user: str) -> None:
        """Let an attempt through, or not.

        Raises:
            Refusal: 429 TOOMANYREQUESTS.
        """
        since = now() - WINDOW
        rows = self._database.connection.execute(
            "SELECT at, who FROM failed_logins WHERE address = ? AND at > ? ORDER BY at DESC", (address, since)
        ).fetchall()
        mine = [at for at, who in rows if who == _hidden(user)]
        for moments, limit in ((mine, FOR_ONE_ACCOUNT), ([at for at, _ in rows], FOR_ONE_ADDRESS)):
            if len(moments) >= limit:
                seconds = max(1, -(-(moments[limit - 1] - since) // 1000))
                raise Refusal(
                    429,
                    "TOOMANYREQUESTS",
                    f"too many wrong passwords from here; try again in {seconds} s",
                    headers=[("retry-after", str(seconds))],
                )

    def failed(self, address: str, user: str) -> None:
        """Note a wrong password."""
        moment = now()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM failed_logins WHERE at <= ?", (moment - WINDOW,))
            connection.execute("INSERT INTO failed_logins VALUES (?, ?, ?)", (address, _hidden(user), moment))

    def succeeded(self, address: str, user: str) -> None:
        """Forget this address's wrong passwords for this account."""
        held = self._database.connection.execute(
            "SELECT 1 FROM failed_logins WHERE address = ? AND who = ? LIMIT 1", (address, _hidden(user))
        ).fetchone()
        if held is not None:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM failed_logins WHERE address = ? AND who = ?", (address, _hidden(user)))


def _hidden(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:32]
