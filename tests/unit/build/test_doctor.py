"""`wasme doctor`, and how Node.js is found."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from wasme.build import doctor, node, tools
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
    assert {"python", "node", "npm", "asc", "envoy", "docker", "podman", "git", "make", "skopeo"} == set(listed)
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
    monkeypatch.setattr(tools, "TIMEOUT", 0.5)
    for name in ("git", "make", "docker", "podman"):
        program(empty_path, name, "exec /bin/sleep 30")
    begun = time.monotonic()
    found = {each.name: each.found for each in doctor.examine()}
    assert time.monotonic() - begun < 1.9
    assert all(found[name] is not None and found[name].version == "" for name in ("git", "make", "docker", "podman"))


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
