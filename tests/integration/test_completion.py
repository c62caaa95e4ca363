"""Shell completion works in a real shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def _complete(*words: str) -> list[str]:
    """What bash offers after TAB at the end of ``words``."""
    script = (
        'eval "$(wasme completion bash)"\n'
        f"COMP_WORDS=({' '.join(words)!s})\n"
        f"COMP_CWORD={len(words) - 1}\n"
        '_wasme_completion wasme\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("wasme", "pu"), ["pull", "push"]),
        (("wasme", "hub", "''"), ["serve", "user"]),
        (("wasme", "build", "pre"), ["precompiled"]),
        (("wasme", "push", "--lay"), ["--layout"]),
        (("wasme", "push", "--layout", "c"), ["compat"]),
        (("wasme", "push", "--layout", "="), ["oci", "compat", "wasm"]),
        (("wasme", "build", "--t"), ["--tag", "--tmp-dir"]),
        (("wasme", "--v"), ["--verbose", "--version"]),
        (("wasme", "init", "--platform", "e"), ["envoy", "envoy-gateway"]),
        (("wasme", "init", "--language", "''"), ["cpp", "rust", "assemblyscript", "tinygo"]),
        (("wasme", "init", "--example", "a"), ["add-header", "auth"]),
    ],
)
def test_bash_completes_commands_flags_and_choices(words: tuple[str, ...], offered: list[str]) -> None:
    """TAB offers what may stand there."""
    assert _complete(*words) == offered


@pytest.mark.parametrize(
    ("shell", "word"), [("zsh", "#compdef wasme"), ("fish", "complete --no-files --command wasme")]
)
def test_other_shells_get_their_script(run: Callable[..., Any], shell: str, word: str) -> None:
    """zsh and fish scripts name the command."""
    assert word in run("completion", shell).stdout
