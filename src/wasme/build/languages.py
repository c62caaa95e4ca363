"""The languages that wasme builds, each with the class of its toolchain, imported only when it is wanted."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasme.build.toolchain import Toolchain, identity


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    Attributes:
        name: as ``init`` and ``build`` know it.
        title: as people write it.
        toolchain: ``package.module:Class`` of its ``Toolchain``.
        bazel_target: what the original built of a Bazel project; "" for a language it built without Bazel.
        optimise: whether wasm-opt makes the compiler's modules smaller.
    """

    name: str
    title: str
    toolchain: str
    bazel_target: str = ""
    optimise: bool = False

    def make(self, **options: Any) -> Toolchain:
        """Its toolchain, with what the command line says about it."""
        module, _, attribute = self.toolchain.partition(":")
        made: Toolchain = getattr(importlib.import_module(module), attribute)(**options)
        return made

    @property
    def identity(self) -> str:
        """The toolchain's own code, for what depends on it: an update in place is another toolchain."""
        folder = Path(__file__).with_name(self.name)
        return "\n".join(identity(folder / name) for name in sorted(os.listdir(folder)) if name.endswith(".py"))  # noqa: PTH208


LANGUAGES = {
    each.name: each
    for each in (
        Language("assemblyscript", "AssemblyScript", "wasme.build.assemblyscript.toolchain:AssemblyScript"),
        Language("cpp", "C++", "wasme.build.cpp.toolchain:Cpp", bazel_target=":filter.wasm", optimise=True),
        Language("rust", "Rust", "wasme.build.rust.toolchain:Rust", bazel_target=":filter", optimise=True),
        Language("tinygo", "Go", "wasme.build.tinygo.toolchain:TinyGo"),
    )
}
