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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wasme.cli.flags import Flag, close_matches, flag, option
from wasme.cli.words import name_at, normalise
from wasme.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "Command", "Flag", "Group", "Invocation", "at_least", "at_most", "close_matches", "command", "exactly", "flag",
    "group", "normalise", "option", "stored_images",
]  # fmt: skip

Completer = Callable[[], Iterable[str]]
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


class _Scope:
    """The flags a command knows: its own, its groups', and the root's."""

    params: list[click.Parameter]

    def __init__(self, name: str) -> None:
        self.inherited: list[Flag] = []
        self.help_flag = flag("--help", "-h", kind="bool", help=f"help for {name}", expose=False)

    def own_flags(self) -> list[Flag]:
        """Flags of this command alone."""
        return [param for param in self.params if isinstance(param, Flag)]

    def known(self) -> dict[str, Flag]:
        """Every flag that may be typed here, by each of its names."""
        flags = [*self.own_flags(), *self.inherited, self.help_flag]
        return {name: each for each in flags for name in each.opts}

    def flag_names(self, incomplete: str) -> list[CompletionItem]:
        """The flags that begin so, for a shell."""
        from click.shell_completion import CompletionItem

        if not incomplete.startswith("-"):
            return []
        known = sorted(self.known().items())
        return [CompletionItem(name, help=each.help) for name, each in known if name.startswith(incomplete)]


class Positionals(click.Argument):
    """All positionals of a command; ``complete`` offers what may stand there."""

    def __init__(self, complete: Completer | None) -> None:
        super().__init__(["args"], nargs=-1, type=click.UNPROCESSED)
        self._complete = complete

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """What begins so; file names where nothing is known."""
        from click.shell_completion import CompletionItem

        if self._complete is None:
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(value) for value in self._complete() if value.startswith(incomplete)]


