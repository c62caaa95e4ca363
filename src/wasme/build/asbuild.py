"""What the script ``asbuild`` makes its module of, told without running anything.

The compiler is whatever the lock file names: a build brings node_modules to that before it compiles, so the lock file
stands for it. A project whose scripts do more than call ``asc``, or that reads files beside its own folder, is one of
which that cannot be told; it is compiled each time.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wasme.build import dependencies
from wasme.build.toolchain import Inputs
from wasme.errors import InputError

SCRIPT = "asbuild"
OUTPUT = "build/optimized.wasm"
_OUTPUT_FOLDER = "build"
_NOT_ENTERED = frozenset({_OUTPUT_FOLDER, "node_modules", ".git"})
# Variables that reach the compiler, or say which file it is that we take.
_VARIABLES = ("NPM_OUTPUT", "NODE_OPTIONS")
# npm runs these when it installs; they may write sources.
_AT_INSTALL = frozenset({"preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare"})
# Anything by which a shell would do more than run a program with these words.
_SHELL = re.compile(r"[;|<>$`*?(){}\[\]!~#\\\n]|(?<!&)&(?!&)")
_IMPORT = re.compile(rb"""\b(?:from|import)\s*["']([^"'\n]+)["']""")
_SETTINGS = re.compile(rb'"(?:extends|transform)"|"\.\./|"/')


def reads(source: Path) -> Inputs | None:
    """What the module of this project depends on; None where that cannot be told.

    Args:
        source: the project's folder.
    """
    try:
        manifest = dependencies.package(source)
        if not dependencies.are_pinned(source):
            return None
    except InputError:
        return None  # the build says what is wrong
    scripts = manifest.get("scripts")
    taken = Path(os.environ.get("NPM_OUTPUT") or OUTPUT)
    if not isinstance(scripts, dict) or _AT_INSTALL & scripts.keys() or taken.parts[:1] != (_OUTPUT_FOLDER,):
        return None
    if not _is_plain(scripts, SCRIPT, ()) or not _is_plain_config(source / "asconfig.json"):
        return None
    libraries: set[str] = set()
    for file in _sources(source):
        if file.is_dir():
            return None
        for name in _IMPORT.findall(file.read_bytes()):
            word = os.fsdecode(name)
            if not word.startswith((".", "/")):
                libraries.add(_package(word))
            elif not _is_inside(source, file.parent / word):
                return None
    flags = tuple(f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name))
    compiled = tuple(_content(source / "node_modules" / name) for name in sorted(libraries))
    return Inputs(roots=(source,), skip=_NOT_ENTERED, tools=("npm", *flags, *compiled))


def _content(library: Path) -> str:
    """A digest of a library's AssemblyScript, which is compiled with the project's own; "" where it is not installed.

    The lock file says which it is, but whoever changes it in node_modules wants to see that.
    """
    if not library.is_dir():
        return ""
    whole = hashlib.sha256()
    for file in sorted(_sources(library)):
        if file.is_file():
            whole.update(f"{file.relative_to(library)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _is_plain(scripts: Mapping[str, Any], name: str, within: tuple[str, ...]) -> bool:
    """Whether a script, with those before and behind it, only calls the compiler."""
    if name in within:
        return False
    command = scripts.get(name)
    if not isinstance(command, str) or _SHELL.search(command):
        return False
    around = [f"{when}{name}" for when in ("pre", "post") if f"{when}{name}" in scripts]
    if not all(_is_plain(scripts, each, (*within, name)) for each in around):
        return False
    for part in command.split("&&"):
        try:
            words = shlex.split(part)
        except ValueError:
            return False
        if words[:2] == ["npm", "run"] and len(words) == 3:
            if not _is_plain(scripts, words[2], (*within, name)):
                return False
        elif words[:1] != ["asc"] or not all(map(_is_own, words[1:])):
            return False
    return True


def _is_own(word: str) -> bool:
    """Whether an argument of the compiler names nothing outside the project, and no code to run inside the compiler."""
    value = word.rpartition("=")[2]
    return not value.startswith("/") and ".." not in value.split("/") and not word.startswith("--transform")


def _is_plain_config(path: Path) -> bool:
    """As ``_is_own``, for the file of options that the compiler looks for."""
    return not path.is_file() or not _SETTINGS.search(path.read_bytes())


def _sources(folder: Path) -> Iterator[Path]:
    """The project's own AssemblyScript, and links to folders of it, which may lead anywhere."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _NOT_ENTERED:
                    yield from _sources(Path(entry.path))
            elif entry.name.endswith(".ts") or (entry.name not in _NOT_ENTERED and entry.is_dir()):
                yield Path(entry.path)


def _is_inside(folder: Path, path: Path) -> bool:
    return os.path.normpath(path).startswith(f"{folder}{os.sep}")


def _package(name: str) -> str:
    """``@scope/name`` or ``name`` of a path in a package."""
    return "/".join(name.split("/")[: 2 if name.startswith("@") else 1])
