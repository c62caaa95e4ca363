"""What a language's toolchain does for a build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Tell = Callable[[str], None]
"""Hears what is going on: one line of a program's output, or the name of a step."""


def _nobody(_line: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Listener:
    """Who watches a build.

    Attributes:
        step: hears each step's name when it begins, for a progress line, and "" when the last is over.
        noise: hears every line of every program, as it comes; for ``--verbose``.
        warning: hears what a compiler that succeeded had to say.
    """

    step: Tell = _nobody
    noise: Tell = _nobody
    warning: Tell = _nobody


class Toolchain(Protocol):
    """Makes a module of a source folder."""

    @property
    def language(self) -> str:
        """The language's name, as ``init`` and ``build`` know it."""
        ...

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Compile.

        Args:
            source: the project's folder.
            scratch: a folder for whatever is wanted.
            listener: who hears of it.

        Returns:
            The module's file.

        Raises:
            ToolMissing: a program is not on this machine.
            BuildFailed: a program said no.
        """
        ...
