"""Registries that an operator asks: those that whoever runs it names, or all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wasme.errors import Forbidden, UsageError

_PATTERN = re.compile(r"\*|(\*\.)?[A-Za-z0-9\[][A-Za-z0-9.:\[\]_-]*")


class Allowed:
    """Patterns of registries' names.

    Args:
        patterns: names, ``HOST[:PORT]`` as references have them, or ``*.DOMAIN[:PORT]``; none are all.

    Raises:
        UsageError: one is no pattern.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = tuple(each.lower() for each in patterns)
        for each in self._patterns:
            if not _PATTERN.fullmatch(each):
                raise UsageError(
                    f'invalid argument "{each}" for "--registries" flag: not the name of a registry',
                    hint="use HOST, HOST:PORT or *.DOMAIN",
                )

    def __contains__(self, name: str) -> bool:
        return not self._patterns or any(_fits(name.lower(), each) for each in self._patterns)

    def require(self, name: str) -> None:
        """Refuse a registry that is not among them.

        Raises:
            Forbidden: it is not.
        """
        if name not in self:
            raise Forbidden(
                f"the operator asks only {', '.join(self._patterns[:5])}{' and others' * (len(self._patterns) > 5)}, "
                f"and not the registry {name}",
                hint="whoever runs the operator may add it to the registries that it is started with",
            )


def _fits(name: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    return name.endswith(pattern[1:]) and len(name) >= len(pattern) if pattern.startswith("*.") else name == pattern
