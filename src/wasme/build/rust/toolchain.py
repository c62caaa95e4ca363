"""The Rust toolchain: cargo, for WebAssembly.

The project's Cargo.toml, Cargo.lock and .cargo/config.toml decide as they do when the user runs ``cargo build
--release``; wasme adds what makes the module the same everywhere, and a standard library where none is installed.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.build.rust import cargo, cargo_config, sources
from wasme.build.rust.cargo import Cargo, Choice, Version
from wasme.build.rust.cargo_config import Config
from wasme.build.toolchain import Inputs, Listener, Tool
from wasme.errors import BuildFailed, InputError

if TYPE_CHECKING:
    from wasme.build.rust.crate import Crate

# Rust 1.96 asks where a host's function comes from, which proxy-wasm says since 0.2.3; the check of the finished module
# finds any function that Envoy does not have.
_ASKS_WHENCE: Version = (1, 96)
_IMPORTS = "-Clink-arg=--import-undefined"
_BAZEL = ("WORKSPACE", "WORKSPACE.bazel", "MODULE.bazel")
# The environment that a module may depend on, whole or by its beginning; no secrets of registries.
_VARIABLES = ("RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_BOOTSTRAP", "RUSTUP_TOOLCHAIN")
_FAMILIES = ("CARGO_ENCODED_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rust:
    """A ``Toolchain``."""

    language: str = "rust"

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Compile the library of the crate in the project's folder."""
        import shutil

        from wasme.build import process
        from wasme.build.rust import crate

        if not (source / "Cargo.toml").is_file():
            raise _no_crate(source)
        config = cargo_config.load(source)
        found = cargo.find(source)
        choice = cargo.choose(found, config.target())
        made = _read(found, choice, source, listener)
        choice = cargo.choose(found, config.target(), made.needs, made.needed_by)
        compiler = {
            "version": choice.cargo.release,
            "cargo": str(choice.cargo.program),
            "rustc": str(choice.cargo.rustc),
        }
        log.debug("this Rust compiles the project", extra={"fields": compiler})
        arguments, changes = _flags(config, choice, made, listener)
        environment = choice.cargo.environment()
        for name, value in changes.items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        listener.step("compiling")
        argv = [str(choice.cargo.program), "build", "--release", "--lib", f"--target={choice.target}"]
        argv += ["--manifest-path", str(made.manifest), *arguments]
        try:
            said = process.run(argv, cwd=source, env=environment, noise=listener.noise)
        except BuildFailed as error:
            raise BuildFailed(_first_line(error.message), hint=_hint(error.message)) from None
        module = made.module(choice.target)
        if not module.is_file():
            raise BuildFailed(f"{choice.cargo.program} ended well, but made no {module}")
        warnings = crate.without_status(said)
        if warnings:
            listener.warning(warnings)
        if (source / "filter.rs").is_file() and made.source.resolve() != (source / "filter.rs").resolve():
            listener.remark(
                f"filter.rs is not part of the crate: {os.path.relpath(made.source, source)} is what was compiled",
                'move it there, or add `path = "filter.rs"` to [lib] of Cargo.toml',
            )
        copy = scratch / "filter.wasm"
        shutil.copyfile(module, copy)
        return copy

    def inputs(self, source: Path) -> Inputs | None:
        """The folder, what rustup and cargo are told above it, and the programs; None where more could count.

        That is: a build script, crates and files outside the folder, a workspace around it, the environment.
        """
        config = cargo_config.load(source)
        skip = {"target", ".git"}
        folder = config.first("build", "target-dir")
        if isinstance(folder, str):
            skip.add(Path(folder).name)
        if sources.depend_on_more(source, frozenset(skip)):
            return None
        variables = sorted(
            f"{name}={value}"
            for name, value in os.environ.items()
            if name in _VARIABLES or (name.startswith(_FAMILIES) and name != "CARGO_TARGET_DIR")
        )
        above = [path for path in (*cargo_config.files(source), *cargo.pins(source)) if path.is_file()]
        return Inputs(
            roots=(source, *(path for path in above if source not in path.parents)),
            skip=frozenset(skip),
            tools=(*cargo.identities(source), *variables),
        )

    def tools(self) -> tuple[Tool, ...]:
        """Cargo, with a standard library for WebAssembly; and what links build scripts."""
        from wasme.build.tools import program

        return (
            Tool("cargo", "build rust: the compiler", cargo.how(), cargo.probe),
            Tool("cc", "build rust: crates with build scripts", cargo.host_linker_how(), program("cc")),
        )


