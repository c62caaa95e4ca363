"""kill -9 between the first and the last write of `wasme init`, and two of them at once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ("--language=assemblyscript", "--platform=envoy", "--disable-prompt")


def init(folder: Path, *flags: str, at: int | None = None) -> subprocess.Popen[str]:
    program = ["-m", "wasme"] if at is None else ["-m", "tests.fixtures.killed", str(at)]
    return subprocess.Popen(
        [sys.executable, "-B", *program, "init", str(folder), *FLAGS, *flags],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ok(folder: Path, *flags: str) -> None:
    process = init(folder, *flags)
    _, said = process.communicate()
    assert process.returncode == 0, said


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without those that are still to be moved to their places."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if not name.startswith(".wasme-init-")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A project as it should be."""
    folder = tmp_path_factory.mktemp("whole") / "p"
    ok(folder)
    return contents(folder)


def moments(folder: Path, *flags: str) -> list[int]:
    """Five moments between the first and the last write, the last one among them."""
    _, said = init(folder, *flags, at=0).communicate()
    match = re.search(r"WRITES (\d+)", said)
    assert match, said
    writes = int(match.group(1))
    assert writes > 60
    return [1, writes // 3, writes // 2, writes * 4 // 5, writes]


def killed(folder: Path, *flags: str, at: int) -> None:
    died = init(folder, *flags, at=at)
    died.communicate()
    assert died.returncode == -signal.SIGKILL


def test_killed_while_it_makes_a_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """The folder is not there at all, or it is whole; where it is not, the same command succeeds."""
    seen = set()
    for at in moments(tmp_path / "counted"):
        folder = tmp_path / f"p{at}"
        killed(folder, at=at)
        seen.add(folder.exists())
        if not folder.exists():
            ok(folder)
        assert contents(folder) == whole
    assert False in seen


def test_killed_while_it_fills_a_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """With --force in a folder of the user's, each file is the old one or the new one, never part of one."""
    (tmp_path / "counted").mkdir()
    for at in moments(tmp_path / "counted"):
        folder = tmp_path / f"p{at}"
        folder.mkdir()
        mine = {"README.md": b"mine" * 10_000, "package.json": b"{}", "notes.txt": b"kept"}
        for name, content in mine.items():
            (folder / name).write_bytes(content)
        killed(folder, "--force", at=at)
        left = contents(folder)
        assert left["notes.txt"] == b"kept"
        assert {"README.md", "package.json"} <= set(left)
        assert all(content in (mine.get(name), whole.get(name)) for name, content in left.items())
        ok(folder, "--force")
        assert contents(folder) == whole | {"notes.txt": b"kept"}


def test_two_at_once_leave_one_project(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Of commands that make one folder at the same time one succeeds; the others say that it is there."""
    started = [init(tmp_path / "p") for _ in range(3)]
    said = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    assert codes.count(0) == 1, said
    assert contents(tmp_path / "p") == whole
    refused = re.compile("are in .* already: |: Directory not empty")
    assert all(refused.search(text) for text, code in zip(said, codes, strict=True) if code)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
