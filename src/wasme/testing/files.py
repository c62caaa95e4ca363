"""Finding and reading scenario files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wasme.errors import InputError
from wasme.testing.grammar import parse
from wasme.testing.scenario import Scenario

SUFFIX = ".test.yaml"
_PASSED_OVER = frozenset({"node_modules", "target", "build", "__pycache__"})


def find(paths: Iterable[Path]) -> list[Path]:
    """The scenario files that are meant: files as they are, of folders all ``*.test.yaml`` in and below them.

    Folders that hold what was built or fetched, and hidden ones, are passed over.

    Raises:
        InputError: there is no such file or folder, or there are none in one.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(_inside(path))
            if not inside:
                raise InputError(f"there is no *{SUFFIX} in {path} or below", hint="`wasme init` writes one")
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise InputError(f"there is no file {path}", hint=f"name a *{SUFFIX}, or a folder with some")
    return list(found)


def read(path: Path) -> Scenario:
    """Read a file.

    Raises:
        InvalidScenario: there is a mistake in it.
        InputError: it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    return parse(content, str(path))


def _inside(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _PASSED_OVER and not name.startswith(".")]
        yield from (Path(base, name) for name in names if name.endswith(SUFFIX))
