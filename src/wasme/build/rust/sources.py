"""What a Rust project's sources read besides themselves, told without a compiler.

Text that only looks like such a macro or attribute counts too: then a project is compiled once more than it had to be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# The environment; but cargo takes these variables from Cargo.toml.
_ENVIRONMENT = re.compile(
    rb"\b(?:option_)?env\s*!(?!\s*[(\[{]\s*"
    rb'"CARGO_(?:CRATE_NAME|PKG_(?:NAME|VERSION(?:_MAJOR|_MINOR|_PATCH|_PRE)?|AUTHORS|DESCRIPTION|HOMEPAGE'
    rb'|REPOSITORY|LICENSE|LICENSE_FILE|RUST_VERSION|README))")'
)
_LITERAL = rb'(?:"([^"\\\n]*)"\s*[,)\]}])?'
_READS = re.compile(rb"\b(include|include_str|include_bytes)\s*!\s*[(\[{]?\s*" + _LITERAL)
_MODULE = re.compile(rb'(\blet\s+(?:mut\s+)?)?\bpath\s*=\s*(?=r?#*")' + _LITERAL)
_RENAMED = re.compile(rb"\b(?:include|include_str|include_bytes|env|option_env)\s+as\s")


def depend_on_more(source: Path, skip: frozenset[str]) -> bool:
    """Whether something could count that does not lie in the project's folder, or that is passed over there.

    That is: a build script, a workspace around the project, crates or files elsewhere, the environment.

    Args:
        source: the project's folder.
        skip: names of folders in it that are passed over.
    """
    if any((above / "Cargo.toml").is_file() for above in source.parents):
        return True  # a workspace, maybe: its profile and lock file would be there
    seen = _Seen(source, skip)
    try:
        for at, folders, files in os.walk(source):
            folder = Path(at)
            if folder != source and "target" in folders and not _is_cargos(folder / "target"):
                return True  # a module of this name, which would not be looked at
            folders[:] = [each for each in folders if each not in skip]
            for name in files:
                if name == "build.rs" or (name == "Cargo.toml" and _manifest_leads_out(folder, seen)):
                    return True
                if name.endswith(".rs") and _text_leads_out((folder / name).read_bytes(), folder, seen):
                    return True
    except (OSError, ValueError):
        return True
    return False


class _Seen:
    """Which paths are looked at.

    Args:
        source: the project's folder.
        skip: names of folders in it that are passed over.
    """

    def __init__(self, source: Path, skip: frozenset[str]) -> None:
        self._real = os.path.realpath(source)
        self._skip = skip

    def holds(self, path: Path) -> bool:
        """Whether a change of it would be seen; not all file systems tell ``Target`` from ``target``."""
        real = os.path.realpath(path)
        inside = real == self._real or real.startswith(self._real.rstrip("/") + "/")
        return inside and not self._skip.intersection(real[len(self._real) :].lower().split("/"))


def _text_leads_out(text: bytes, folder: Path, seen: _Seen) -> bool:
    if _ENVIRONMENT.search(text) or _RENAMED.search(text):
        return True
    read = [(each[1] == b"include", each[2]) for each in _READS.finditer(text)]
    read += [(True, each[2]) for each in _module_paths(text)]
    for is_source, literal in read:
        if literal is None:
            return True  # something that the compiler puts together
        path = folder / os.fsdecode(literal)
        # A source by another name would have to be looked into as well.
        if not seen.holds(path) or (is_source and path.suffix != ".rs"):
            return True
    return False


def _module_paths(text: bytes) -> Iterator[re.Match[bytes]]:
    """The attributes that say where a module lies, not the variables of that name."""
    return (each for each in _MODULE.finditer(text) if not each[1])


def _is_cargos(folder: Path) -> bool:
    return (folder / "CACHEDIR.TAG").is_file()


def _manifest_leads_out(folder: Path, seen: _Seen) -> bool:
    """Whether a Cargo.toml names a path that is not looked at, or names its build script."""
    import tomllib

    try:
        manifest = tomllib.loads((folder / "Cargo.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return True  # cargo says what is wrong
    if manifest.get("package", {}).get("build"):
        return True
    return any(not seen.holds(folder / path) for path in _paths(manifest))


def _paths(value: Any) -> Iterator[str]:
    """Every ``path`` in a table, at any depth."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name == "path" and isinstance(each, str):
                yield each
            else:
                yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)
