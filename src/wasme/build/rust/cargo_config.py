"""What cargo is told besides Cargo.toml: its configuration files, and the variables that stand for them.

Cargo reads ``.cargo/config.toml`` of the project's folder and of every folder above it, then its own; the nearest word
counts, and lists are joined (https://doc.rust-lang.org/cargo/reference/config.html).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NAMES = ("config", "config.toml")  # cargo takes the first where both are there


def home() -> Path:
    """Cargo's folder: its settings, its programs, the crates it has fetched."""
    return Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")


def files(source: Path) -> tuple[Path, ...]:
    """Where configuration for a project can stand, the nearest first; whether or not it does."""
    folders = [folder / ".cargo" for folder in (source, *source.parents)]
    own = home()
    return tuple(folder / name for folder in (*folders, own) if folder != own or folder is own for name in _NAMES)


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one project.

    Attributes:
        tables: what the files hold, the nearest first.
    """

    tables: tuple[dict[str, Any], ...]

    def first(self, *path: str) -> Any:
        """The nearest value under this path, such as ``("build", "target")``; the environment's before all."""
        return next(iter(self._values(path)), None)

    def words(self, *path: str) -> list[str]:
        """A list of words under this path: of all files, the nearest last."""
        found: list[str] = []
        for value in reversed(self._values(path)):
            found += value.split() if isinstance(value, str) else [each for each in value if isinstance(each, str)]
        return found

    def target(self) -> str:
        """The target that the project is compiled for, or ""."""
        wanted = self.first("build", "target")
        if isinstance(wanted, list):
            wanted = next((each for each in wanted if str(each).startswith("wasm32")), "")
        return wanted if isinstance(wanted, str) else ""

    def linker(self, target: str) -> str:
        """The linker that the user has named for a target, or ""."""
        named = self.first("target", target, "linker")
        return named if isinstance(named, str) else ""

    def with_flags(self, target: str, ours: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
        """How cargo is told flags for rustc, beside those that the user has set.

        Cargo takes flags from one place only, the first of: the environment, the target's, all builds'.

        Returns:
            Arguments for cargo, and variables for its environment (None: to be taken away).
        """
        encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS")
        plain = os.environ.get("RUSTFLAGS")
        if encoded is not None or plain is not None:
            theirs = plain.split() if encoded is None and plain is not None else (encoded or "").split("\x1f")
            flags = [each for each in (*theirs, *ours) if each]
            return [], {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags), "RUSTFLAGS": None}
        theirs = [] if self.words("target", target, "rustflags") else self.words("build", "rustflags")
        value = json.dumps([*theirs, *ours], ensure_ascii=False)
        return ["--config", f"target.{target}.rustflags={value}"], {}

    def _values(self, path: tuple[str, ...]) -> list[Any]:
        variable = "_".join(("cargo", *path)).upper().replace("-", "_")
        found: list[Any] = [os.environ[variable]] if variable in os.environ else []
        for table in self.tables:
            value: Any = table
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            if isinstance(value, str | list):
                found.append(value)
        return found


def load(source: Path) -> Config:
    """Read a project's configuration; a file that is not TOML is left to cargo to complain of."""
    import tomllib

    tables = []
    seen: set[Path] = set()
    for file in files(source):
        if file.parent in seen:
            continue
        try:
            tables.append(tomllib.loads(file.read_text("utf-8")))
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            pass
        seen.add(file.parent)
    return Config(tuple(tables))
