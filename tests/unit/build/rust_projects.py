"""Projects and compilers for the tests of the Rust toolchain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasme.build.rust import cargo
from wasme.build.rust.cargo import Cargo

T = cargo.TARGET
MANIFEST = '[package]\nname = "filter"\nversion = "0.1.0"\n[lib]\ncrate-type = ["cdylib"]\n'


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """None of the machine's own settings."""
    for name in [*os.environ]:
        if name.startswith(("CARGO_", "RUST")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CARGO_HOME", str(tmp_path / "cargo-home"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text(MANIFEST)
    (folder / "src" / "lib.rs").write_text("")
    return folder


def configure(folder: Path, text: str, name: str = "config.toml") -> None:
    (folder / ".cargo").mkdir(exist_ok=True)
    (folder / ".cargo" / name).write_text(text)


def toolchain(folder: Path, release: str, *libraries: str, sources: bool = False) -> Cargo:
    """A rustc's folder of libraries, as they are installed."""
    for target in libraries:
        (folder / "lib/rustlib" / target / "lib").mkdir(parents=True)
        (folder / "lib/rustlib" / target / "lib" / "libstd-0123456789abcdef.rlib").touch()
    if sources:
        (folder / "lib/rustlib/src/rust/library/std").mkdir(parents=True)
        (folder / "lib/rustlib/src/rust/library/std/Cargo.toml").touch()
    return Cargo(folder / "bin/cargo", folder / "bin/rustc", release, "", "x86_64-unknown-linux-gnu", folder)


def program(folder: Path, name: str, says: str = "", status: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\ncat <<'X'\n{says}\nX\nexit {status}\n")
    path.chmod(0o755)
    return path
