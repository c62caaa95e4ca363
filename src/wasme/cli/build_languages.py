"""``wasme build cpp|rust|assemblyscript|tinygo|precompiled``: one command for each language."""

from __future__ import annotations

from typing import Any

from wasme.cli.building import Flags, compile_and_keep, keep
from wasme.cli.grammar import command, exactly
from wasme.cli.options import bazel_options, npm_options, output_option, sdk_option

_CHECKED = "The module is checked as Envoy would check it before it is kept."


@command(
    "assemblyscript",
    use="build assemblyscript SOURCE_DIRECTORY",
    args=exactly(1),
    help=f"""
    Build a wasm image from an AssemblyScript filter.

    npm installs what the project's lock file names, unless it is there already, and runs the project's script
    `asbuild`. Node.js is the machine's own, else that of `pip install 'wasme[assemblyscript]'`.

    {_CHECKED}
    """,
    examples="wasme build assemblyscript . -t localhost:5000/me/add-header:v0.1",
)
@npm_options
@output_option
def assemblyscript(args: tuple[str, ...], username: str, password: str, email: str, **flags: Any) -> None:
    """Node and npm, or a builder image."""
    from wasme.build.assemblyscript.toolchain import parse_login

    compile_and_keep(
        "assemblyscript",
        args[0],
        Flags(**flags),
        wish={"npm_login": (username, password, email)},
        options={"login": parse_login(username, password, email)},
    )


@command(
    "cpp",
    use="build cpp SOURCE_DIRECTORY",
    args=exactly(1),
    help=f"""
    Build a wasm image from a C++ filter.

    The compiler is zig's (`pip install 'wasme[cpp]'`), else clang with its WebAssembly libraries, else Emscripten. A
    Bazel project is built in a container of the builder image, which needs docker or podman.

    {_CHECKED}
    """,
    examples="wasme build cpp . -t localhost:5000/me/add-header:v0.1",
)
@bazel_options(":filter.wasm")
@sdk_option
@output_option
def cpp(args: tuple[str, ...], build_dir: str, bazel_output: str, bazel_target: str, sdk: str, **flags: Any) -> None:
    """zig, clang, Emscripten, or a builder image."""
    compile_and_keep(
        "cpp",
        args[0],
        Flags(**flags),
        build_dir=build_dir,
        wish={"target": bazel_target, "output": bazel_output},
        options=cpp_options(sdk),
    )


@command(
    "rust",
    use="build rust SOURCE_DIRECTORY",
    args=exactly(1),
    help=f"""
    Build a wasm image from a Rust filter.

    cargo builds the project's library for a WebAssembly target. A Bazel project without a Cargo.toml is built in a
    container of the builder image, which needs docker or podman.

    {_CHECKED}
    """,
    examples="wasme build rust . -t localhost:5000/me/auth:v0.1",
)
@bazel_options(":filter")
@output_option
def rust(args: tuple[str, ...], build_dir: str, bazel_output: str, bazel_target: str, **flags: Any) -> None:
    """Cargo, or a builder image."""
    compile_and_keep(
        "rust",
        args[0],
        Flags(**flags),
        build_dir=build_dir,
        wish={"target": bazel_target, "output": bazel_output},
    )


@command(
    "tinygo",
    use="build tinygo SOURCE_DIRECTORY",
    args=exactly(1),
    help=f"""
    Build a wasm image from a Go filter.

    The compiler is tinygo where it is on PATH, else Go 1.24 or newer (`pip install 'wasme[go]'`).

    {_CHECKED}
    """,
    examples="wasme build tinygo . -t localhost:5000/me/add-header:v0.1",
)
@output_option
def tinygo(args: tuple[str, ...], **flags: Any) -> None:
    """TinyGo, Go, or a builder image."""
    compile_and_keep("tinygo", args[0], Flags(**flags))


@command(
    "precompiled",
    use="build precompiled COMPILED_FILTER_FILE",
    args=exactly(1),
    help=f"""
    Build a wasm image from a module that is compiled already.

    The default runtime config is runtime-config.json in the current folder.

    {_CHECKED}
    """,
    examples="wasme build precompiled filter.wasm -t localhost:5000/me/filter:v0.1 -c runtime-config.json",
)
@output_option
def precompiled(args: tuple[str, ...], **flags: Any) -> None:
    """Check and keep."""
    keep(args[0], Flags(**flags))


def cpp_options(sdk: str) -> dict[str, Any]:
    """What the C++ toolchain is told."""
    from pathlib import Path

    return {"sdk": Path(sdk).absolute()} if sdk else {}
