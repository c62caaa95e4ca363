"""`wasme doctor`, and how Node.js is found."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.engines import Recorder
from wasme.build import doctor, tools
from wasme.build.assemblyscript import node
from wasme.errors import ToolMissing

Run = Callable[..., Result]


@pytest.fixture
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there, and no wheel of Node.js."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(node, "in_wheel", lambda: None)
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_nothing_is_no_failure(run: Run, empty_path: Path) -> None:
    """On a bare machine every missing tool has a line that says how to get it; exit code 0."""
    listed = {each["name"]: each for each in run("doctor", "-o", "json").json}
    languages = {"node", "npm", "asc", "zig", "clang", "em++", "cargo", "cc", "tinygo", "go", "wasm-opt"}
    assert {"python", *languages, "envoy", "docker", "podman", "git", "make", "skopeo"} == set(listed)
    assert listed["python"]["found"]
    for name in ("node", "npm", "docker", "podman", "git", "make"):
        assert not listed[name]["found"]
        assert listed[name]["how"]
    assert listed["node"]["how"].startswith("pip install 'wasme[assemblyscript]'")


def test_table(run: Run, empty_path: Path) -> None:
    """The table has a line for each tool: its version and path, or how to get it."""
    program(empty_path, "git", "echo git version 2.39.5")
    lines = run("doctor").stdout.splitlines()
    assert lines[0].split() == ["TOOL", "VERSION", "FOR", "WHERE"]
    git = next(line for line in lines if line.startswith("git "))
    assert " 2.39.5 " in git
    assert str(empty_path / "git") in git
    assert "not here: " in next(line for line in lines if line.startswith("podman "))


def test_a_hanging_tool_holds_nobody_up(empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes run side by side, each with a time limit; a tool that hangs is here, its version unknown."""
    monkeypatch.setattr(tools, "TIMEOUT", 2.0)
    for name in ("git", "make", "docker", "podman"):
        program(empty_path, name, "/bin/sleep 30; exit 0")
    begun = time.monotonic()
    found = {each.name: each.found for each in doctor.examine()}
    assert time.monotonic() - begun < 7.5  # one after the other it would be eight seconds
    assert all(found[name] is not None and found[name].version == "" for name in ("git", "make", "docker", "podman"))


def test_a_client_alone_is_not_usable(run: Run, engine: Callable[..., Recorder]) -> None:
    """docker's client without an engine is told as that, with what to do; the one that answers is taken."""
    engine("podman")
    listed = {each["name"]: each for each in run("doctor", "-o", "json").json}
    assert (listed["docker"]["found"], listed["docker"]["usable"]) == (True, False)
    assert listed["docker"]["how"] == "start it, and see that `docker info` ends well"
    assert (listed["docker"]["chosen"], listed["podman"]["chosen"]) == (False, True)
    line = next(line for line in run("doctor").stdout.splitlines() if line.startswith("docker "))
    assert line.endswith("(only the client: no engine answers): start it, and see that `docker info` ends well")


def test_wasm_opt(run: Run, empty_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that a build would take, with its version, which may be a bare number; or why it is none."""
    program(empty_path, "wasm-opt", "echo 'wasm-opt version 132 (version_132)'")
    listed = {each["name"]: each for each in run("doctor", "-o", "json").json}
    assert (listed["wasm-opt"]["version"], listed["wasm-opt"]["path"]) == ("132", str(empty_path / "wasm-opt"))
    monkeypatch.setenv("WASM_OPT", "/nothing")
    listed = {each["name"]: each for each in run("doctor", "-o", "json").json}
    assert not listed["wasm-opt"]["usable"]
    assert "$WASM_OPT names /nothing, which is no program" in listed["wasm-opt"]["note"]


def test_one_language_has_one_compiler(run: Run) -> None:
    """Of several that are here, the first is taken, and that is said."""
    chosen: dict[str, list[str]] = {}
    for each in run("doctor", "-o", "json").json:
        if each["chosen"]:
            chosen.setdefault(each["purpose"].partition(":")[0], []).append(each["name"])
    assert all(len(names) == 1 for names in chosen.values())


def test_old_node_is_here_and_not_usable(run: Run, empty_path: Path) -> None:
    """A Node.js that is too old is listed with its version, as not usable."""
    program(empty_path, "node", "echo v18.2.0")
    program(empty_path, "npm", "echo 9.0.0")
    listed = {each["name"]: each for each in run("doctor", "-o", "json").json}
    assert (listed["node"]["version"], listed["node"]["usable"]) == ("18.2.0", False)


@pytest.mark.parametrize(
    ("programs", "words"),
    [
        ({}, "Node.js is not on this machine"),
        ({"node": "echo v18.2.0", "npm": "true"}, "Node.js 18.2.0 is too old"),
        ({"node": "echo v22.1.0"}, "npm is not on this machine"),
        ({"node": "exit 1", "npm": "true"}, "Node.js is not on this machine"),
    ],
)
def test_no_node_is_one_line(empty_path: Path, programs: dict[str, str], words: str) -> None:
    """What is missing is said, why, and how to get it."""
    for name, script in programs.items():
        program(empty_path, name, script)
    with pytest.raises(ToolMissing, match=words) as caught:
        node.find()
    assert "pip install" in (caught.value.hint or "")


def test_own_node_first(empty_path: Path) -> None:
    """The machine's own Node.js is used where it is new enough; npm finds that node first on PATH."""
    program(empty_path, "node", "echo v20.1.0")
    program(empty_path, "npm", "true")
    found = node.find()
    assert (found.origin, found.version) == ("PATH", "20.1.0")
    assert found.environment()["PATH"].split(os.pathsep)[0] == str(empty_path)
