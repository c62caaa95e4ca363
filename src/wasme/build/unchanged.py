"""Modules compiled before, so that unchanged sources are not compiled again.

A fingerprint is one digest over all that a module depends on: every source file's path and content, the toolchain's
programs and flags, the optimiser, wasme itself. ``~/.cache/wasme/builds`` holds a small file per fingerprint, which
names the module's digest, and the modules by digest. A module is verified when it is taken; whatever is wrong with an
entry, it is as if it were not there. Files appear whole, so builds at the same time do not disturb each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wasme import __version__
from wasme.build.toolchain import Inputs, cache_folder
from wasme.errors import WasmeError

MOST_BYTES = 256 << 20
_FORM = "1"
_MOST_FILES = 20_000
_CHUNK = 1 << 20
_ABANDONED = 3600.0
# Files that a compiler's own tool brings up to date while it builds.
_LOCKS = frozenset({"Cargo.lock", "package-lock.json", "npm-shrinkwrap.json", ".package-lock.json", "go.sum"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a module was, or would be, made of.

    Attributes:
        files: digests by path, relative to its root.
        tools: programs, flags, variables.
    """

    files: Mapping[str, str]
    tools: tuple[str, ...]

    @property
    def key(self) -> str:
        """One digest over all of it."""
        whole = hashlib.sha256()
        for part in (_FORM, __version__, *self.tools, *(f"{path}\0{digest}" for path, digest in self.files.items())):
            whole.update(f"{len(part)}:{part}".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()

    def is_outcome_of(self, before: Fingerprint) -> bool:
        """Whether nothing but the tools' own doing lies between: lock files, programs that were not there yet.

        Sources that somebody changed while they were compiled made a module that belongs to neither state.
        """
        changed = {path for path, digest in self.files.items() if before.files.get(path) != digest}
        changed |= before.files.keys() - self.files.keys()
        return all(path.rpartition("/")[2] in _LOCKS for path in changed) and all(
            was in ("", now) for was, now in zip(before.tools, self.tools, strict=False)
        )


def fingerprint(inputs: Inputs, *more: str) -> Fingerprint | None:
    """Read all that a module depends on.

    Args:
        inputs: what the toolchain says of itself.
        more: whatever else counts: the language, the optimiser.

    Returns:
        None where something cannot be read, or is more than is worth reading: then it is compiled.
    """
    files: dict[str, str] = {}
    try:
        for number, root in enumerate(inputs.roots):
            for path, file in _walk(root, inputs.skip):
                files[f"{number}/{path}"] = _digest(file)
                if len(files) > _MOST_FILES:
                    return None
    except (OSError, _Unknown) as error:
        log.debug("what the module depends on cannot be told", extra={"fields": {"error": str(error)}})
        return None
    return Fingerprint(dict(sorted(files.items())), (*more, *inputs.tools))


class _Unknown(Exception):
    """Something that cannot be followed."""


def _walk(root: Path, skip: frozenset[str]) -> Iterator[tuple[str, str]]:
    """The files below a root: their path from there, and their path."""
    start = os.fspath(root)
    if not os.path.isdir(start):  # noqa: PTH112 - plain strings are twice as fast, and this is what a rebuild does
        yield "", start
        return
    real = os.path.realpath(start)
    waiting = [(start, "")]
    while waiting:
        folder, prefix = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir():
                    if entry.name in skip:
                        continue
                    if not entry.is_symlink():
                        waiting.append((entry.path, name + "/"))
                    elif not entry.name.startswith("bazel-"):  # Bazel's own, which lead to what it has built
                        target = os.path.realpath(entry.path)
                        if not (target + "/").startswith(real + "/"):
                            raise _Unknown(f"{entry.path} leads out of {start}")
                else:
                    yield name, entry.path


def _digest(path: str) -> str:
    """A file's content; "absent" for one that is not there, such as a link to nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a named pipe must not hold us up
    except FileNotFoundError:
        return "absent"
    with open(handle, "rb", buffering=0) as file:  # noqa: PTH123 - a handle, not a path
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise _Unknown(f"{path} is no file")
        found = hashlib.sha256()
        while part := file.read(_CHUNK):
            found.update(part)
    return found.hexdigest()


@dataclass(frozen=True, slots=True)
class Module:
    """A module that was compiled before.

    Attributes:
        path: where it lies; another build may take it away at any time.
        content: its bytes, verified.
        warnings: what was to be said of it, each with what to do about it.
    """

    path: Path
    content: bytes
    warnings: tuple[tuple[str, str], ...] = ()


def recall(key: str) -> Module | None:
    """The module that was made of this before.

    Args:
        key: a fingerprint's.
    """
    try:
        folder = cache_folder("builds")
        entry = folder / key
        digest, *warnings = json.loads(entry.read_bytes())
        path = folder / f"{digest}.wasm"
        content = path.read_bytes()
        found = Module(path, content, tuple((str(text), str(hint)) for text, hint in warnings))
    except (OSError, ValueError, TypeError, WasmeError):
        return None
    if hashlib.sha256(content).hexdigest() != digest:
        log.debug("a module compiled before is damaged", extra={"fields": {"path": str(path)}})
        _forget(entry, path)
        return None
    for each in (entry, path):  # what was used longest ago goes first
        with contextlib.suppress(OSError):
            os.utime(each)
    return found


def remember(key: str, content: bytes, warnings: Iterable[tuple[str, str]] = (), *, most: int = MOST_BYTES) -> None:
    """Keep a module for the next build of the same; where that cannot be, the next one compiles.

    Args:
        key: a fingerprint's.
        content: the module, which has passed the check.
        warnings: what the check said of it all the same.
        most: bytes to keep in all; what was used longest ago goes first.
    """
    from wasme.image import durable

    try:
        folder = cache_folder("builds")
        digest = hashlib.sha256(content).hexdigest()
        durable.replace(folder / f"{digest}.wasm", content)
        durable.replace(folder / key, json.dumps([digest, *warnings]).encode())
        _bound(folder, most)
    except (OSError, WasmeError) as error:
        log.debug("the module is not kept for the next build", extra={"fields": {"error": str(error)}})


def _bound(folder: Path, most: int) -> None:
    """Take away what was used longest ago, and what a killed build has left half written."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                seen = entry.stat()
                if entry.name.startswith("."):
                    if seen.st_mtime < time.time() - _ABANDONED:
                        _forget(Path(entry.path))
                else:
                    found.append((seen.st_mtime, seen.st_size, entry.path))
    kept = 0
    for _, size, path in sorted(found, reverse=True):
        kept += max(size, 4096)  # what even a small file takes of a disk
        if kept > most:
            _forget(Path(path))


def _forget(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
