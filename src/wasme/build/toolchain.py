"""What a language's toolchain does for a build, and what it tells of itself without being run.

This module stands on the way of every build, also of one that has nothing to do, so it imports nothing that costs time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Tell = Callable[[str], None]
"""Hears what is going on: one line of a program's output, or the name of a step."""

_BUILT = frozenset({"target", "build", "node_modules", ".git"})


def _nobody(*_words: str) -> None:
    return


@dataclass(frozen=True, slots=True)
class Listener:
    """Who watches a build.

    Attributes:
        step: hears each step's name when it begins, for a progress line, and "" when the last is over.
        noise: hears every line of every program, as it comes; for ``--verbose``.
        warning: hears what a compiler that succeeded had to say.
        remark: hears what is to be said of the project, and what to do about it; a build that takes the module compiled
            before says it again.
    """

    step: Tell = _nobody
    noise: Tell = _nobody
    warning: Tell = _nobody
    remark: Callable[[str, str], None] = _nobody


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a module depends on, as far as it can be told without running a program.

    wasme's own version, the optimiser and the builder come on top, by the caller.

    Attributes:
        roots: files and folders, absolute; every file's content counts, and its path relative to the root that holds
            it. One that is not there counts as not there.
        skip: names of folders that are not entered, at any depth: what a build writes, what versions are kept in.
        tools: who makes the module: each program as ``identity`` names it, and every flag and variable of the
            environment that the result may depend on.
    """

    roots: tuple[Path, ...]
    skip: frozenset[str] = _BUILT
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A program that is here.

    Attributes:
        path: where.
        version: "" where it does not say, or not in time.
        note: what else is worth knowing, such as that it is a wheel's, or too old.
        usable: whether it can do what it is for.
        remedy: what to do about one that cannot; "" for what the tool's own ``how`` says.
    """

    path: str
    version: str
    note: str = ""
    usable: bool = True
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """One program for ``wasme doctor``.

    Attributes:
        name: what it is called, such as ``cargo``.
        purpose: what wasme needs it for, such as ``build rust: the compiler``.
        how: how to get it on this machine.
        probe: looks for it; may run it, in a thread of its own (``wasme.build.tools`` has what most need).
        choice: what it is one of several ways to do, such as ``cpp``: of the tools with the same ``choice`` a build
            takes the first that is usable; "" where it is needed whatever else is here.
    """

    name: str
    purpose: str
    how: str
    probe: Callable[[], Found | None]
    choice: str = ""


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

    def inputs(self, source: Path) -> Inputs | None:
        """What ``compile`` would read; None where that cannot be told cheaply, so that it compiles each time.

        Runs no program and imports nothing slow: a build of unchanged sources is over in less than 90 ms.
        A toolchain that is not on this machine is no error here: None, or whatever is known.
        """
        ...

    def tools(self) -> tuple[Tool, ...]:
        """The programs it looks for, in the order in which it takes them."""
        ...


def identity(program: str | Path) -> str:
    """A program's name for ``Inputs.tools``, without running it: its real path, size and time; "" if there is none.

    Args:
        program: its path.
    """
    real = os.path.realpath(program)
    try:
        seen = os.stat(real)  # noqa: PTH116 - no Path for what is asked on every build
    except OSError:
        return ""
    return f"{real} {seen.st_size} {seen.st_mtime_ns}"


def on_path(name: str, folders: str = "") -> str | None:
    """A program's path; as shutil.which, whose module takes longer to import than an unchanged build has.

    Args:
        name: the program.
        folders: where to look, in the form of PATH, which is the default.
    """
    for folder in (folders or os.environ.get("PATH", os.defpath)).split(os.pathsep):
        path = os.path.join(folder or os.curdir, name)  # noqa: PTH118 - asked dozens of times for one compiler
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112
            return path
    return None


def cache_folder(name: str) -> Path:
    """A folder for what can be made again, under $XDG_CACHE_HOME/wasme or ~/.cache/wasme; made if it is not there.

    Args:
        name: whose cache, such as ``zig``.

    Raises:
        StoreError: it cannot be made.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(chosen) if chosen.startswith("/") else Path.home() / ".cache"  # a relative one is to be ignored
    folder = base / "wasme" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from wasme.errors import StoreError

        raise StoreError(
            f"cannot make the cache folder {folder}: {error.strerror}",
            hint="name a folder that can be written with XDG_CACHE_HOME",
        ) from None
    return folder
