"""Help texts in the original's shape: what it is, usage, commands, flags, global flags."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click

from wasme.cli.grammar import Command, Flag, Group
from wasme.cli.kinds import go_duration
from wasme.cli.terminal import heading, width


def command_help(command: Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """A leaf's help: prose, then usage."""
    formatter.write(f"{textwrap.dedent(command.help or '').strip()}\n\n")
    formatter.write(command_usage(command))
    _ = ctx


def command_usage(command: Command) -> str:
    """What is also printed after a wrong call: usage line, examples, flags."""
    parts = [f"{heading('Usage:')}\n  wasme {command.use} [flags]\n"]
    if command.examples:
        lines = textwrap.indent(textwrap.dedent(command.examples).strip(), "  ")
        parts.append(f"{heading('Examples:')}\n{lines}\n")
    help_flag = _with_help(command.help_flag, command.name or "")
    parts.append(_flags("Flags:", [*command.own_flags(), help_flag]))
    parts.append(_flags("Global Flags:", command.inherited))
    return "\n".join(part for part in parts if part)


def group_help(group: Group, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """A group's help: prose, then its commands and flags."""
    formatter.write(f"{textwrap.dedent(group.help or '').strip()}\n\n")
    formatter.write(group_usage(group, ctx))


def group_usage(group: Group, ctx: click.Context) -> str:
    """Usage line, the commands of the table, flags."""
    path = ctx.command_path
    names = group.list_commands(ctx)
    column = max([len(name) for name in names], default=0)
    parts = [f"{heading('Usage:')}\n  {path} [command]\n"]
    rows = "".join(f"  {name:<{column}} {group.table[name][1]}\n" for name in names)
    parts.append(f"{heading('Available Commands:')}\n{rows}")
    help_flag = _with_help(group.help_flag, path.rpartition(" ")[2])
    parts.append(_flags("Flags:", [*group.own_flags(), *group.persistent, help_flag]))
    parts.append(_flags("Global Flags:", group.inherited))
    parts.append(f'Use "{path} [command] --help" for more information about a command.\n')
    return "\n".join(part for part in parts if part)


def usage(ctx: click.Context) -> str:
    """The usage text of the command that was called wrongly."""
    found = ctx.command
    if isinstance(found, Group):
        return group_usage(found, ctx)
    return command_usage(found) if isinstance(found, Command) else ctx.get_usage()


def _with_help(flag: Flag, name: str) -> Flag:
    flag.help = f"help for {name}"
    return flag


def _flags(title: str, flags: Sequence[Flag]) -> str:
    """One block of flags, sorted by name, each with its type and default."""
    shown = sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.long)
    if not shown:
        return ""
    left = []
    for flag in shown:
        names = f"{flag.short}, {flag.long}" if flag.short else f"    {flag.long}"
        left.append(f"  {names} {flag.kind.name}".rstrip())
    column = max(len(text) for text in left) + 3
    lines = []
    for text, flag in zip(left, shown, strict=True):
        told = f"{flag.help or ''}{_choices(flag)}{_default(flag)}"
        room = max(width() - column, 40)
        wrapped = textwrap.wrap(told, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"{text:<{column}}{wrapped[0]}".rstrip())
        lines.extend(" " * column + line for line in wrapped[1:])
    return f"{heading(title)}\n" + "\n".join(lines) + "\n"


def _choices(flag: Flag) -> str:
    return f" [{'|'.join(flag.choices)}]" if flag.choices else ""


def _default(flag: Flag) -> str:
    value = flag.default_value
    if flag.kind.name == "stringToString":
        return " (default [])"
    if not value:
        return ""
    if flag.kind.name == "duration":
        return f" (default {go_duration(value)})"
    return f' (default "{value}")' if flag.kind.name == "string" else f" (default {value})"
