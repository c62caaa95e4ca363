"""Who builds: the toolchain on this machine, or a builder image in a container."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wasme.build.find import is_bazel, suits_builder_image
from wasme.build.languages import Language
from wasme.build.toolchain import Inputs, Listener, Tool, Toolchain
from wasme.errors import ToolMissing

if TYPE_CHECKING:
    from wasme.build.container import Container, Engine
    from wasme.build.order import Order

BUILDERS = ("auto", "native", "docker", "podman")
BAZEL_OUTPUT = "filter.wasm"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user says about who builds, and what a builder image is told.

    Attributes:
        builder: one of ``BUILDERS``.
        image: the builder image; "" where none was named.
        target: ``--bazel-target``; "" for the language's own.
        output: ``--bazel-output``.
        npm_login: user name, password and e-mail address at the npm registry.
    """

    builder: str = "auto"
    image: str = ""
    target: str = ""
    output: str = BAZEL_OUTPUT
    npm_login: tuple[str, str, str] = field(default=("", "", ""), repr=False)


def choose(language: Language, native: Toolchain, order: Order, wish: Wish) -> Toolchain:
    """The toolchain for one build; its ``compile`` takes ``order.folder``.

    Args:
        language: the project's.
        native: this machine's toolchain for it.
        order: what to build.
        wish: what the user says.

    Raises:
        ToolMissing: what must build it is not here.
    """
    if wish.builder == "native":
        _note(wish, "--builder says so")
        return native
    if wish.builder != "auto":
        from wasme.build import container

        return _contained(language, order, container.named(wish.builder), wish)
    only_bazel = _needs_bazel(language, native, order)
    if only_bazel or wish.image:
        from wasme.build import container

        engine = container.answering()
        if engine is not None:
            return _contained(language, order, engine, wish)
        if only_bazel:
            ways = [container.HOW, f"begin anew with `wasme init --language={language.name}`, which needs none"]
            if language.name == "cpp":
                ways.insert(1, "build it with --sdk DIR if it uses nothing but the upstream SDK")
            raise ToolMissing(
                f"{order.source} is a Bazel project, which is built in a container, and no docker or podman answers",
                hint="; or ".join(ways),
            )
        _note(wish, "no docker or podman answers")
    return _NativeFirst(language, native, order, wish)


def leaves_work(language: Language, toolchain: Toolchain) -> bool:
    """Whether wasm-opt has something to do after it; what a builder image makes is left as it is."""
    return language.optimise and not hasattr(toolchain, "orders")


def _needs_bazel(language: Language, native: Toolchain, order: Order) -> bool:
    """Whether nothing but Bazel builds this project, which wasme runs in containers only.

    A Bazel workspace with a manifest of the language's own, or with the SDK in it or named, is built natively.
    """
    if not language.bazel_target or not (is_bazel(order.source) or is_bazel(order.folder)):
        return False
    if language.name == "rust":
        return not (order.folder / "Cargo.toml").is_file()
    from wasme.build.cpp.toolchain import HEADER, VARIABLE

    return not (getattr(native, "sdk", None) or os.environ.get(VARIABLE) or (order.folder / HEADER).is_file())


def _contained(language: Language, order: Order, engine: Engine, wish: Wish) -> Container:
    from wasme.build import container

    workspace = order.folder
    if language.name == "assemblyscript":
        orders = container.npm(*wish.npm_login)
        if wish.npm_login[0] and not wish.npm_login[2]:
            log.warning("the builder image logs in to npm only where --email is given too")
    elif language.name == "tinygo":
        orders = container.tinygo()
    else:
        if not is_bazel(order.folder):  # a package of the workspace around it
            workspace = order.source
        package = order.folder.relative_to(workspace).as_posix()
        orders = container.bazel(wish.target or language.bazel_target, wish.output, package)
    return container.Container(language.name, engine, wish.image or container.DEFAULT_IMAGE, orders, workspace)


def _note(wish: Wish, reason: str) -> None:
    if wish.image:
        log.info(f"building natively: {reason}", extra={"fields": {"image": wish.image}})


@dataclass(frozen=True, slots=True)
class _NativeFirst:
    """A ``Toolchain``: this machine's; where that is not here, a container, if the builder image has what it takes."""

    made_for: Language
    native: Toolchain
    order: Order
    wish: Wish

    @property
    def language(self) -> str:
        return self.native.language

    def compile(self, source: Path, scratch: Path, listener: Listener) -> Path:
        try:
            return self.native.compile(source, scratch, listener)
        except ToolMissing as missing:
            from wasme.build import container

            if not suits_builder_image(self.made_for.name, self.order.folder):
                raise
            engine = container.answering()
            if engine is None:
                hint = f"{missing.hint}; or {container.HOW}" if missing.hint else container.HOW
                raise ToolMissing(missing.message, hint=hint) from None
            made = _contained(self.made_for, self.order, engine, self.wish)
            log.info(f"building in a container: {missing.message}", extra={"fields": {"image": made.image}})
            return made.compile(source, scratch, listener)

    def inputs(self, source: Path) -> Inputs | None:
        return self.native.inputs(source)

    def tools(self) -> tuple[Tool, ...]:
        return self.native.tools()
