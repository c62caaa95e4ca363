"""Looking for programs: what most of a toolchain's ``tools`` are made of."""

from __future__ import annotations

import platform
import re
import shutil
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
    """What a program says on stdout and stderr; "" where it does not run or does not end in time."""
    try:
        said = subprocess.run(
            argv,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout + said.stderr
