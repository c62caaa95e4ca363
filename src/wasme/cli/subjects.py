"""What `inspect` and `validate` look at, and how both show what they found."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wasme.image.content import Source
    from wasme.image.reference import Reference
    from wasme.inspect.subject import Subject
    from wasme.wasm.finding import Finding

PLACES = {
    "file": "a file",
    "stdin": "standard input",
    "store": "in the local store",
    "folder": "in a folder",
    "registry": "at its registry",
}
_COLOURS = {"error": "31", "warning": "33", "note": "36"}


def found(word: str, store: str, connection: dict[str, Any]) -> Subject:
    """What the word names: a file, an image of the store or a folder, else of a registry, of which nothing is kept.

    ``-`` is the module on standard input.

    Args:
        connection: the flags of ``auth_options`` and ``registry_map_option``; read only if a registry is asked.
    """
    if word == "-":
        from wasme.inspect.subject import read_stream

        return read_stream(getattr(sys.stdin, "buffer", None))
    from wasme.inspect.find import find

    @contextmanager
    def repository(reference: Reference) -> Iterator[Source]:
        from wasme.cli import sessions
        from wasme.registry.repository import Repository

        with sessions.opened(**connection) as session:
            yield Repository(session, reference)

    return find(word, Path(store) if store else None, repository)


def shown(text: str) -> str:
    """Text that strangers wrote into a module or an image, fit for a terminal: one line, no control characters."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def tell(lines: list[str]) -> None:
    """Print a table; its colours too, where they are wanted in a pipe."""
    import click

    from wasme.cli.terminal import has_colour

    click.echo("\n".join(lines), color=has_colour(sys.stdout))


def tell_json(value: dict[str, Any]) -> None:
    """Print a result as JSON. (The standard library's module: a bare file needs no other, and is answered sooner.)"""
    import json

    import click

    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def severity(finding: Finding) -> str:
    """The word, coloured where there is colour, and padded."""
    from wasme.cli.terminal import has_colour

    word = f"{finding.severity:<8}"
    return f"\033[{_COLOURS[finding.severity]}m{word}\033[0m" if has_colour(sys.stdout) else word


def findings(found: tuple[Finding, ...], indent: str = "") -> list[str]:
    """Two lines for each: what is so, and what to do about it."""
    lines = []
    for each in found:
        lines.append(f"{indent}{severity(each)} {each.code}: {shown(each.text)}")
        lines.append(f"{indent}         {shown(each.hint)}")
    return lines
