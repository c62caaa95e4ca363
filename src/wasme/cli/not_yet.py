"""Commands of the original's that come with a later version: hidden, and each says what this version does instead.

They take whatever flags and positionals an old script has; only the root's and the group's own are read.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from wasme.cli.grammar import Command, at_least
from wasme.errors import NotYet

_INSTEAD = "deploy filters one by one: wasme deploy istio IMAGE"


class _Later(Command):
    """One command that is not here yet.

    Args:
        name: as typed.
        instead: what this version does, and when the command comes; the end of a sentence.
        hint: what to do now.
    """

    def __init__(self, name: str, instead: str, hint: str) -> None:
        def refuse(**_: Any) -> None:
            raise NotYet(f"this version of wasme {instead}", hint=hint)

        text = f"This version of wasme {instead}.\n\n{hint[0].upper()}{hint[1:]}"
        super().__init__(name.rpartition(" ")[2], use=name, arity=at_least(0), callback=refuse, help=text)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leave out what this version does not know."""
        known = self.known()
        words: list[str] = []
        rest = iter(args)
        for word in rest:
            name, has_value, _ = word.partition("=")
            if name in known:
                value = [] if has_value or known[name].kind.is_switch else list(islice(rest, 1))
                words += [word, *value] if has_value or value or known[name].kind.is_switch else []
        return super().parse_args(ctx, words)


operator = _Later("operator", "has no operator; it comes with a later one", _INSTEAD)
