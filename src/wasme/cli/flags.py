"""One flag, and the decorator that gives a command one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from wasme.cli.kinds import KINDS, Kind
from wasme.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


class Flag(click.Option):
    """One flag, with the original's type names (see ``kinds``).

    Args:
        kind: how the value is read.
        choices: the only values, where there are only a few.
        suggest: values to complete to, where others are allowed or judged by the command.
    """

    def __init__(
        self,
        declarations: Sequence[str],
        *,
        kind: Kind,
        choices: Sequence[str] = (),
        suggest: Sequence[str] = (),
        **attributes: Any,
    ) -> None:
        self.kind = kind
        self.choices = tuple(choices)
        self.suggest = tuple(choices or suggest)
        super().__init__(declarations, type=click.UNPROCESSED, multiple=True, **attributes)

    @property
    def long(self) -> str:
        """``--name``."""
        return next(name for name in self.opts if name.startswith("--"))

    @property
    def short(self) -> str | None:
        """``-n``, or None."""
        return next((name for name in self.opts if not name.startswith("--")), None)

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ARG002
        """All the values typed for this flag, in order, become its one value."""
        if not value and self.choices and self.default_value not in ("", *self.choices):
            value = [self.default_value]  # a default that the environment gave is judged like a word that was typed
        if not value:
            return self.kind.copy_default(self.default_value)
        try:
            result = self.kind.read(list(value))
        except ValueError as error:
            raise UsageError(f'invalid argument "{value[-1]}" for "{self.label}" flag: {error}') from None
        if self.choices and result not in self.choices:
            raise UsageError(
                f'invalid argument "{result}" for "{self.label}" flag: not one of {", ".join(self.choices)}',
                hint=close_matches(str(result), self.choices),
            )
        return result

    def get_default(self, ctx: click.Context, call: bool = True) -> Any:  # noqa: ARG002
        """None: the kind's own default is put in by ``type_cast_value``, where nothing was typed."""
        return None

    @property
    def default_value(self) -> Any:
        """What the command gets where the flag is not given; a function is asked each time, as for the environment."""
        value = self.__dict__.get("own_default", self.kind.default)
        return value() if callable(value) else value

    @property
    def label(self) -> str:
        """As pflag names a flag in an error: ``-t, --tag``."""
        return f"{self.short}, {self.long}" if self.short else self.long

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """The values that begin so; file names where any value may stand; behind a switch, a positional."""
        from click.shell_completion import CompletionItem

        if self.kind.is_switch:
            return [item for each in ctx.command.params if isinstance(each, click.Argument)
                    for item in each.shell_complete(ctx, incomplete)]  # fmt: skip
        if self.suggest:
            return [CompletionItem(value) for value in self.suggest if value.startswith(incomplete)]
        return [CompletionItem(incomplete, type="file")]


def flag(
    *declarations: str,
    kind: str = "string",
    default: Any = None,
    help: str = "",  # noqa: A002
    choices: Sequence[str] = (),
    suggest: Sequence[str] = (),
    hidden: bool = False,
    expose: bool = True,
) -> Flag:
    """Make one flag; ``option`` is the decorator.

    Args:
        declarations: ``"--tag", "-t"``.
        kind: ``string``, ``bool``, ``int``, ``duration`` (seconds), ``stringArray``, ``strings``, ``stringToString``,
            ``dryRun`` (a switch that takes client or server with ``=``), ``steps`` (one that takes a rollout's steps).
        default: what the command gets where the flag is absent, or a function that says; the kind's zero value if None.
        help: one line.
        choices: the only values allowed.
        suggest: values that a shell completes to.
        hidden: not shown in help.
        expose: whether the callback gets it as a keyword argument.
    """
    made = Flag(
        declarations, kind=KINDS[kind], choices=choices, suggest=suggest, help=help, hidden=hidden, expose_value=expose
    )
    if default is not None:
        made.__dict__["own_default"] = default
    return made


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """Decorator: give the command below one more flag (arguments as for ``flag``)."""

    def add(function: F) -> F:
        function.__dict__.setdefault("__wasme_flags__", []).insert(0, flag(*declarations, **attributes))
        return function

    return add


def close_matches(word: str, possible: Iterable[str]) -> str | None:
    """``Did you mean …?`` for a mistyped word, or None."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(possible), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(matches)}?" if matches else None
