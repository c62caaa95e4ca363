"""When to ask again, and how long to wait: RFC 9110 section 10.2.3 (Retry-After), else full-jitter backoff."""

from __future__ import annotations

import random
import time

import msgspec

RETRYABLE = frozenset((408, 425, 429, 500, 502, 503, 504))
REFUSED_UNREAD = frozenset((425, 429, 503))
"""Answers that say the request was not carried out, so even one that is not idempotent may be sent again."""


class Policy(msgspec.Struct, frozen=True):
    """How patient a session is.

    Attributes:
        attempts: requests in all, the first one too.
        base: the first wait, in seconds; each further one may be twice as long.
        cap: the longest wait, in seconds; a registry that asks for more is not waited for.
    """

    attempts: int = 5
    base: float = 0.25
    cap: float = 30.0

    def wait(self, attempt: int, retry_after: str | None) -> float | None:
        """Seconds to wait after the attempt with this number (from 1); None: give up."""
        if attempt >= self.attempts:
            return None
        asked = parse_retry_after(retry_after, time.time())
        if asked is not None:
            # A little more than asked, so that many clients do not all come back at once.
            return None if asked > self.cap else asked + random.uniform(0, self.base)  # noqa: S311
        # Jitter is no secret.
        return random.uniform(self.base / 2, min(self.cap, self.base * 2.0 ** (attempt - 1)))  # noqa: S311


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds from a Retry-After header (a number or an HTTP date); None where there is none to be read."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
