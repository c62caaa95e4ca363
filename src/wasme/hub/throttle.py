"""Guessing passwords is made slow: a few wrong ones, and the answer is 429 with Retry-After.

Counted in the database, so that every worker knows and a restart does not forget. Two limits refuse: for one source
trying one account, and for one source trying many; a source is an IPv4 address, or a /64 of IPv6, where everybody has
as many addresses as they like. A third only slows: an account that is tried from many sources is answered later and
later, since nobody may lock another's account from elsewhere.
"""

from __future__ import annotations

import hashlib
import ipaddress

from wasme.hub.database import Database
from wasme.hub.refusal import Refusal
from wasme.hub.repositories import now
from wasme.hub.settings import parse_address

WINDOW = 5 * 60 * 1000
"""Milliseconds for which a wrong password counts."""

FOR_ONE_ACCOUNT = 10
FOR_ONE_SOURCE = 60
FROM_EVERYWHERE = 100
"""Wrong passwords for one account, whoever sent them, above which each attempt waits."""

PAUSE = 0.1
"""Seconds that an attempt waits for each wrong password above ``FROM_EVERYWHERE``."""

LONGEST_PAUSE = 10.0


class Throttle:
    """Counts wrong passwords."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, source: str, user: str) -> float:
        """Let an attempt through, or not; the seconds that it must wait first.

        Args:
            source: what ``source`` makes of the client's address.
            user: the account that is tried.

        Raises:
            Refusal: 429 TOOMANYREQUESTS.
        """
        since = now() - WINDOW
        rows = self._database.connection.execute(
            "SELECT at, who FROM failed_logins WHERE address = ? AND at > ? ORDER BY at DESC", (source, since)
        ).fetchall()
        mine = [at for at, who in rows if who == _hidden(user)]
        for moments, limit in ((mine, FOR_ONE_ACCOUNT), ([at for at, _ in rows], FOR_ONE_SOURCE)):
            if len(moments) >= limit:
                seconds = max(1, -(-(moments[limit - 1] - since) // 1000))
                raise Refusal(
                    429,
                    "TOOMANYREQUESTS",
                    f"too many wrong passwords from here; try again in {seconds} s",
                    headers=[("retry-after", str(seconds))],
                )
        row = self._database.connection.execute(
            "SELECT count(*) FROM failed_logins WHERE who = ? AND at > ?", (_hidden(user), since)
        ).fetchone()
        everywhere = int(row[0])
        return max(0.0, min((everywhere - FROM_EVERYWHERE) * PAUSE, LONGEST_PAUSE))

    def failed(self, source: str, user: str) -> None:
        """Note a wrong password."""
        moment = now()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM failed_logins WHERE at <= ?", (moment - WINDOW,))
            connection.execute("INSERT INTO failed_logins VALUES (?, ?, ?)", (source, _hidden(user), moment))

    def succeeded(self, source: str, user: str) -> None:
        """Forget this source's wrong passwords for this account."""
        held = self._database.connection.execute(
            "SELECT 1 FROM failed_logins WHERE address = ? AND who = ? LIMIT 1", (source, _hidden(user))
        ).fetchone()
        if held is not None:
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM failed_logins WHERE address = ? AND who = ?", (source, _hidden(user)))


def source(address: str) -> str:
    """Whose attempts are counted together: an IPv4 address, or the /64 of an IPv6 address."""
    parsed = parse_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))
    return address if parsed is None else str(parsed)


def _hidden(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:32]
