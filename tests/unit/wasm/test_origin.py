"""Which language and SDK a module was written with: each sign by itself, as compilers and optimisers leave it."""

from __future__ import annotations

import pytest

from tests.fixtures import filters
from wasme.wasm.module import parse
from wasme.wasm.origin import Origin, origin


def producers(**fields: list[tuple[str, str]]) -> bytes:
    """A ``producers`` section."""

    def text(words: str) -> bytes:
        return bytes([len(words)]) + words.encode()

    body = bytes([len(fields)])
    for name, values in fields.items():
        body += text(name.replace("_", "-")) + bytes([len(values)])
        body += b"".join(text(key) + text(value) for key, value in values)
    content = text("producers") + body
    assert len(content) < 128
    return bytes([0, len(content)]) + content


def data(text: bytes) -> bytes:
    return filters.module(f'(data (i32.const 16) "{filters.quoted(text)}")')


def exporting(*names: str) -> bytes:
    return filters.module("".join(f'(func (export "{name}"))' for name in names))


RUST = filters.module() + producers(language=[("Rust", "")], processed_by=[("rustc", "1.95.0")])
GO = filters.module() + producers(language=[("Go", "go1.26")], processed_by=[("Go cmd/compile", "go1.26")])
CLANG = filters.module() + producers(processed_by=[("clang", "22.1")])


@pytest.mark.parametrize(
    ("raw", "language"),
    [
        (RUST, "Rust"),
        (filters.module() + producers(language=[("C11", ""), ("Rust", "")]), "Rust"),
        (data(b"/rustc/59807616/library/core/src/str.rs"), "Rust"),
        (data(b"library/alloc/src/vec.rs"), "Rust"),
        (GO, "Go"),
        (filters.module() + b"\0\x0b\x0ago:buildid", "Go"),
        (exporting("runtime.trackedGlobalsStart"), "TinyGo"),
        (data(b"/usr/local/tinygo/src/runtime"), "TinyGo"),
        (exporting("calloc", "realloc", "free", "_start") + producers(language=[("C99", "")]), "TinyGo"),
        (exporting("__new", "__pin"), "AssemblyScript"),
        (data("~lib/rt/itcms.ts".encode("utf-16-le")), "AssemblyScript"),
        (filters.module(imports='(import "env" "abort" (func (param i32 i32 i32 i32)))'), "AssemblyScript"),
        (filters.module() + b"\0\x14\x13emscripten_metadata", "C++"),
        (exporting("stackSave"), "C++"),
        (exporting("_Znwm"), "C++"),
        (CLANG, "C or C++"),
        (exporting("_initialize") + producers(processed_by=[("clang", "22.1")]), "C++"),
        (filters.module() + producers(language=[("C_plus_plus_17", "")]), "C++"),
        (
            filters.module(
                imports='(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
            ),
            "C++",
        ),
        (filters.module(), ""),
        (data(b"tiny go, not rust"), ""),
    ],
)
def test_language(raw: bytes, language: str) -> None:
    """Each sign alone tells the language; where there is none, nothing is guessed."""
    found = origin(parse(raw))
    assert found.language == language
    assert bool(found.sign) == bool(language)


@pytest.mark.parametrize(
    ("raw", "sdk"),
    [
        (data(b"/rustc/1 /home/me/.cargo/registry/src/index/proxy-wasm-0.2.5/src/hostcalls.rs"), "proxy-wasm 0.2.5"),
        (data(b"/rustc/1 proxy-wasm/src/hostcalls.rs"), "proxy-wasm"),
        (GO, ""),
        (
            data(b"runtime.goexit github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"),
            "github.com/proxy-wasm/proxy-wasm-go-sdk",
        ),
        (
            data(b"tinygo github.com/tetratelabs/proxy-wasm-go-sdk/proxywasm"),
            "github.com/tetratelabs/proxy-wasm-go-sdk",
        ),
        (exporting("__new"), "@solo-io/proxy-runtime"),
        (exporting("_initialize") + producers(processed_by=[("clang", "22.1")]), "wasme's own"),
        (
            filters.module(
                imports='(import "env" "proxy_set_effective_context" (func (param i32) (result i32)))'
                + filters.wat_import("wasi_snapshot_preview1", "fd_write", "i32 i32 i32 i32 -> i32")
            ),
            "proxy-wasm-cpp-sdk",
        ),
    ],
)
def test_sdk(raw: bytes, sdk: str) -> None:
    """An SDK is named where its own words or functions are there, with its version where that is written."""
    assert origin(parse(raw)).sdk == sdk


def test_compiler() -> None:
    """Compilers sign with name and version; what they write is shown without control characters."""
    assert origin(parse(RUST)).compiler == "rustc 1.95.0"
    nasty = filters.module() + producers(processed_by=[("\x1b[31mred", "1")])
    assert origin(parse(nasty)).compiler == "\N{REPLACEMENT CHARACTER}[31mred 1"
    assert origin(parse(filters.module())) == Origin()
