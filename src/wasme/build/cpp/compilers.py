"""C++ compilers with WebAssembly in them: zig of the wheel ``ziglang`` or on PATH, clang with lld, Emscripten."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wasme.build.toolchain import Found, Tool, identity, on_path
from wasme.errors import ToolMissing

CHOICE = "cpp"
ZIG_HOW = "pip install 'wasme[cpp]'"
_NEWEST_CLANG = 30
_OLDEST_CLANG = 13
# Homebrew keeps its clang off PATH, since macOS has one, without WebAssembly.
_OFF_PATH = ("/opt/homebrew/opt/llvm/bin", "/usr/local/opt/llvm/bin")
_LINKERS_OFF_PATH = (*_OFF_PATH, "/opt/homebrew/opt/lld/bin", "/usr/local/opt/lld/bin")


@dataclass(frozen=True, slots=True)
class Compiler:
    """One compiler and its linker.

    Attributes:
        kind: what flags it takes.
        compile: the words that start it.
        link: the words that start ``wasm-ld``; of Emscripten, ``em++`` itself.
        origin: where it comes from, in a word.
    """

    kind: Literal["zig", "clang", "emscripten"]
    compile: tuple[str, ...]
    link: tuple[str, ...]
    origin: str

    @property
    def identity(self) -> tuple[str, ...]:
        """What modules depend on, without running it."""
        return (self.kind, *(identity(program) for program in sorted({self.compile[0], self.link[0]})))


def find() -> Compiler:
    """The first compiler of this machine.

    Raises:
        ToolMissing: there is none.
    """
    found = next(_all(), None)
    if found is None:
        raise ToolMissing(
            "no C++ compiler for WebAssembly is on this machine: no zig, no clang with wasm-ld, no em++",
            hint=f"{ZIG_HOW}, or {clang_how()}",
        )
    return found


def _all() -> Iterator[Compiler]:
    """Those that are here, the preferred first."""
    for probe in (zig, clang, emscripten):
        found = probe()
        if found is not None:
            yield found


def zig() -> Compiler | None:
    """Zig: the wheel's beside wasme, else that on PATH."""
    program, origin = _wheel(), "of the wheel ziglang"
    if program is None:
        program, origin = on_path("zig"), "PATH"
    return Compiler("zig", (program, "c++"), (program, "wasm-ld"), origin) if program else None


def clang() -> Compiler | None:
    """The newest clang++ that has its linker for WebAssembly beside it."""
    for suffix in ("", *(f"-{version}" for version in range(_NEWEST_CLANG, _OLDEST_CLANG - 1, -1))):
        for folders in ("", os.pathsep.join(_OFF_PATH)):
            program = on_path(f"clang++{suffix}", folders)
            linker = on_path(f"wasm-ld{suffix}", folders and os.pathsep.join(_LINKERS_OFF_PATH))
            if program and linker:
                return Compiler("clang", (program,), (linker,), "PATH")
    return None


def emscripten() -> Compiler | None:
    """Emscripten's em++ on PATH."""
    program = on_path("em++")
    return Compiler("emscripten", (program,), (program,), "PATH") if program else None


def clang_how() -> str:
    """How to install clang."""
    from wasme.build.tools import package

    return package("clang lld", "llvm lld")


def tools() -> tuple[Tool, ...]:
    """For ``wasme doctor``, in the order in which a build takes them."""
    from wasme.build.tools import package

    purpose = "build cpp: the compiler"
    return (
        Tool("zig", purpose, ZIG_HOW, lambda: _probe(zig(), "version"), CHOICE),
        Tool("clang", purpose, clang_how(), lambda: _probe(clang(), "--version"), CHOICE),
        Tool("em++", purpose, package("emscripten"), lambda: _probe(emscripten(), "--version"), CHOICE),
    )


def _wheel() -> str | None:
    for folder in sys.path:
        program = Path(folder, "ziglang", "zig.exe" if os.name == "nt" else "zig")
        if program.is_file():
            return str(program)
    return None


def _probe(found: Compiler | None, question: str) -> Found | None:
    if found is None:
        return None
    from wasme.build.tools import ask

    said = re.search(r"\d+(?:\.\d+)+", ask([found.compile[0], question]))
    return Found(found.compile[0], said.group() if said else "", "" if found.origin == "PATH" else found.origin)
