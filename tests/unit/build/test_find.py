"""Which language a source is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasme.build.find import kind_of
from wasme.errors import InputError


def made(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("names", "language"),
    [
        (["package.json"], "assemblyscript"),
        (["Cargo.toml", "src/lib.rs"], "rust"),
        (["go.mod", "main.go"], "tinygo"),
        (["filter.cc"], "cpp"),
        (["filter.cpp"], "cpp"),
        (["src/filter.cxx", "README.md"], "cpp"),
        (["WORKSPACE", "BUILD", "filter.cc", "filter.proto"], "cpp"),
        (["WORKSPACE", "BUILD", "filter.rs"], "rust"),
        (["MODULE.bazel", "BUILD.bazel", "filter.rs"], "rust"),
        (["Cargo.toml", "package.json"], "rust"),
        (["package.json", "filter.cc"], "cpp"),
        (["go.mod", "main.wasm"], "tinygo"),
        (["Cargo.toml", "BUILD", "WORKSPACE"], "rust"),
    ],
)
def test_the_projects_files_tell(tmp_path: Path, names: list[str], language: str) -> None:
    """The files that a project of the language has; a package.json of some tool counts for nothing beside others."""
    assert kind_of(made(tmp_path / "p", *names)).language == language


def test_a_module(tmp_path: Path) -> None:
    """A .wasm file, a file that begins as a module, or a folder that holds one and no sources."""
    folder = made(tmp_path / "p", "filter.wasm", "README.md")
    (tmp_path / "any").write_bytes(b"\0asm\1\0\0\0")
    assert kind_of(folder).file == folder / "filter.wasm"
    assert kind_of(folder / "filter.wasm").language == "precompiled"
    assert kind_of(tmp_path / "any").file == tmp_path / "any"


def test_the_folder_that_is_built_counts(tmp_path: Path) -> None:
    """--build-dir names it; the Bazel workspace may be the one around it."""
    folder = made(tmp_path / "p", "WORKSPACE", "package.json", "a/BUILD", "a/filter.rs", "b/go.mod")
    assert kind_of(folder, "a").language == "rust"
    assert kind_of(folder, "b").language == "tinygo"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no project that wasme knows: it is empty"),
        (["a", "b", "c", "d", "e", "f", "g"], r"it has a, b, c, d, e and 2 more"),
        (["filter.rs"], "holds no project"),
        (["one.wasm", "two.wasm"], "holds no project that wasme knows: it has one.wasm, two.wasm"),
        (["Cargo.toml", "go.mod"], r"more than one language: it has Cargo.toml \(rust\), go.mod \(tinygo\)"),
        (["Cargo.toml", "package.json", "assembly/index.ts"], r"it has package.json \(assemblyscript\), Cargo.toml"),
    ],
)
def test_nothing_or_too_much_is_one_line(tmp_path: Path, names: list[str], words: str) -> None:
    """What was seen is listed, and what to do is said."""
    with pytest.raises(InputError, match=words) as caught:
        kind_of(made(tmp_path / "p", *names))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_file_that_is_no_module_and_nothing(tmp_path: Path) -> None:
    """Each is told as what it is."""
    with pytest.raises(InputError, match="is no WebAssembly module and no folder"):
        kind_of(made(tmp_path, "x.txt") / "x.txt")
    with pytest.raises(InputError, match="there is no folder or file"):
        kind_of(tmp_path / "nothing")
