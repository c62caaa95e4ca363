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
from pathlib import Path, PurePosixPath
from typing import Any

from wasme.build.assemblyscript import dependencies
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
_LOADING = ("--transform", "--config")


def reads(source: Path) -> Inputs | None:
    """What the module of this project depends on; None where that cannot be told.

    Args:
        source: the project's folder.
    """
    try:
        manifest = dependencies.package(source)
        if not dependencies.are_pinned(source):
            return None
        libraries = _libraries(Path(os.path.normpath(source)))
        if libraries is None or not _is_plain_config(source / "asconfig.json"):
            return None
        compiled = [_content(source / "node_modules" / name) for name in libraries]
    except (InputError, OSError):
        return None  # the build says what is wrong
    scripts = manifest.get("scripts")
    taken = Path(os.environ.get("NPM_OUTPUT") or OUTPUT)
    if not isinstance(scripts, dict) or _AT_INSTALL & scripts.keys() or taken.parts[:1] != (_OUTPUT_FOLDER,):
        return None
    if not _are_plain(scripts):
        return None
    flags = [f"{name}={os.environ[name]}" for name in _VARIABLES if os.environ.get(name)]
    return Inputs(roots=(source,), skip=_NOT_ENTERED, tools=("npm", *flags, *compiled))


def _libraries(source: Path) -> list[str] | None:
    """The packages that the project's sources import; None where a source is not among those that count."""
    found: set[str] = set()
    for file in _sources(source):
        if file.is_dir():
            return None
        for name in _IMPORT.findall(file.read_bytes()):
            word = os.fsdecode(name)
            if not word.startswith((".", "/")):
                found.add("/".join(word.split("/")[: 2 if word.startswith("@") else 1]))
            elif not _counts(source, Path(os.path.normpath(file.parent / word))):
                return None
    return sorted(found)


def _content(library: Path) -> str:
    """A digest of a library's AssemblyScript, which is compiled with the project's own; "" where it is not installed.

    The lock file says which it is, but whoever changes it in node_modules wants to see that.
    """
    if not library.is_dir():
        return ""
    whole = hashlib.sha256()
    for file in sorted(_sources(library)):
        if file.is_file():
            whole.update(os.fsencode(file.relative_to(library)) + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _are_plain(scripts: Mapping[str, Any]) -> bool:
    """Whether the script, and all that npm runs with it, only calls the compiler."""
    waiting, seen = [SCRIPT], {SCRIPT}
    while waiting:
        name = waiting.pop()
        command = scripts.get(name)
        if not isinstance(command, str) or _SHELL.search(command):
            return False
        called = [f"{when}{name}" for when in ("pre", "post") if f"{when}{name}" in scripts]
        for part in command.split("&&"):
            try:
                words = shlex.split(part)
            except ValueError:
                return False
            if words[:2] == ["npm", "run"] and len(words) == 3:
                called.append(words[2])
            elif words[:1] != ["asc"] or not all(map(_is_own, words[1:])):
                return False
        waiting += [each for each in called if each not in seen]
        seen.update(called)
    return True


def _is_own(word: str) -> bool:
    """Whether an argument of the compiler names no source outside the project, and no code for the compiler itself."""
    path = PurePosixPath(word.rpartition("=")[2])
    is_counted = path.suffix != ".ts" or not _NOT_ENTERED.intersection(path.parts)
    return is_counted and not path.is_absolute() and ".." not in path.parts and not word.startswith(_LOADING)


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


def _counts(folder: Path, path: Path) -> bool:
    """Whether a path is in the folder, and not in what is not entered there."""
    return path.is_relative_to(folder) and not _NOT_ENTERED.intersection(path.relative_to(folder).parts)