class Command(_Scope, click.Command):
    """A leaf: positionals by count, flags by the original's grammar.

    Args:
        use: the usage line after ``wasme``.
        arity: how many positionals there may be.
        help: what it does; the first line stands in lists.
        complete: what a shell may offer as a positional; file names if None.
    """

    def __init__(
        self,
        name: str,
        *,
        use: str,
        arity: Arity,
        callback: Callable[..., Any],
        help: str,  # noqa: A002
        complete: Completer | None = None,
    ) -> None:
        params = [*callback.__dict__.pop("__wasme_flags__", []), Positionals(complete)]
        click.Command.__init__(self, name, params=params, callback=callback, help=help, add_help_option=False)
        _Scope.__init__(self, name)
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
            raise UsageError(complaint, hint=f"usage: wasme {self.use}{self._meant(ctx, positionals)}")
        return rest

    def _meant(self, ctx: click.Context, positionals: Sequence[str]) -> str:
        """Where this name stands alone and is a path's too, how the path is written."""
        above = ctx.parent
        takes_paths = above is not None and isinstance(above.command, Group) and above.command.fallback
        if positionals or above is None or not takes_paths or not Path(str(self.name)).exists():
            return ""
        return f"; for what lies here under that name: {above.command_path} ./{self.name}"

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002
        """Flags, where one has been begun."""
        return self.flag_names(incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Set up logging as the root's flags say, then run."""
        from wasme.cli import logs

        invocation = ctx.ensure_object(Invocation)
        logs.configure(verbose=invocation.verbose, log_format=invocation.log_format)
        return super().invoke(ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Help in the original's shape."""
        from wasme.cli.help import prose

        formatter.write(prose(self.help) + self.usage(ctx))

    def usage(self, ctx: click.Context) -> str:  # noqa: ARG002
        """Usage line, examples, flags."""
        from wasme.cli.help import leaf_usage

        return leaf_usage(self.use, self.examples, [*self.own_flags(), self.help_flag], self.inherited)

    def short_usage(self, ctx: click.Context) -> str:
        """After a wrong call: the usage line, and where the flags are told."""
        return f"Usage:\n  wasme {self.use} [flags]\n\nRun '{ctx.command_path.rstrip()} --help' for its flags."


class Group(_Scope, click.Group):
    """Sub-commands by a table of names, imported only when one is called.

    Args:
        table: name -> (``package.module:object``, one-line summary); a summary of "" hides the command.
        persistent: flags that every command below takes, before or after its name.
        fallback: the command of the table, hidden there, that takes a word which is no command's name but a path; ""
            where such a word is an error.
    """

    def __init__(
        self,
        name: str,
        *,
        table: Mapping[str, tuple[str, str]],
        help: str = "",  # noqa: A002
        persistent: Iterable[Flag] = (),
        own: Iterable[Flag] = (),
        fallback: str = "",
    ) -> None:
        click.Group.__init__(
            self, name, params=list(own), help=help, add_help_option=False, invoke_without_command=True
        )
        _Scope.__init__(self, name)
        self.table = table
        self.fallback = fallback
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
        command = self.get_command(ctx, args[0]) if args[0] != self.fallback else None
        if command is None and self.fallback and _is_path(args[0]):
            word, rest = args[0], args[1:]
            at = rest.index("--") if "--" in rest else len(rest)
            return word, self.get_command(ctx, self.fallback), [*rest[:at], "--", word, *rest[at + 1 :]]
        if command is None and not ctx.resilient_parsing:
            names = self.list_commands(ctx)
            told = f'unknown command "{args[0]}" for "{ctx.command_path}"'
            if self.fallback:
                told = f"there is no folder or file {args[0]}, and no such command of {ctx.command_path}: they are "
                told += ", ".join(names)
            raise UsageError(
                told,
                hint=close_matches(args[0], names) or f"run '{ctx.command_path} --help' for usage",
            )
        return args[0], command, args[1:]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the sub-command's name; everything else goes on to it."""
        invocation = ctx.ensure_object(Invocation)
        invocation.context = ctx
        at = name_at(args, self.known())
        if at is None and self.fallback and "--" in args[:-1]:
            at = args.index("--") + 1
            return super().parse_args(ctx, ["--", args[at], *args[: at - 1], "--", *args[at + 1 :]])
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
        from wasme.cli.help import prose

        formatter.write(prose(self.help) + self.usage(ctx))

    def usage(self, ctx: click.Context) -> str:
        """Usage line, sub-commands, flags."""
        from wasme.cli.help import group_usage

        rows = [(name, self.table[name][1]) for name in self.list_commands(ctx)]
        own = [*self.own_flags(), *self.persistent, self.help_flag]
        fallback = self.get_command(ctx, self.fallback)
        use = ""
        if isinstance(fallback, Command):
            use = fallback.use
            own += fallback.own_flags()
        return group_usage(ctx.command_path, rows, own, self.inherited, use)

    def short_usage(self, ctx: click.Context) -> str:
        """After a wrong call: the whole, for the sub-commands are what was probably looked for.

        Where a path may stand in their place, it may as well be that, and the error names them.
        """
        fallback = self.get_command(ctx, self.fallback)
        return fallback.short_usage(ctx) if isinstance(fallback, Command) else self.usage(ctx)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Sub-commands, or flags where one has been begun; no command is imported for it."""
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        words = [CompletionItem(name, help=self.table[name][1]) for name in names] or self.flag_names(incomplete)
        return words or ([CompletionItem(incomplete, type="file")] if self.fallback else [])


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
    complete: Completer | None = None,
) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: make a command of a function.

    The function gets ``args`` (the positionals, a tuple of strings) and one keyword for each flag.
    """

    def make(function: Callable[..., Any]) -> Command:
        made = Command(name, use=use, arity=args, callback=function, help=help, complete=complete)
        made.examples = examples
        return made

    return make


group = Group


def stored_images() -> Iterable[str]:
    """A ``complete`` for commands that take images of the local store."""
    from wasme.cli.stores import names

    return names()


def _is_path(word: str) -> bool:
    """Whether a word that is no command means a place on the disk, there or not."""
    return "/" in word or "." in word or Path(word).exists()


def show_help(ctx: click.Context) -> None:
    """Print a command's help on stdout and end with success."""
    click.echo(ctx.get_help())
    ctx.exit()
