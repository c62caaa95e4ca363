"""The C++ toolchain: a project with our SDK in it (``proxy/``), or any project and a checkout of the upstream SDK.

What is compiled is simple: every ``*.cc``, ``*.cpp`` and ``*.cxx`` in the project's folder and in its ``src``, but not
those whose names end in ``_test``. ``compile_flags.txt`` (clangd's own file, one flag a line) has the project's flags;
what makes a small and reproducible module of them comes from here.

Our SDK brings what it needs, so its projects are compiled without a C library, to a few kilobytes; see ``upstream`` for
the other way.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wasme.build.cpp import compilers, includes
from wasme.build.cpp.compilers import Compiler
from wasme.build.toolchain import Inputs, Listener, Tool, cache_folder
from wasme.errors import BuildFailed, InputError, ToolMissing

VARIABLE = "PROXY_WASM_CPP_SDK"
FLAGS_FILE = "compile_flags.txt"
HEADER = "proxy/proxy.h"
UPSTREAM = "proxy_wasm_intrinsics.cc"
SUFFIXES = (".cc", ".cpp", ".cxx")
_BAZEL = ("WORKSPACE", "WORKSPACE.bazel", "MODULE.bazel", "BUILD", "BUILD.bazel")
_SKIP = frozenset({".git", "build", "target", "node_modules"})
# Modules must run in the first Envoys that had filters, so none of what WebAssembly has learnt since but these two.
_CPU = {
    "zig": ("-mcpu=mvp+bulk_memory+sign_ext",),
    "clang": ("-mcpu=mvp", "-mbulk-memory", "-msign-ext"),
    "emscripten": ("-mbulk-memory", "-msign-ext"),
}
COMMON = ("-std=c++17", "-Oz", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-I.")
_OWN = (*COMMON, "-nostdinc++", "-fno-threadsafe-statics")
# The list of producers stays: it is fifty bytes, and tells `wasme inspect` the language.
_LINK = ("--no-entry", "--strip-all", "--keep-section=producers", "--compress-relocations", "-z", "stack-size=65536")
# Emscripten brings its C library, and lets the host's functions be: our headers say where they come from.
_EMSCRIPTEN = (
    "--no-entry",
    "-sSTANDALONE_WASM",
    "-sALLOW_MEMORY_GROWTH=1",
    "-sERROR_ON_UNDEFINED_SYMBOLS=0",
    "-sWARN_ON_UNDEFINED_SYMBOLS=0",
)
# Variables by which the environment could change what is compiled.
_FOREIGN = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CCC_OVERRIDE_OPTIONS", "GCC_EXEC_PREFIX")

log = logging.getLogger(__name__)


def _from_environment() -> Path | None:
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else None


@dataclass(frozen=True, slots=True)
class Cpp:
    """A ``Toolchain``.

    Attributes:
        sdk: a checkout of the upstream SDK, ``--sdk``; None to take the project's own ``proxy/``, or, where it has
            none, the checkout that $PROXY_WASM_CPP_SDK names.
        compiler: the compiler to use; None for the first that is here.
    """

    sdk: Path | None = None
    compiler: Compiler | None = None
    language: str = field(default="cpp")

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Compile and link every source.

        Raises:
            InputError: there is nothing to compile, or no SDK.
        """
        sdk = self._upstream(source)
        units = sources(source)
        compiler = self.compiler or compilers.find()
        log.debug("found a C++ compiler", extra={"fields": {"kind": compiler.kind, "path": compiler.compile[0]}})
        module = scratch / "filter.wasm"
        module.unlink(missing_ok=True)  # what an earlier build left must not pass for this one's
        work = _Work(source, scratch, compiler, listener, flags(source))
        if sdk is not None:
            from wasme.build.cpp import upstream

            upstream.compile_with(sdk, units, module, work)
        elif compiler.kind == "emscripten":
            work.run([*compiler.compile, *work.flags_for(COMMON), *units, *_EMSCRIPTEN, "-o", str(module)])
        else:
            listener.step("compiling")
            objects = [work.object(unit, _OWN) for unit in units]
            listener.step("linking")
            work.run([*compiler.link, *_LINK, *objects, "-o", str(module)])
        if not module.is_file():
            raise BuildFailed(f"{compiler.compile[0]} ended well, but made no module")
        return module

    def inputs(self, source: Path) -> Inputs | None:
        """The folder, the upstream SDK if that is used, and the compiler. None for headers from elsewhere."""
        sdk = self.sdk or (None if (source / HEADER).is_file() else _from_environment())
        roots = (source, *((sdk,) if sdk else ()))
        try:
            own, compiled = flags(source), sources(source)
            compiler = self.compiler or compilers.find()
        except (InputError, ToolMissing):
            return None
        if not includes.flags_stay_inside(own, _SKIP):
            return None
        units = [source / unit for unit in compiled] + ([sdk / UPSTREAM] if sdk else [])
        if not includes.stay_inside(units, own, roots, roots, _SKIP):
            return None
        tools = (*compiler.identity, *_CPU[compiler.kind], *_OWN, *_LINK, *_EMSCRIPTEN, f"upstream={sdk is not None}")
        return Inputs(roots=roots, skip=_SKIP, tools=tools)

    def tools(self) -> tuple[Tool, ...]:
        """Zig, clang, Emscripten."""
        return compilers.tools()

    def _upstream(self, source: Path) -> Path | None:
        """The upstream SDK to build with; None for our own, which is in the project."""
        sdk = self.sdk
        if sdk is None:
            if (source / HEADER).is_file():
                return None
            sdk = _from_environment()
        if sdk is not None:
            if not (sdk / UPSTREAM).is_file():
                raise InputError(
                    f"{sdk} is no checkout of proxy-wasm-cpp-sdk: it has no {UPSTREAM}",
                    hint="git clone https://github.com/proxy-wasm/proxy-wasm-cpp-sdk, and name its folder with --sdk",
                )
            return sdk
        if any((source / name).is_file() for name in _BAZEL):
            raise InputError(
                f"{source} is a Bazel project, which is built in a container only",
                hint="build it with --builder docker, or with --sdk DIR if it uses nothing but the upstream SDK",
            )
        raise InputError(
            f"{source} has no {HEADER}, so there is no SDK to build with",
            hint="begin one with `wasme init --language=cpp`, or name a checkout of proxy-wasm-cpp-sdk with --sdk",
        )


