"""Looking for programs: what most of a toolchain's ``tools`` are made of."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from wasme.build.toolchain import Found

TIMEOUT = 10.0
# Most programs say 1.2.3; a few only count.
NUMBER = re.compile(r"\d+(?:\.\d+)*")
VERSION = re.compile(r"\d+(?:\.\d+)+(?:[-+.][0-9A-Za-z.]+)?")


def package(debian: str, brew: str = "") -> str:
    """How to install a program with this machine's package manager.

    Args:
        debian: its package (or several) in Debian.
        brew: the same in Homebrew, where it is called otherwise.
    """
    if platform.system() == "Darwin":
        return f"brew install {brew or debian}"
    for manager, verb in (("apt-get", "install"), ("dnf", "install"), ("apk", "add"), ("pacman", "-S")):
        if shutil.which(manager):
            return f"{manager} {verb} {debian if manager == 'apt-get' else debian.removesuffix('.io')}"
    return f"install {debian.removesuffix('.io')} with your package manager"


def program(name: str) -> Callable[[], Found | None]:
    """A probe for a program on PATH that knows ``--version``."""

    def probe() -> Found | None:
        path = shutil.which(name)
        return Found(path, version(path)) if path else None

    return probe


def version(path: str, pattern: re.Pattern[str] = VERSION) -> str:
    """The version a program gives itself, or ""."""
    match = pattern.search(ask([path, "--version"]))
    return match.group() if match else ""


def ask(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What a program says on stdout and then on stderr; "" where it does not run or does not end in time."""
    try:
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return ""
    with process:
        try:
            return "".join(process.communicate(timeout=TIMEOUT))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started, which holds the pipe open too
            return ""