def _read(found: Sequence[Cargo], choice: Choice, source: Path, listener: Listener) -> Crate:
    """The project as the cargo that compiles it sees it; where that one is too old to, as the newest does.

    Raises:
        BuildFailed: neither can: the words of the first.
    """
    from wasme.build.rust import crate

    newest = max(found, key=lambda each: each.version)
    failed = None
    for one in dict.fromkeys((choice.cargo, newest)):
        fields = {"version": one.release, "cargo": str(one.program)}
        log.debug("this cargo reads the project's Cargo.toml and Cargo.lock", extra={"fields": fields})
        try:
            return crate.read(one, source, choice.target, listener)
        except BuildFailed as error:
            failed = failed or error
    assert failed is not None
    where = f"{choice.cargo.program} (Rust {choice.cargo.release}) cannot read the project"
    raise BuildFailed(f"{where}:\n{_said(failed.message) or failed.message}", hint=failed.hint)


def _flags(config: Config, choice: Choice, made: Crate, listener: Listener) -> tuple[list[str], dict[str, str | None]]:
    """Arguments and variables for cargo: no path of this machine in the module, a library, a linker."""
    # Of several that fit, rustc takes the last.
    flags = [f"--remap-path-prefix={made.output}=target", f"--remap-path-prefix={made.workspace}=."]
    flags += [f"--remap-path-prefix={folder}=/crates/{name}" for name, folder in sorted(made.others.items())]
    library = choice.cargo.library
    there = f"/rustc/{choice.cargo.commit or choice.cargo.release}/library"
    flags += [f"--remap-path-prefix={path}={there}" for path in sorted({str(library), os.path.realpath(library)})]
    if choice.cargo.version >= _ASKS_WHENCE:
        flags.append(_IMPORTS)
    if choice.from_sources:
        from wasme.build.rust import std

        flags.append(f"--sysroot={std.sysroot(choice.cargo, listener)}")
    arguments, changes = config.with_flags(choice.target, flags)
    if not choice.cargo.has_linker() and not config.linker(choice.target):
        arguments += ["--config", f"target.{choice.target}.linker='{cargo.linker()}'"]
    return arguments, changes


def _no_crate(source: Path) -> Exception:
    if any((source / name).is_file() for name in _BAZEL):
        return InputError(
            f"{source} is a Bazel project without a Cargo.toml, which is built in a container only",
            hint="build it with --builder docker, or move its filter.rs to src/lib.rs of a project of `wasme init`",
        )
    return InputError(
        f"{source} has no Cargo.toml, so it is no Rust project",
        hint="begin one with: wasme init DEST_DIRECTORY --language=rust",
    )


def _first_line(message: str) -> str:
    """A failure without the flags of ours that fill the command line, and without what cargo was doing."""
    command = message.partition(":\n")[0]
    program = command.partition(" ")[0]
    ended = re.search(r"(?:exited with status|was ended by) \S+$", command)
    return f"{program} build {ended.group() if ended else 'failed'}:\n{_said(message)}"


def _said(message: str) -> str:
    """A failure's words, without the command line and what cargo was doing."""
    from wasme.build.rust.crate import without_status

    return without_status(message.partition(":\n")[2])


def _hint(said: str) -> str | None:
    if hint := cargo.hint_for(said):
        return hint
    if "has 2 parameters but the declaration in trait" in said or "has 3 parameters but the declaration" in said:
        return "callbacks of headers have end_of_stream since proxy-wasm 0.2, and have not in 0.1: see Cargo.toml"
    return None
