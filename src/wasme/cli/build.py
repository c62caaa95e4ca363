"""``wasme build assemblyscript|precompiled``: an image in the store, made of sources or of a module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from wasme.cli.grammar import Group, Invocation, command, exactly, flag, option
from wasme.cli.options import output_option

if TYPE_CHECKING:
    from wasme.build.image import Built
    from wasme.build.toolchain import Listener

build = Group(
    "build",
    table={
        "assemblyscript": (
            "wasme.cli.build:assemblyscript",
            "Build a wasm image from an AssemblyScript filter, with the project's own compiler.",
        ),
        "cpp": ("wasme.cli.not_yet:cpp", ""),
        "precompiled": ("wasme.cli.build:precompiled", "Build a wasm image from a Precompiled filter."),
        "rust": ("wasme.cli.not_yet:rust", ""),
        "tinygo": ("wasme.cli.not_yet:tinygo", ""),
    },
    help="""
    Build a wasm image from the filter source directory.

    Options for the build are specific to the target language.
    """,
    persistent=[
        flag("--tag", "-t", help="name under which the image is kept, name:tag; required"),
        flag("--config", "-c", help="runtime config file; the default is runtime-config.json in the source folder"),
        flag("--store", help="the local folder of wasm images; the default is $HOME/.wasme/oci"),
        flag("--image", "-i", help="builder image; this version builds natively and runs none"),
        flag("--tmp-dir", help="folder to work in, which stays; the default is one that is removed afterwards"),
    ],
)


@command(
    "assemblyscript",
    use="build assemblyscript SOURCE_DIRECTORY",
    args=exactly(1),
    help="""
    Build a wasm image from an AssemblyScript filter.

    npm installs what the project's lock file names, unless it is there already, and runs the project's script
    `asbuild`. Node.js is the machine's own, else that of `pip install 'wasme[assemblyscript]'`. The module is checked
    as Envoy would check it before it is kept.
    """,
    examples="wasme build assemblyscript . -t localhost:5000/me/add-header:v0.1",
)
@option("--username", "-u", help="npm login: user name at the project's npm registry")
@option("--password", "-p", help="npm login: password")
@option("--email", "-e", help="npm login: e-mail address")
@output_option
def assemblyscript(
    args: tuple[str, ...],
    tag: str,
    config: str,
    store: str,
    image: str,
    tmp_dir: str,
    username: str,
    password: str,
    email: str,
    output: str,
) -> None:
    """Order, build, tell."""
    from wasme.build import image as images
    from wasme.build import order
    from wasme.build.assemblyscript import AssemblyScript, parse_login

    login = parse_login(username, password, email)
    placed = order.read(args[0], tag=tag, config=config, store=store, tmp_dir=tmp_dir, precompiled=False)
    _note_image(image)
    with _watching() as listener:
        built = images.build(placed, AssemblyScript(login), listener)
    _tell(built, output)


@command(
    "precompiled",
    use="build precompiled COMPILED_FILTER_FILE",
    args=exactly(1),
    help="""
    Build a wasm image from a module that is compiled already.

    The default runtime config is runtime-config.json in the current folder.
    """,
    examples="wasme build precompiled filter.wasm -t localhost:5000/me/filter:v0.1 -c runtime-config.json",
)
@output_option
def precompiled(
    args: tuple[str, ...], tag: str, config: str, store: str, image: str, tmp_dir: str, output: str
) -> None:
    """Order, keep, tell."""
    from wasme.build import image as images
    from wasme.build import order

    placed = order.read(args[0], tag=tag, config=config, store=store, tmp_dir=tmp_dir, precompiled=True)
    _note_image(image)
    _tell(images.keep_precompiled(placed), output)


def _note_image(image: str) -> None:
    if image:
        import logging

        logging.getLogger(__name__).info(
            "building natively: this version of wasme runs no builder image", extra={"fields": {"image": image}}
        )


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

    if click.get_current_context().ensure_object(Invocation).verbose:
        yield Listener(noise=_say)
        return
    with working() as step:

        def warn(text: str) -> None:
            step("")
            _say(text)

        yield Listener(step=step, warning=warn)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
