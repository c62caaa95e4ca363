"""wasm-opt after the compiler: smaller modules, with nothing in them that Envoy does not take.

Its features are named one by one: with all of them on, it writes types that Envoy's V8 refuses to load. What it makes
is kept only where it is smaller and passes the same check as the compiler's module.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from wasme.build.toolchain import Found, Listener, Tool, identity, on_path
from wasme.errors import BuildFailed, ModuleError, ToolMissing

MODES = ("auto", "always", "never")
VARIABLE = "WASM_OPT"
HOW = "npm install --global binaryen, or apt-get install binaryen"
_FEATURES = (
    "bulk-memory",
    "sign-ext",
    "mutable-globals",
    "nontrapping-float-to-int",
    "multivalue",
    "reference-types",
)
# The list of producers stays: it is a hundred bytes, and tells `wasme inspect` the language.
FLAGS = (
    "--mvp-features",
    *(f"--enable-{name}" for name in _FEATURES),
    "-Oz",
    "--strip-debug",
    "--strip-target-features",
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Optimiser:
    """A wasm-opt.

    Attributes:
        path: where it is.
        origin: who named it: ``$WASM_OPT``, ``the project``, ``PATH``.
    """

    path: Path
    origin: str

    @property
    def identity(self) -> str:
        """What modules depend on."""
        return f"{identity(self.path)} {' '.join(FLAGS)}"

    def optimise(self, module: Path, scratch: Path, listener: Listener) -> bytes | None:
        """The module made smaller; None where it comes out no smaller, or as something that Envoy would refuse.

        Args:
            module: the compiler's; it stays as it is.
            scratch: a folder to work in.
            listener: who hears of it.

        Raises:
            BuildFailed: wasm-opt said no.
        """
        from wasme.build import process
        from wasme.wasm import check

        made = scratch / "filter.optimised.wasm"
        listener.step("optimising")
        try:
            process.run(
                [str(self.path), *FLAGS, str(module), "-o", str(made)],
                cwd=scratch,
                env=dict(os.environ),
                noise=listener.noise,
            )
            content = made.read_bytes()
        except OSError as error:
            raise BuildFailed(f"{self.path} ended well, but left no module: {error.strerror}") from None
        finally:
            made.unlink(missing_ok=True)
        before = module.stat().st_size
        told = {"before": before, "after": len(content), "path": str(self.path)}
        if len(content) >= before:
            log.debug("wasm-opt made the module no smaller", extra={"fields": told})
            return None
        try:
            check.require_loadable(content)
        except ModuleError as error:
            log.warning("wasm-opt's module is not used", extra={"fields": {**told, "reason": error.message}})
            return None
        log.debug("wasm-opt made the module smaller", extra={"fields": told})
        return content


def find(project: Path | None) -> Optimiser | None:
    """The wasm-opt to use: that of $WASM_OPT, the project's own, that on PATH.

    Args:
        project: the project's folder; None for none.

    Raises:
        ToolMissing: $WASM_OPT names no program.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ToolMissing(f"${VARIABLE} names {named}, which is no program", hint=f"let it name wasm-opt: {HOW}")
        return Optimiser(Path(named), f"${VARIABLE}")
    if project is not None:
        own = project / "node_modules" / ".bin" / "wasm-opt"
        if os.access(own, os.X_OK):
            return Optimiser(own, "the project")
    found = on_path("wasm-opt")
    return Optimiser(Path(found), "PATH") if found else None


def choose(mode: str, project: Path, *, pays: bool) -> Optimiser | None:
    """The optimiser for one build.

    Args:
        mode: ``--optimize``.
        project: the project's folder.
        pays: whether this language's compiler leaves something to do.

    Raises:
        ToolMissing: it must be used and is not here.
    """
    if mode == "never" or (mode == "auto" and not pays):
        return None
    found = find(project)
    if found is None and mode == "always":
        raise ToolMissing("wasm-opt is not on this machine: --optimize=always needs it", hint=HOW)
    return found


def tool() -> Tool:
    """For ``wasme doctor``."""

    def probe() -> Found | None:
        from wasme.build import tools

        try:
            found = find(Path.cwd())
        except ToolMissing as error:
            return Found(os.environ[VARIABLE], "", error.message, usable=False)
        if found is None:
            return None
        note = "" if found.origin == "PATH" else f"of {found.origin}"
        return Found(str(found.path), tools.version(str(found.path), tools.NUMBER), note)

    return Tool("wasm-opt", "build cpp, build rust: makes the module smaller", HOW, probe)
