"""The command line's grammar: the original's (Go's pflag and cobra), on click.

Rules, each held by one parametrised test:

* ``--name=value``, ``--name value``, ``-n value``, ``-nvalue``, ``-n=value``; ``-abc`` are three switches;
* a switch takes a value only with ``=``: ``--flag``, ``--flag=false``;
* flags and positionals mix; ``--`` ends the flags; ``-`` is a positional;
* a flag of a group or of the root may stand before or after the sub-command;
* an unknown flag before the sub-command is taken to have a value, since it may be one of the sub-command's.

How: ``normalise`` turns what was typed into ``--name=value`` words, which click then converts and hands to the
callback. Groups only look for the sub-command's name and pass everything else on, so flags are judged once, where the
command that knows them all is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import click

from wasme.cli.kinds import KINDS, Kind
from wasme.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
Arity = Callable[[Sequence[str]], str | None]


def exactly(count: int) -> Arity:
    """Exactly ``count`` positionals."""
    return lambda args: None if len(args) == count else f"accepts {count} arg(s), received {len(args)}"


def at_least(count: int) -> Arity:
    """``count`` positionals or more."""
    return lambda args: None if len(args) >= count else f"requires at least {count} arg(s), only received {len(args)}"


def at_most(count: int) -> Arity:
    """``count`` positionals or fewer."""
    return lambda args: None if len(args) <= count else f"accepts at most {count} arg(s), received {len(args)}"


class Flag(click.Option):
    """One flag, with the original's type names (see ``kinds``).

    Args:
        kind: how the value is read.
        choices: the only values, where there are only a few.
    """

    def __init__(
        self, declarations: Sequence[str], *, kind: Kind, choices: Sequence[str] = (), **attributes: Any
    ) -> None:
        self.kind = kind
        self.choices = tuple(choices)
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
        """What the command gets where the flag is not given."""
        return self.__dict__.get("own_default", self.kind.default)

    @property
    def label(self) -> str:
        """As pflag names a flag in an error: ``-t, --tag``."""
        return f"{self.short}, {self.long}" if self.short else self.long

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:  # noqa: ARG002
        """The choices that begin so."""
        from click.shell_completion import CompletionItem

        items = [CompletionItem(choice) for choice in self.choices if choice.startswith(incomplete)]
        return items or [CompletionItem(incomplete, type="file")]


def flag(
    *declarations: str,
    kind: str = "string",
    default: Any = None,
    help: str = "",  # noqa: A002
    choices: Sequence[str] = (),
    hidden: bool = False,
    expose: bool = True,
) -> Flag:
    """Make one flag; ``option`` is the decorator.

    Args:
        declarations: ``"--tag", "-t"``.
        kind: ``string``, ``bool``, ``int``, ``duration`` (seconds), ``stringArray``, ``strings``, ``stringToString``.
        default: what the command gets where the flag is absent; the kind's zero value if None.
        help: one line.
        choices: the only values allowed.
        hidden: not shown in help.
        expose: whether the callback gets it as a keyword argument.
    """
    made = Flag(declarations, kind=KINDS[kind], choices=choices, help=help, hidden=hidden, expose_value=expose)
    if default is not None:
        made.__dict__["own_default"] = default
    return made


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """Decorator: give the command below one more flag (arguments as for ``flag``)."""

    def add(function: F) -> F:
        function.__dict__.setdefault("__wasme_flags__", []).insert(0, flag(*declarations, **attributes))
        return function

    return add


class _Scope:
    """The flags a command knows: its own, its groups', and the root's."""

    params: list[click.Parameter]

    def __init__(self) -> None:
        self.inherited: list[Flag] = []
        self.help_flag = flag("--help", "-h", kind="bool", expose=False)

    def own_flags(self) -> list[Flag]:
        """Flags of this command alone."""
        return [param for param in self.params if isinstance(param, Flag)]

    def known(self) -> dict[str, Flag]:
        """Every flag that may be typed here, by each of its names."""
        flags = [*self.own_flags(), *self.inherited, self.help_flag]
        return {name: each for each in flags for name in each.opts}


class Command(_Scope, click.Command):
    """A leaf: positionals by count, flags by the original's grammar.

    Args:
        use: the usage line after ``wasme``.
        arity: how many positionals there may be.
        help: what it does; the first line stands in lists.
    """

    def __init__(self, name: str, *, use: str, arity: Arity, callback: Callable[..., Any], help: str) -> None:  # noqa: A002
        flags = callback.__dict__.pop("__wasme_flags__", [])
        positionals = click.Argument(["args"], nargs=-1, type=click.UNPROCESSED)
        click.Command.__init__(
            self, name, params=[*flags, positionals], callback=callback, help=help, add_help_option=False
        )
        _Scope.__init__(self)
        self.use = use
        self.arity = arity
        self.examples = ""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:  # noqa: ARG002
        """Own flags and inherited ones; the help flag is read before click sees anything."""
        return [*self.params, *self.inherited]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what was typed.

        Raises:
            UsageError: an unknown flag, a bad value, too many or too few positionals.
        """
        ctx.ensure_object(Invocation).context = ctx
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        flags, positionals = normalise(args, self.known())
        if "--help=true" in flags:
            show_help(ctx)
        rest = super().parse_args(ctx, [*flags, "--", *positionals])
        complaint = self.arity(positionals)
        if complaint:
            raise UsageError(complaint, hint=f"usage: wasme {self.use}")
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """Set up logging as the root's flags say, then run."""
        from wasme.cli import logs

        invocation = ctx.ensure_object(Invocation)
        logs.configure(verbose=invocation.verbose, log_format=invocation.log_format)
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help in the original's shape."""
        from wasme.cli import help as layout

        layout.command_help(self, ctx, formatter)


