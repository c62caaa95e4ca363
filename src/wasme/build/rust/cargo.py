"""Cargo and rustc, with a standard library for WebAssembly wherever it comes from.

In this order, since each is slower, or less what the user has chosen, than the one before:

1. the first cargo whose rustc has a compiled library for the target: those on PATH first, so that rustup and its
   ``rust-toolchain.toml`` decide; then cargo's own folder and ``/usr/bin`` (Debian's ``libstd-rust-dev-wasm32``);
2. the first whose rustc has the library's sources (rustup's ``rust-src``, Debian's ``rust-web-src``): ``std``
   compiles them, once for all projects.

A compiler that is older than a project's crates allow is passed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wasme.build.rust import cargo_config
from wasme.build.toolchain import Found, identity, on_path
from wasme.errors import ToolMissing

TARGET = "wasm32-unknown-unknown"
# All run in Envoy; the first asks nothing but Proxy-Wasm of its host. wasm32-wasi is what wasip1 was called before.
TARGETS = (TARGET, "wasm32-wasip1", "wasm32-wasi")
_ALSO_HERE = ("/usr/local/bin", "/usr/bin", "/opt/homebrew/bin")
_PINS = ("rust-toolchain.toml", "rust-toolchain")
_EXE = ".exe" if os.name == "nt" else ""

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cargo:
    """One cargo with its rustc.

    Attributes:
        program: cargo's path.
        rustc: rustc's path.
        release: rustc's version as it gives it, such as ``1.95.0``.
        commit: what that was made of, or "".
        host: the target of programs for this machine.
        sysroot: the folder of rustc's libraries.
    """

    program: Path
    rustc: Path
    release: str
    commit: str
    host: str
    sysroot: Path

    @property
    def version(self) -> Version:
        """``release`` as numbers."""
        return parse_version(self.release)

    @property
    def library(self) -> Path:
        """Where the standard library's sources lie, if they are here."""
        return self.sysroot / "lib" / "rustlib" / "src" / "rust" / "library"

    def has_library(self, target: str) -> bool:
        """Whether the standard library is here, compiled for a target."""
        return has_library(self.sysroot, target)

    def has_sources(self) -> bool:
        """Whether the standard library's sources are here."""
        return (self.library / "std" / "Cargo.toml").is_file()

    def has_linker(self) -> bool:
        """Whether rustc has brought the linker that it takes for WebAssembly by itself."""
        return (self.sysroot / "lib" / "rustlib" / self.host / "bin" / f"rust-lld{_EXE}").is_file()

    def environment(self) -> dict[str, str]:
        """The environment to run it in: with its own rustc, and plain text."""
        return {
            **os.environ,
            "RUSTC": str(self.rustc),
            "CARGO_TERM_COLOR": "never",
            "CARGO_TERM_PROGRESS_WHEN": "never",
        }


@dataclass(frozen=True, slots=True)
class Choice:
    """Who compiles, and for what.

    Attributes:
        cargo: the programs.
        target: one of ``TARGETS``.
        from_sources: whether its standard library has to be compiled first.
    """

    cargo: Cargo
    target: str
    from_sources: bool


def parse_version(text: str) -> Version:
    """The numbers a version begins with: ``1.98.0-nightly`` -> (1, 98, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match.group().split("."))) if match else ()


def has_library(sysroot: Path, target: str) -> bool:
    """Whether a folder of rustc's libraries has the standard one for a target."""
    folder = sysroot / "lib" / "rustlib" / target / "lib"
    return any(folder.glob("libstd-*.rlib"))


def pairs(source: Path) -> Iterator[tuple[Path, Path]]:
    """Every cargo with the rustc beside it, in the order in which they are asked; runs nothing."""
    own = os.environ.get("RUSTC", "")
    pinned = is_pinned(source)
    seen: set[str] = set()
    here = [*os.environ.get("PATH", os.defpath).split(os.pathsep), str(cargo_config.home() / "bin"), *_ALSO_HERE]
    for folder in here:
        cargo, rustc = Path(folder or ".", f"cargo{_EXE}"), Path(folder or ".", f"rustc{_EXE}")
        if not (os.access(cargo, os.X_OK) and os.access(rustc, os.X_OK)):
            continue
        real = os.path.realpath(folder)
        if real in seen or (pinned and not _is_rustup(cargo)):
            continue
        seen.add(real)
        yield cargo.absolute(), Path(own) if own else rustc.absolute()