def sources(source: Path) -> list[str]:
    """What is compiled, relative to the project's folder, sorted.

    Raises:
        InputError: there is nothing, or the folder cannot be read.
    """
    found = []
    for folder in (source, source / "src"):
        try:
            found += [path.relative_to(source).as_posix() for path in folder.iterdir() if _is_source(path)]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InputError(f"cannot read {folder}: {error.strerror}") from None
    if not found:
        raise InputError(
            f"{source} has no C++ source: no *.cc, *.cpp or *.cxx in it or in its src",
            hint="begin a project with: wasme init DEST_DIRECTORY --language=cpp",
        )
    return sorted(found)


def _is_source(path: Path) -> bool:
    if path.suffix not in SUFFIXES or path.name.startswith(".") or path.stem.endswith("_test"):
        return False
    return path.is_file()


def flags(source: Path) -> list[str]:
    """The project's own flags: the lines of ``compile_flags.txt``.

    Raises:
        InputError: it cannot be read.
    """
    path = source / FLAGS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"cannot read {path}: {reason}") from None
    return [line.strip() for line in lines if line.strip()]


@dataclass(frozen=True, slots=True)
class _Work:
    """One compilation.

    Attributes:
        source: the project's folder, where the programs run: so their messages and ``__FILE__`` have relative paths.
        scratch: a folder for objects.
        compiler: the compiler.
        listener: who hears of it.
        own: the project's flags.
    """

    source: Path
    scratch: Path
    compiler: Compiler
    listener: Listener
    own: Sequence[str]

    def flags_for(self, base: Sequence[str]) -> list[str]:
        """All flags: ours, the project's, which win, and those that keep this machine out of the module."""
        target = [] if self.compiler.kind == "emscripten" else ["--target=wasm32-freestanding"]
        own = [flag for flag in self.own if target or not flag.startswith("--target")]
        made = [*target, *_CPU[self.compiler.kind], *base, *own]
        if self.compiler.kind == "zig":
            made.append("-fhosted")  # or it would not know what strlen means, and call it for each literal
            if not any(flag.startswith("-O") for flag in self.own):
                made += ["-Xclang", "-Oz"]  # which it takes for -Os
        return [*made, f"-ffile-prefix-map={self.source}=."]

    def object(self, unit: str, base: Sequence[str]) -> str:
        """Compile one source."""
        made = str(self.scratch / (unit.replace("/", "_") + ".o"))
        self.run([*self.compiler.compile, *self.flags_for(base), "-c", unit, "-o", made])
        return made

    def run(self, argv: Sequence[str]) -> None:
        """Run a program; what it says though it succeeds is a warning."""
        from wasme.build import process

        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        environment["SOURCE_DATE_EPOCH"] = "315532800"  # for __DATE__
        if self.compiler.kind == "zig":
            cache = str(cache_folder("zig"))
            environment |= {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        try:
            said = process.run(argv, cwd=self.source, env=environment, noise=self.listener.noise)
        except BuildFailed as error:
            # The command line is of no use to who reads what the compiler says of the source.
            first, _, rest = error.message.partition("\n")
            status = first[first.rindex("exited") if "exited" in first else 0 :].rstrip(":")
            raise BuildFailed(f"{self.compiler.kind} {status}:\n{rest}") from None
        if said.strip():
            self.listener.warning(said.strip())