class Group(_Scope, click.Group):
    """Sub-commands by a table of names, imported only when one is called.

    Args:
        table: name -> (``package.module:object``, one-line summary); a summary of "" hides the command.
        persistent: flags that every command below takes, before or after its name.
    """

    def __init__(
        self,
        name: str,
        *,
        table: Mapping[str, tuple[str, str]],
        help: str = "",  # noqa: A002
        persistent: Iterable[Flag] = (),
        own: Iterable[Flag] = (),
    ) -> None:
        click.Group.__init__(
            self, name, params=list(own), help=help, add_help_option=False, invoke_without_command=True
        )
        _Scope.__init__(self)
        self.table = table
        self.persistent = list(persistent)
        self.callback = None

    def known(self) -> dict[str, Flag]:
        """Own, persistent and inherited flags."""
        return {**{name: each for each in self.persistent for name in each.opts}, **super().known()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names that help shows, sorted."""
        return sorted(name for name, (_, summary) in self.table.items() if summary)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command; None where the table has no such name."""
        if cmd_name not in self.table:
            return None
        module, _, attribute = self.table[cmd_name][0].partition(":")
        command: Command | Group = getattr(importlib.import_module(module), attribute)
        command.inherited = [*self.persistent, *self.inherited]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the sub-command, or say what was probably meant."""
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            raise UsageError(
                f'unknown command "{args[0]}" for "{ctx.command_path}"',
                hint=close_matches(args[0], self.list_commands(ctx)) or f"run '{ctx.command_path} --help' for usage",
            )
        return args[0], command, args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the sub-command's name; everything else goes on to it."""
        invocation = ctx.ensure_object(Invocation)
        invocation.context = ctx
        at = _name_at(args, self.known())
        if at is not None:
            return super().parse_args(ctx, ["--", args[at], *args[:at], *args[at + 1 :]])
        if not ctx.resilient_parsing:
            flags, _ = normalise(args, self.known())
            if "--version=true" in flags:
                from wasme import __version__

                click.echo(f"wasme version {__version__}")
                ctx.exit()
            show_help(ctx)
        return super().parse_args(ctx, [])

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:  # noqa: ARG002
        """None for click's parser: a group's flags are read by the command below it."""
        return []

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help in the original's shape."""
        from wasme.cli import help as layout

        layout.group_help(self, ctx, formatter)


class Invocation:
    """What one run of the command line knows: the root's flags, and whose usage to print."""

    def __init__(self) -> None:
        self.context: click.Context | None = None
        self.verbose = False
        self.log_format = "auto"


def command(
    name: str,
    *,
    use: str,
    args: Arity,
    help: str,  # noqa: A002
    examples: str = "",
) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: make a command of a function.

    The function gets ``args`` (the positionals, a tuple of strings) and one keyword for each flag.
    """

    def make(function: Callable[..., Any]) -> Command:
        made = Command(name, use=use, arity=args, callback=function, help=help)
        made.examples = examples
        return made

    return make


group = Group


def normalise(args: Sequence[str], known: Mapping[str, Flag]) -> tuple[list[str], list[str]]:
    """Split what was typed into ``--name=value`` words and positionals.

    Args:
        args: as typed.
        known: flags by ``--name`` and ``-n``.

    Raises:
        UsageError: an unknown flag, or one that lacks its value.
    """
    flags: list[str] = []
    positionals: list[str] = []
    words = iter(args)
    for word in words:
        if word == "--":
            positionals.extend(words)
        elif word.startswith("--"):
            name, has_value, value = word.partition("=")
            found = known.get(name)
            if found is None:
                longs = [each for each in known if each.startswith("--")]
                raise UsageError(f"unknown flag: {name}", hint=close_matches(name, longs))
            if not has_value:
                value = _value_after(found, words, found.long)
            flags.append(f"{found.long}={value}")
        elif word.startswith("-") and word != "-":
            flags.extend(_shorthands(word, words, known))
        else:
            positionals.append(word)
    return flags, positionals


def _shorthands(word: str, words: Iterable[str], known: Mapping[str, Flag]) -> Iterable[str]:
    """``-v``, ``-vd``, ``-tname``, ``-t=name``, ``-t name``."""
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        found = known.get("-" + letter)
        if found is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}")
        if rest.startswith("="):
            value, rest = rest[1:], ""
        elif found.kind.is_switch:
            value = "true"
        elif rest:
            value, rest = rest, ""
        else:
            value = _value_after(found, words, f"'{letter}' in {word}")
        yield f"{found.long}={value}"


def _value_after(found: Flag, words: Iterable[str], label: str) -> str:
    if found.kind.is_switch:
        return "true"
    for value in words:
        return value
    raise UsageError(f"flag needs an argument: {label}")


def _name_at(args: Sequence[str], known: Mapping[str, Flag]) -> int | None:
    """Where the sub-command's name stands; None if there is none."""
    skip = False
    for index, word in enumerate(args):
        if skip:
            skip = False
        elif word == "--":
            return None
        elif not word.startswith("-") or word == "-":
            return index
        elif "=" not in word:
            name = word if word.startswith("--") else "-" + word[-1]
            attached = not word.startswith("--") and len(word) > 2 and name not in known
            skip = not attached and not (name in known and known[name].kind.is_switch)
    return None


def close_matches(word: str, possible: Iterable[str]) -> str | None:
    """``Did you mean …?`` for a mistyped word, or None."""
    from difflib import get_close_matches

    matches = get_close_matches(word, list(possible), n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(matches)}?" if matches else None


def show_help(ctx: click.Context) -> None:
    """Print a command's help on stdout and end with success."""
    click.echo(ctx.get_help())
    ctx.exit()