def is_pinned(source: Path) -> bool:
    """Whether the project says which toolchain rustup takes for it; then no other will do."""
    return any((folder / name).is_file() for folder in (source, *source.parents) for name in _PINS)


def pins(source: Path) -> tuple[Path, ...]:
    """Where such a word of the project's can stand."""
    return tuple(folder / name for folder in (source, *source.parents) for name in _PINS)


def find(source: Path) -> list[Cargo]:
    """Ask every cargo on this machine for its version and libraries.

    Args:
        source: the project's folder: rustup chooses by it.

    Raises:
        ToolMissing: there is none, or none that runs.
    """
    from concurrent.futures import ThreadPoolExecutor

    here = list(pairs(source))
    if not here:
        pinned = is_pinned(source)
        missing = "rustup is" if pinned else "cargo is"
        why = "it brings the Rust that rust-toolchain.toml names" if pinned else "it compiles Rust"
        raise ToolMissing(f"{missing} not on this machine: {why}", hint=how())
    with ThreadPoolExecutor(max_workers=len(here)) as pool:
        asked = list(pool.map(lambda pair: _ask(pair[0], pair[1], source), here))
    found = [each for each in asked if isinstance(each, Cargo)]
    if not found:
        said = next((each for each in asked if isinstance(each, str) and each), "it says nothing")
        raise ToolMissing(f"{here[0][1]} does not run: {said}", hint=how())
    return found


def choose(found: Sequence[Cargo], wanted: str = "", oldest: Version = (), needs: str = "") -> Choice:
    """Who compiles.

    Args:
        found: all there are, in order.
        wanted: the target that the project names; "" for whichever is there.
        oldest: the version that its crates need.
        needs: who needs that, in words.

    Raises:
        ToolMissing: none can.
    """
    able = [each for each in found if each.version >= oldest]
    if not able:
        newest = max(found, key=lambda each: each.version)
        raise ToolMissing(f"{needs}, and Rust {newest.release} is the newest on this machine", hint="rustup update")
    for each in able:
        for target in _targets(wanted):
            if each.has_library(target):
                return Choice(each, target, from_sources=False)
    if wanted in ("", TARGET):  # the others need a C library too, which has no sources here
        for each in able:
            if each.has_sources():
                return Choice(each, TARGET, from_sources=True)
    first = able[0]
    raise ToolMissing(
        f"Rust {first.release} ({first.rustc}) has no standard library for {wanted or TARGET}", hint=how(wanted)
    )


def linker() -> str:
    """LLVM's linker for WebAssembly on PATH, the newest; for a rustc that has not brought one.

    Raises:
        ToolMissing: there is none.
    """
    newest: tuple[int, str] = (0, "")
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names are all that is wanted
        except OSError:
            continue
        for name in names:
            if match := re.fullmatch(r"wasm-ld(?:-(\d+))?", name.removesuffix(".exe")):
                newest = max(newest, (int(match[1] or 1 << 30), str(Path(folder or ".", name).absolute())))
    if not newest[1]:
        from wasme.build.tools import package

        raise ToolMissing("wasm-ld is not on this machine: this Rust links WebAssembly with it", hint=package("lld"))
    return newest[1]


def host_linker_how() -> str:
    """How to get the linker for programs of this machine, with which build scripts are linked."""
    from wasme.build.tools import package

    return package("gcc libc6-dev", "gcc")


def hint_for(said: str) -> str | None:
    """What to do where build scripts cannot be linked; None for any other failure.

    Args:
        said: the words of cargo and rustc.
    """
    if "linker `cc` not found" not in said:
        return None
    return f"build scripts of crates want a C compiler for this machine: {host_linker_how()}"


