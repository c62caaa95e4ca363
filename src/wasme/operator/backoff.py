"""How long what failed rests before it is tried again: one rule for keys, changes, places and registries' refusals."""

from __future__ import annotations


def backoff(failures: int, first: float, longest: float) -> float:
    """Seconds until the next try; what failed together is spread by the caller, each in its own way.

    Args:
        failures: how often it had failed before; 0 for the first time.
        first: seconds after the first time; twice as long after each further one.
        longest: seconds that it is never longer than.
    """
    return min(longest, first * 2.0 ** min(failures, 20))  # who fails for days does not overflow it
