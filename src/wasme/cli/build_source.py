"""``wasme build SOURCE``: the language found by the project's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wasme.cli.building import Flags, compile_and_keep, keep
from wasme.cli.grammar import command, exactly
from wasme.cli.options import bazel_options, npm_options, output_option, sdk_option
from wasme.errors import UsageError

_FOR = {
    "--build-dir": ("assemblyscript", "cpp", "rust", "tinygo"),
    "--bazel-output": ("cpp", "rust"),
    "--bazel-target": ("cpp", "rust"),
    "--sdk": ("cpp",),
    "--username": ("assemblyscript",),
    "--password": ("assemblyscript",),
    "--email": ("assemblyscript",),
}


@command(
    "source",
    use="build SOURCE",
    args=exactly(1),
    help="""
    Build a wasm image from a filter's source folder, or from a compiled module.

    The language is found by the project's files: package.json is AssemblyScript, *.cc or *.cpp C++, Cargo.toml Rust,
    go.mod Go, a .wasm file is compiled already. The rest is as for that language's own command: `wasme build --help`
    lists them.
    """,
    examples="wasme build . -t localhost:5000/me/add-header:v0.1",
)
@bazel_options("")
@sdk_option
@npm_options
@output_option
def source(
    args: tuple[str, ...],
    build_dir: str,
    bazel_output: str,
    bazel_target: str,
    sdk: str,
    username: str,
    password: str,
    email: str,
    **flags: Any,
) -> None:
    """Find the language, then build as its own command does."""
    from wasme.build import find
    from wasme.build.builder import BAZEL_OUTPUT

    kind = find.kind_of(Path(args[0]), build_dir)
    given = {
        "--build-dir": build_dir != ".",
        "--bazel-output": bazel_output != BAZEL_OUTPUT,
        "--bazel-target": bazel_target,
        "--sdk": sdk,
        "--username": username,
        "--password": password,
        "--email": email,
    }
    for name, is_given in given.items():
        if is_given and kind.language not in _FOR[name]:
            raise UsageError(f"{name} is of no use here: {Path(args[0])} is {kind.language}")
    if kind.file is not None:
        inside = Path(args[0]) / "runtime-config.json"
        keep(str(kind.file), Flags(**flags), str(inside) if inside.is_file() else "")
        return
    options: dict[str, Any] = {}
    if kind.language == "assemblyscript":
        from wasme.build.assemblyscript.toolchain import parse_login

        options = {"login": parse_login(username, password, email)}
    elif kind.language == "cpp":
        from wasme.cli.build_languages import cpp_options

        options = cpp_options(sdk)
    compile_and_keep(
        kind.language,
        args[0],
        Flags(**flags),
        build_dir=build_dir,
        wish={"target": bazel_target, "output": bazel_output, "npm_login": (username, password, email)},
        options=options,
    )
