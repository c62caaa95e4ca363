"""Help texts in the original's shape: what it is, usage, commands, flags, global flags."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from wasme.cli.flags import Flag
from wasme.cli.terminal import heading, width
from wasme.deploy.cache.telling import go_duration


def prose(text: str | None) -> str:
    """What a command is, above its usage."""
    return f"{textwrap.dedent(text or '').strip()}\n\n"


def leaf_usage(use: str, examples: str, own: Sequence[Flag], inherited: Sequence[Flag]) -> str:
    """Usage line, examples and flags of one command.

    Args:
        use: the usage line after ``wasme``.
        examples: as in the source, indented or not; "" for none.
        own: its own flags, with the help flag.
        inherited: those of its groups and the root.
    """
    parts = [f"{heading('Usage:')}\n  wasme {use} [flags]\n"]
    if examples:
        parts.append(f"{heading('Examples:')}\n{textwrap.indent(textwrap.dedent(examples).strip(), '  ')}\n")
    return _joined(parts, own, inherited)


def group_usage(
    path: str, rows: Sequence[tuple[str, str]], own: Sequence[Flag], inherited: Sequence[Flag], use: str = ""
) -> str:
    """Usage line, sub-commands and flags of a group.

    Args:
        path: the group as typed, such as ``wasme build``.
        rows: names and summaries of its sub-commands.
        own: its own and persistent flags, with the help flag.
        inherited: those of the groups above it.
        use: the usage line of what the group does without a sub-command's name; "" if nothing.
    """
    column = max([len(name) for name, _ in rows], default=0)
    listed = "".join(f"  {name:<{column}} {summary}\n" for name, summary in rows)
    uses = "".join(f"  {line}\n" for line in ([f"wasme {use} [flags]"] if use else []) + [f"{path} [command]"])
    parts = [f"{heading('Usage:')}\n{uses}", f"{heading('Available Commands:')}\n{listed}"]
    text = _joined(parts, own, inherited)
    return f'{text}\nUse "{path} [command] --help" for more information about a command.\n'


def _joined(parts: list[str], own: Sequence[Flag], inherited: Sequence[Flag]) -> str:
    blocks = [*parts, _flags("Flags:", own), _flags("Global Flags:", inherited)]
    return "\n".join(block for block in blocks if block)


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
    shown = "true" if value is True else value
    return f' (default "{value}")' if flag.kind.name == "string" else f" (default {shown})"
