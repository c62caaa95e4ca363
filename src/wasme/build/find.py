"""Which language a source is written in, by the files that a project of it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.errors import InputError

PRECOMPILED = "precompiled"
_MANIFESTS = (("package.json", "assemblyscript"), ("Cargo.toml", "rust"), ("go.mod", "tinygo"))
_CPP = (".cc", ".cpp", ".cxx")
_WORKSPACES = ("WORKSPACE", "WORKSPACE.bazel", "MODULE.bazel")
_BUILDS = ("BUILD", "BUILD.bazel")
_MOST_TOLD = 5
# The SDKs of the original's templates.
_OLD_NPM = (b"@solo-io/proxy-runtime",)
_OLD_GO = (b"github.com/tetratelabs/proxy-wasm-go-sdk", b"github.com/mathetake/proxy-wasm-go")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a source is.

    Attributes:
        language: a name of ``languages``, or ``precompiled``.
        file: the module, where it is compiled already.
    """

    language: str
    file: Path | None = None


def kind_of(source: Path, build_dir: str = "") -> Kind:
    """The language of a source.

    Args:
        source: a project's folder, or a compiled module.
        build_dir: the folder in it that is built; "" for itself.

    Raises:
        InputError: there is nothing there, nothing that wasme builds, or more than one thing.
    """
    if source.is_file():
        if source.suffix == ".wasm" or _begins_as_module(source):
            return Kind(PRECOMPILED, source)
        raise InputError(
            f"{source} is no WebAssembly module and no folder", hint="SOURCE is a project's folder or a .wasm file"
        )
    folder = source / build_dir if build_dir else source
    names = _names(folder)
    found = _languages(folder, names, is_bazel(folder) or is_bazel(source))
    if len(found) > 1 and "assemblyscript" in found and not _is_assemblyscript(folder):
        del found["assemblyscript"]  # Node.js serves many projects as a tool
    if len(found) == 1:
        return Kind(next(iter(found)))
    if found:
        told = ", ".join(f"{marks} ({language})" for language, marks in found.items())
        raise InputError(
            f"{folder} could be built in more than one language: it has {told}",
            hint=f"name one: {' or '.join(f'wasme build {language} {source}' for language in found)}",
        )
    modules = [name for name in names if name.endswith(".wasm")]
    if len(modules) == 1:
        return Kind(PRECOMPILED, folder / modules[0])
    raise InputError(
        f"{folder} holds no project that wasme knows: {_told(names)}",
        hint="a project has package.json (AssemblyScript), *.cc or *.cpp (C++), Cargo.toml (Rust) or go.mod (Go); "
        "begin one with `wasme init`",
    )


def is_bazel(folder: Path) -> bool:
    """Whether Bazel builds what is in this folder: it is a workspace's root."""
    return any((folder / name).is_file() for name in _WORKSPACES)


def suits_builder_image(language: str, folder: Path) -> bool:
    """Whether the original's builder image can build a project: what is in it is of early 2021, and stays so.

    Args:
        language: the project's.
        folder: its folder.
    """
    if language in ("cpp", "rust"):
        return is_bazel(folder)
    name, sdks = ("package.json", _OLD_NPM) if language == "assemblyscript" else ("go.mod", _OLD_GO)
    try:
        manifest = (folder / name).read_bytes()
    except OSError:
        return False
    return any(sdk in manifest for sdk in sdks)


def _languages(folder: Path, names: Sequence[str], in_workspace: bool) -> dict[str, str]:
    """Languages, each with the file that speaks for it."""
    found = {language: name for name, language in _MANIFESTS if name in names}
    sources = [name for name in names if name.endswith(_CPP)]
    if not sources and "src" in names:
        sources = [f"src/{name}" for name in _names(folder / "src") if name.endswith(_CPP)]
    if sources:
        found["cpp"] = sources[0]
    if "rust" not in found and in_workspace and any(name in names for name in _BUILDS):
        rust = next((name for name in names if name.endswith(".rs")), "")
        if rust:
            found["rust"] = rust
    return found


def _is_assemblyscript(folder: Path) -> bool:
    """Whether a package.json is that of a filter, and not of some tool that the project uses."""
    if (folder / "assembly").is_dir():
        return True
    try:
        manifest = json.loads((folder / "package.json").read_bytes())
        return any(
            name in (manifest.get(part) or {})
            for part, name in (
                ("scripts", "asbuild"),
                ("dependencies", "assemblyscript"),
                ("devDependencies", "assemblyscript"),
            )
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def _names(folder: Path) -> list[str]:
    """What is in a folder, sorted, hidden files left out.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except NotADirectoryError:
        return []
    except FileNotFoundError:
        raise InputError(f"there is no folder or file {folder}") from None
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None


def _told(names: Sequence[str]) -> str:
    if not names:
        return "it is empty"
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return f"it has {', '.join(names[:_MOST_TOLD])}{more}"


def _begins_as_module(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(4) == b"\0asm"
    except OSError:
        return False
