"""What a Go project's go.mod says, as far as a build wants to know it: https://go.dev/ref/mod#go-mod-file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wasme.errors import InputError

NAME = "go.mod"
_VERSION = re.compile(r"(?:go)?(\d+)\.(\d+)(?:\.(\d+))?")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|=>|[^\s"`]+')

Version = tuple[int, int, int]
"""A version of Go; what follows the third number (rc1, the name of a fork) makes no difference to us."""


@dataclass(frozen=True, slots=True)
class GoMod:
    """A go.mod.

    Attributes:
        path: its own.
        needs: the version of Go that the project asks for; (0, 0, 0) where it does not say.
        requires: paths of the modules it names.
        folders: where modules lie that it replaces by a folder, absolute.
    """

    path: Path
    needs: Version
    requires: frozenset[str]
    folders: tuple[Path, ...]


def read(source: Path) -> GoMod:
    """The go.mod of the module that a folder belongs to: its own, or that of the nearest folder above.

    Args:
        source: the project's folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = next((each / NAME for each in (source, *source.parents) if (each / NAME).is_file()), None)
    if path is None:
        raise InputError(
            f"{source} has no {NAME}, so it is no Go project",
            hint="begin one with `wasme init DEST_DIRECTORY --language=tinygo`, or make its go.mod with `go mod init`",
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    needs: Version = (0, 0, 0)
    requires: set[str] = set()
    folders: list[Path] = []
    for verb, words in _directives(text):
        if verb == "go" and words:
            needs = version(words[0]) or needs
        elif verb == "require" and words:
            requires.add(words[0])
        elif verb == "replace" and "=>" in words:
            target = words[words.index("=>") + 1 :][:1]
            if target and target[0].startswith(("./", "../", "/")):
                folders.append(Path(os.path.abspath(path.parent / target[0])))  # noqa: PTH100 - no link is to be followed
    return GoMod(path, needs, frozenset(requires), tuple(folders))


def version(text: str) -> Version | None:
    """``1.24``, ``1.26.8``, ``go1.27rc1`` as numbers; None where it is none."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def told(number: Version) -> str:
    """A version as people write it."""
    return ".".join(str(part) for part in (number if number[2] else number[:2]))


def _directives(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each directive with its words, those in blocks one by one."""
    block = ""
    for line in text.splitlines():
        words = [word.strip('"`') for word in _WORD.findall(line.partition("//")[0])]
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
            else:
                yield block, words
        elif words[1:] == ["("]:
            block = words[0]
        else:
            yield words[0], words[1:]
