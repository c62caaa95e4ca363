"""C++ projects that are written for the upstream SDK, proxy-wasm-cpp-sdk, with a checkout of it.

That SDK stands on the C++ standard library, so its projects need a compiler that brings one for WebAssembly: zig builds
its own, once (a minute), Debian's packages are named in a hint, Emscripten has one. Its typed gRPC calls, which need
protobuf, are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.build.toolchain import cache_folder
from wasme.errors import BuildFailed, InputError
from wasme.wasm import abi

if TYPE_CHECKING:
    from wasme.build.cpp.compilers import Compiler
    from wasme.build.cpp.toolchain import _Work

log = logging.getLogger(__name__)

_INTRINSICS = "proxy_wasm_intrinsics"
_NAME = re.compile(r"\bproxy_[a-z0-9_]+")
_FLAGS = ("-std=c++17", "-Oz", "-fno-exceptions", "-fno-rtti", "-mexec-model=reactor", "-I.")
# As much as Rust's filters have. Zig would take 16 MiB, which a module then asks of its host at the start, and wasm-ld
# 64 KiB, which a reader of JSON can fill. It lies below the data, so that what overflows it ends the filter.
_STACK = {"zig": "-Wl,-z,stack-size=1048576", "clang": "-Wl,-z,stack-size=1048576,--stack-first"}
_LIBRARIES = "apt-get install libc++-{0}-dev-wasm32 libc++abi-{0}-dev-wasm32 libclang-rt-{0}-dev-wasm32 wasi-libc"


def compile_with(sdk: Path, units: Sequence[str], module: Path, work: _Work) -> None:
    """Compile and link a project and the SDK.

    Args:
        sdk: its checkout.
        units: the project's sources.
        module: what to make.
        work: who compiles.

    Raises:
        BuildFailed: the compiler said no.
    """
    names = _exports(sdk)
    sources = [*units, str(sdk / f"{_INTRINSICS}.cc")]
    common = [*_FLAGS, *work.own, f"-I{sdk}", f"-ffile-prefix-map={sdk}=/sdk", f"-ffile-prefix-map={work.source}=."]
    stack = (
        [_STACK[work.compiler.kind]] if work.compiler.kind in _STACK else []
    )  # before the project's flags, which win
    start = list(work.compiler.compile)
    work.listener.step("compiling")
    if work.compiler.kind == "zig":
        linked = ["malloc", *names]
        options = ",".join(["-Wl", "--strip-all", "--import-symbols", *(f"--export={name}" for name in linked)])
        # Zig does not say so, but it takes -Oz for -Os; the standard library is compiled for this processor, too.
        with _told_once(work.compiler):
            work.run([*start, "-target", "wasm32-wasi", *stack, *common, *sources, options, "-o", str(module)])
    elif work.compiler.kind == "clang":
        linked = [f"--export-if-defined={name}" for name in names]
        options = ",".join(["-Wl", "--strip-all", "--allow-undefined", "--export=malloc", *linked])
        # Debian has the libraries under this name, which clang calls deprecated.
        target = ["--target=wasm32-wasi", "-Wno-deprecated", "--no-wasm-opt"]
        try:
            work.run([*start, *target, *stack, *common, *sources, options, "-o", str(module)])
        except BuildFailed as error:
            raise BuildFailed(error.message, hint=_libraries(error.message, start[0])) from None
    else:
        exported = ",".join(f"_{name}" for name in ["malloc", *names])
        options = f"-sEXPORTED_FUNCTIONS={exported}"
        standalone = ["--no-entry", "-sSTANDALONE_WASM", "-sALLOW_MEMORY_GROWTH=1", "--js-library"]
        flags = [flag for flag in common if not flag.startswith("-mexec-model")]
        script = str(sdk / f"{_INTRINSICS}.js")
        work.run([*start, *flags, *sources, *standalone, script, options, "-o", str(module)])


@contextlib.contextmanager
def _told_once(compiler: Compiler) -> Iterator[None]:
    """Say that zig compiles its standard library, where it has not done so for wasme before."""
    name = hashlib.sha256("\0".join(compiler.identity).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    done = cache_folder("zig") / f"standard-library-{name}"
    if not done.exists():
        log.info("compiling zig's C++ standard library for WebAssembly, once", extra={"fields": {"takes": "a minute"}})
    yield
    with contextlib.suppress(OSError):
        done.touch()


def _exports(sdk: Path) -> list[str]:
    """The names of the SDK's that the host looks for: its version's marker, and the callbacks."""
    text = ""
    for suffix in (".cc", ".h"):
        for path in sorted(sdk.glob(f"proxy_wasm_*{suffix}")):
            try:
                text += path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from None
    said = set(_NAME.findall(text))
    markers = said.intersection(abi.MARKERS)
    known = {name for version in abi.VERSIONS for name in abi.CALLBACKS[version]}
    return sorted(markers) + sorted(said & known)


def _libraries(said: str, clang: str) -> str | None:
    """How to get the standard library, where a compiler's words are that it has none."""
    if "file not found" not in said and "unable to find library" not in said and "cannot open" not in said:
        return None
    version = re.search(r"-(\d+)$", clang)
    how = _LIBRARIES.format(version.group(1) if version else "22")
    return f"clang's standard library for WebAssembly may be missing: {how}; or pip install 'wasme[cpp]' for zig's"
