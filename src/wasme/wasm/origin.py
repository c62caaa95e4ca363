"""Which language and SDK a module was written with, as far as its bytes tell.

Compilers sign their work in the ``producers`` section, which optimisers strip; what is left are the names that an SDK
exports, what a runtime imports, and words in the data. The signs are asked in an order in which the first that answers
is right: Rust crates may hold C, and TinyGo signs as C.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wasme.wasm.module import Module

_WIDE_LIBRARY = "~lib/".encode("utf-16-le")
_RUST_CRATE = re.compile(rb"proxy-wasm-(\d+\.\d+\.\d+)")
_GO_MODULE = re.compile(rb"github\.com/((?:proxy-wasm|tetratelabs)/proxy-wasm-go-sdk|[\w.-]+/wasm-go)\b")
_RUST_PLACES = (b"/rustc/", b"library/core/src", b"library/std/src", b"library/alloc/src", b"src/hostcalls.rs")
_EMSCRIPTEN = ("stackSave", "stackAlloc", "emscripten_stack_init", "_emscripten_stack_restore")
_TINYGO = ("runtime.trackedGlobalsStart", "resume", "go_scheduler")
_ASSEMBLYSCRIPT = ("__new", "__retain", "__pin", "__rtti_base", "__collect")
_CPP = ("_Znwm", "_Znwj", "_ZdlPv", "__cxa_atexit", "__wasm_call_dtors")


class Origin(NamedTuple):
    """Where a module comes from.

    Attributes:
        language: ``Rust``, ``Go``, ``TinyGo``, ``AssemblyScript``, ``C++``; "" if nothing tells.
        sdk: the Proxy-Wasm SDK, with its version where it is written down; "" if nothing tells.
        compiler: as it signed itself; "" if it did not, or was stripped.
        sign: what told the language.
    """

    language: str = ""
    sdk: str = ""
    compiler: str = ""
    sign: str = ""


def origin(module: Module) -> Origin:
    """Tell a module's language, SDK and compiler."""
    language, sign = _language(module)
    return Origin(language, _sdk(module, language), _compiler(module), sign)


def _language(module: Module) -> tuple[str, str]:
    spoken = dict(module.producers.get("language", ()))
    tools = [name.lower() for name, _ in module.producers.get("processed-by", ())]
    if "Go" in spoken or any("go cmd/compile" in tool for tool in tools):
        return "Go", "producers section"
    if "Rust" in spoken or "rustc" in tools:
        return "Rust", "producers section"
    exports = {each.name for each in module.exports}
    if exports.intersection(_TINYGO) or "tinygo" in " ".join(tools) or module.data_holds(b"tinygo"):
        return "TinyGo", "names of its runtime"
    if any(each.name == "emscripten_metadata" for each in module.customs) or exports.intersection(_EMSCRIPTEN):
        return "C++", "names of emscripten's runtime"
    if module.imports_function("emscripten_notify_memory_growth"):
        return "C++", "names of emscripten's runtime"
    if exports.intersection(_ASSEMBLYSCRIPT) or module.imports_function("abort"):
        return "AssemblyScript", "names of its runtime"
    if any(each.name == "go:buildid" for each in module.customs) or module.data_holds(b"runtime.goexit"):
        return "Go", "names of its runtime"
    # As of here the module is stripped, or is none of those.
    if module.data_holds(_WIDE_LIBRARY):
        return "AssemblyScript", "its library's name in the data"
    if any(module.data_holds(place) for place in _RUST_PLACES):
        return "Rust", "places of its library's source in the data"
    if {"calloc", "realloc", "free", "_start"} <= exports:
        return "TinyGo", "names of its allocator"
    if exports.intersection(_CPP) or any(each.startswith("C_plus_plus") for each in spoken):
        return "C++", "names of its runtime"
    if {"clang", "zig"}.intersection(tools) or {"C99", "C11", "C17"}.intersection(spoken):
        # Only C++ has static objects to construct, where no library is linked.
        return "C++" if _constructs(module) else "C or C++", "producers section"
    wasi = {each.name for each in module.imports if each.module.startswith("wasi_")}
    if wasi and wasi <= {"fd_close", "fd_seek", "fd_write", "proc_exit"} and module.export("malloc"):
        return "C++", "what its library imports"
    return "", ""


def _sdk(module: Module, language: str) -> str:
    if language == "Rust":
        found = _search(module, _RUST_CRATE)
        return f"proxy-wasm {found}" if found else "proxy-wasm" if module.data_holds(b"proxy-wasm") else ""
    if language in ("Go", "TinyGo"):
        found = _search(module, _GO_MODULE)
        return f"github.com/{found}" if found else ""
    if language == "AssemblyScript":
        if module.export("malloc"):
            return "@solo-io/proxy-runtime"
        return "wasme's own" if module.export("proxy_on_memory_allocate") and module.export("_initialize") else ""
    if language == "C++":
        if _freestanding(module):
            return "wasme's own" if _constructs(module) and module.export("malloc") else ""
        # The upstream SDK imports this for its calls, whatever the filter does.
        return "proxy-wasm-cpp-sdk" if module.imports_function("proxy_set_effective_context") else ""
    return ""


def _constructs(module: Module) -> bool:
    return bool(module.export("_initialize") or module.export("_start"))


def _freestanding(module: Module) -> bool:
    """Whether it was linked without a library of C's or emscripten's."""
    foreign = ("emscripten_notify_memory_growth", "pthread_equal")
    return all(each.module == "env" and each.name not in foreign for each in module.imports)


def _search(module: Module, pattern: re.Pattern[bytes]) -> str:
    data = module.section(11)
    found = pattern.search(module.raw, data.start, data.end) if data else None
    return found[1].decode("ascii", "replace") if found else ""


def _compiler(module: Module) -> str:
    signed = [f"{name} {version}".strip() for name, version in module.producers.get("processed-by", ())]
    return ", ".join(_printable(each) for each in signed)[:200]


def _printable(text: str) -> str:
    """What strangers wrote into a module is shown on a terminal: without control characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