def how(target: str = "") -> str:
    """How to get what is missing, on this machine."""
    from wasme.build.tools import package

    add = f"rustup target add {target or TARGET}"
    if any(
        (Path(folder or ".") / f"rustup{_EXE}").is_file() for folder in os.environ.get("PATH", "").split(os.pathsep)
    ):
        return f"{add} (where that cannot be fetched, rustup component add rust-src)"
    debian = "rustc-web cargo-web rust-web-src lld-22"
    other = package(debian, "rustup")
    return f"install rustup from https://rustup.rs, then {add}" + (f"; or {other}" if debian in other else "")


def identities(source: Path) -> tuple[str, ...]:
    """Every program that could compile, with the libraries it has, as ``Inputs.tools`` names them; runs nothing."""
    told = []
    for cargo, rustc in pairs(source):
        told += [identity(cargo), identity(rustc)]
        roots = [Path(os.path.realpath(rustc)).parent.parent]
        if _is_rustup(cargo):
            rustup = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
            told.append(identity(rustup / "settings.toml"))
            roots = sorted((rustup / "toolchains").glob("*"))
        for root in roots:
            library = root / "lib" / "rustlib"
            told += [identity(root / "bin" / f"rustc{_EXE}"), identity(library / "components")]
            told += [identity(library / target / "lib") for target in TARGETS]
            told.append(identity(library / "src" / "rust" / "library" / "Cargo.lock"))
    return tuple(told)


def probe() -> Found | None:
    """For ``wasme doctor``."""
    folder = Path.cwd()
    try:
        found = find(folder)
    except ToolMissing as missing:
        here = next(pairs(folder), None)
        return Found(str(here[0]), "", missing.message, usable=False) if here else None
    try:
        chosen = choose(found)
    except ToolMissing:
        return Found(str(found[0].program), found[0].release, f"no library for {TARGET}", usable=False)
    one = chosen.cargo
    note = f"with {chosen.target}"
    newest = max(found, key=lambda each: each.version)
    if newest != one:
        note += f"; {newest.program} {newest.release} where a crate needs it"
    if chosen.from_sources:
        note = note.replace(f"with {chosen.target}", f"with the sources of its library, compiled once for {TARGET}")
        if on_path("cc") is None:
            why = "cc is missing, which links the build scripts of its library"
            return Found(str(one.program), one.release, why, usable=False, remedy=host_linker_how())
        if not one.has_linker():
            try:
                linker()
            except ToolMissing:
                return Found(str(one.program), one.release, "wasm-ld is missing: apt-get install lld", usable=False)
    return Found(str(one.program), one.release, note)


def _targets(wanted: str) -> tuple[str, ...]:
    if wanted in ("wasm32-wasi", "wasm32-wasip1"):
        return TARGETS[1:]
    return (wanted,) if wanted else TARGETS


def _is_rustup(cargo: Path) -> bool:
    return Path(os.path.realpath(cargo)).name.startswith("rustup") or (cargo.parent / f"rustup{_EXE}").is_file()


def _ask(cargo: Path, rustc: Path, source: Path) -> Cargo | str:
    """What a rustc says of itself; a text where it says something else."""
    import subprocess

    said = []
    for question in (["-vV"], ["--print", "sysroot"]):
        try:
            answer = subprocess.run(
                [rustc, *question],
                cwd=source,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
                check=False,
            )
        except OSError as error:
            return error.strerror or str(error)
        if answer.returncode:
            return " ".join(answer.stderr.split())
        said.append(answer.stdout)
    facts = dict(line.split(": ", 1) for line in said[0].splitlines() if ": " in line)
    release, commit = facts.get("release", ""), facts.get("commit-hash", "")
    if not parse_version(release):
        return "it does not say which version it is"
    return Cargo(
        cargo, rustc, release, "" if commit == "unknown" else commit, facts.get("host", ""), Path(said[1].strip())
    )
