"""Which Envoy this machine has."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from wasme.errors import MissingExtra, ToolMissing

VARIABLE = "WASME_ENVOY"
EXTRA = "the extra [envoy]"
_WRAPPER = b"envoy._main"


@dataclass(frozen=True, slots=True)
class Binary:
    """An Envoy program and where it was found: ``$WASME_ENVOY``, ``PATH`` or ``the extra [envoy]``."""

    path: Path
    origin: str


def find_envoy() -> Binary:
    """``$WASME_ENVOY``, else the ``envoy`` on PATH, else the one that the extra [envoy] installs.

    The script that the extra puts on PATH only starts the program, so the program is taken instead.

    Raises:
        ToolMissing: ``$WASME_ENVOY`` names no program.
        MissingExtra: there is none.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise ToolMissing(
                f"${VARIABLE} is {named}, which is no program", hint=f"set {VARIABLE} to Envoy's path, or unset it"
            )
        return Binary(Path(found).absolute(), f"${VARIABLE}")
    on_path = shutil.which("envoy")
    if on_path is not None and not _is_wrapper(Path(on_path)):
        return Binary(Path(on_path), "PATH")
    installed = _installed()
    if installed is not None:
        return Binary(installed, EXTRA)
    if on_path is not None:
        return Binary(Path(on_path), "PATH")
    raise MissingExtra("envoy", "running Envoy (there is none on PATH)")


def is_here() -> bool:
    """Whether ``find_envoy`` would find one."""
    try:
        find_envoy()
    except (ToolMissing, MissingExtra):
        return False
    return True


def _is_wrapper(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    return head.startswith(b"#!") and _WRAPPER in head


def _installed() -> Path | None:
    """The program inside the wheel. Other distributions have a package of that name too, without it."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        path = Path(folder, "_bin", "envoy")
        if os.access(path, os.X_OK):
            return path
    return None
