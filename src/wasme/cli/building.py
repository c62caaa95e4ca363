"""What the commands of ``wasme build`` share: from their flags to one build, and what is told of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from wasme.cli.grammar import Invocation
from wasme.errors import BuildFailed

if TYPE_CHECKING:
    from wasme.build.builder import Wish
    from wasme.build.image import Built
    from wasme.build.toolchain import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """The flags that every build takes, and ``--output``."""

    tag: str
    config: str
    store: str
    builder: str
    image: str
    tmp_dir: str
    optimize: str
    no_cache: bool
    output: str


def compile_and_keep(
    language: str,
    source: str,
    flags: Flags,
    *,
    build_dir: str = "",
    wish: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Order, build, tell.

    Args:
        language: a name of ``build.languages``.
        source: the project's folder.
        flags: as typed.
        build_dir: the folder in it that is built.
        wish: what a builder image is told besides.
        options: what the language's toolchain is told.
    """
    from wasme.build import builder, image, optimise, order
    from wasme.build.languages import LANGUAGES

    placed = order.read(
        source,
        tag=flags.tag,
        config=flags.config,
        store=flags.store,
        tmp_dir=flags.tmp_dir,
        build_dir=build_dir,
        precompiled=False,
    )
    found = LANGUAGES[language]
    asked: Wish = builder.Wish(flags.builder, flags.image, **(wish or {}))
    toolchain = builder.choose(found, found.make(**(options or {})), placed, asked)
    optimiser = optimise.choose(flags.optimize, placed.folder, pays=builder.leaves_work(found, toolchain))
    how = image.Options(optimiser, flags.optimize == "always", not flags.no_cache)
    with _watching() as listener:
        built = image.build(placed, toolchain, listener, how)
    _tell(built, flags.output)


def keep(module: str, flags: Flags, config: str = "") -> None:
    """Keep a module that is compiled already.

    Args:
        module: its file.
        flags: as typed.
        config: the runtime config to take where none was named; "" for that in the current folder.
    """
    from wasme.build import image, optimise, order

    placed = order.read(
        module,
        tag=flags.tag,
        config=flags.config or config,
        store=flags.store,
        tmp_dir=flags.tmp_dir,
        precompiled=True,
    )
    optimiser = optimise.choose(flags.optimize, placed.source.parent, pays=False)
    if flags.image:
        import logging

        logging.getLogger(__name__).info(
            "nothing is compiled, so no builder image is run", extra={"fields": {"image": flags.image}}
        )
    with _watching() as listener:
        built = image.keep_precompiled(placed, listener, image.Options(optimiser))
    _tell(built, flags.output)


def _tell(built: Built, output: str) -> None:
    if output == "json":
        from wasme.cli.output import emit_json

        emit_json(
            {
                "image": built.image,
                "digest": built.digest,
                "size": built.size,
                "manifestDigest": built.manifest_digest,
            }
        )


@contextmanager
def _watching() -> Iterator[Listener]:
    """A listener for a person: the step on a progress line, every word with ``-v``."""
    from wasme.build.toolchain import Listener
    from wasme.cli.terminal import working

    invocation = click.get_current_context().ensure_object(Invocation)
    if invocation.verbose:
        heard: set[str] = set()

        def tell(line: str) -> None:
            heard.add(line.strip())
            _say(line)

        try:
            yield Listener(noise=tell)
        except BuildFailed as error:
            what, _, quoted = error.message.partition("\n")
            # An error that goes to a program as JSON stays whole.
            is_heard = quoted and heard.issuperset(map(str.strip, quoted.split("\n")))
            if invocation.log_format == "json" or not is_heard:
                raise
            raise BuildFailed(f"{what.removesuffix(':')}; what it said stands above", hint=error.hint) from None
        return
    with working() as step:

        def warn(text: str) -> None:
            step("")
            _say(text)

        yield Listener(step=step, warning=warn)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
