"""Modules compiled before: what they are found by, and what is done with what is broken."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wasme.build import unchanged
from wasme.build.toolchain import Inputs, cache_folder

Change = Callable[[Path], object]


def key(*roots: Path, skip: frozenset[str] = frozenset({"target"}), tools: tuple[str, ...] = ("cc",)) -> str:
    found = unchanged.fingerprint(Inputs(roots, skip, tools))
    assert found is not None
    return found.key


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "target").mkdir()
    (folder / "src/lib.rs").write_text("one")
    (folder / "Cargo.toml").write_text("two")
    (folder / "link").symlink_to("Cargo.toml")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "src/lib.rs").write_text("other"),
        lambda folder: (folder / "src/new.rs").write_text(""),
        lambda folder: (folder / "src/lib.rs").unlink(),
        lambda folder: (folder / "src/lib.rs").rename(folder / "src/main.rs"),
        lambda folder: (folder / "Cargo.toml").rename(folder / "src/Cargo.toml"),
        lambda folder: ((folder / "link").unlink(), (folder / "link").write_text("new")),
        lambda folder: ((folder / "src/lib.rs").write_text("two"), (folder / "Cargo.toml").write_text("one")),
    ],
)
def test_whatever_changes_is_noticed(project: Path, change: Change) -> None:
    """A file's content, its name, its place, its being there; also where size and time stay as they were."""
    before = key(project)
    times = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
    change(project)
    for path, when in times.items():
        if path.exists():
            os.utime(path, ns=(when, when))
    assert key(project) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: os.utime(folder / "src/lib.rs", (1, 1)),
        lambda folder: (folder / "src/lib.rs").chmod(0o600),
        lambda folder: (folder / "target/made").write_text("x"),
        lambda folder: (folder / "src/target").mkdir(),
        lambda folder: (folder / "bazel-bin").symlink_to("/"),
    ],
)
def test_what_makes_no_difference_is_none(project: Path, change: Change) -> None:
    """Times, modes, and the folders that builds write to."""
    before = key(project)
    change(project)
    assert key(project) == before


def test_a_copy_is_the_same(project: Path, tmp_path: Path) -> None:
    """Where the sources lie is no part of them."""
    subprocess.run(["cp", "-r", project, tmp_path / "copy"], check=True)
    assert key(project) == key(tmp_path / "copy")


def test_tools_and_roots_count(project: Path, tmp_path: Path) -> None:
    """Another compiler, another flag, one more root, and a root that comes to be."""
    extra = tmp_path / "settings"
    keys = {key(project), key(project, tools=("cc", "-O2")), key(project, tools=("c", "c-O2")), key(project, extra)}
    extra.write_text("")
    assert len({*keys, key(project, extra)}) == 5


def test_what_cannot_be_told_is_compiled(project: Path, tmp_path: Path) -> None:
    """A folder linked from elsewhere, a file that cannot be opened as one, more files than are worth reading."""
    os.mkfifo(project / "pipe")
    assert unchanged.fingerprint(Inputs((project,))) is None
    (project / "pipe").unlink()
    (tmp_path / "elsewhere").mkdir()
    (project / "linked").symlink_to(tmp_path / "elsewhere")
    assert unchanged.fingerprint(Inputs((project,))) is None
    (project / "linked").unlink()
    (project / "linked").symlink_to(project / "src")
    assert unchanged.fingerprint(Inputs((project,))) is not None


def test_what_is_kept_comes_back(home: Path) -> None:
    """The module, and what the check had to say of it."""
    assert unchanged.recall("k" * 64) is None
    unchanged.remember("k" * 64, b"module", [("odd", "mend it")])
    found = unchanged.recall("k" * 64)
    assert found is not None
    assert (found.content, found.warnings) == (b"module", (("odd", "mend it"),))
    assert found.path.read_bytes() == b"module"


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry, module: module.write_bytes(b"modulE"),
        lambda entry, module: module.write_bytes(b""),
        lambda entry, module: module.unlink(),
        lambda entry, module: entry.write_text("nothing"),
        lambda entry, module: entry.write_text("[]"),
        lambda entry, module: entry.write_text("{}"),
        lambda entry, module: entry.write_text('["../../x"]'),
        lambda entry, module: entry.write_text("[1, 2]"),
        lambda entry, module: (entry.unlink(), entry.mkdir()),
    ],
)
def test_a_damaged_entry_is_none(home: Path, damage: Callable[[Path, Path], object]) -> None:
    """Whatever is wrong with it, the module is compiled, and kept again where that can be."""
    unchanged.remember("k" * 64, b"module")
    digest = hashlib.sha256(b"module").hexdigest()
    entry = cache_folder("builds") / ("k" * 64)
    damage(entry, cache_folder("builds") / f"{digest}.wasm")
    assert unchanged.recall("k" * 64) is None
    unchanged.remember("k" * 64, b"module")
    assert entry.is_dir() or unchanged.recall("k" * 64) is not None


def test_the_cache_is_bounded(home: Path) -> None:
    """What was used longest ago goes first; so does what a killed build left half written, once it is old."""
    folder = cache_folder("builds")
    stale, fresh = folder / ".k.1.tmp", folder / ".k.2.tmp"
    stale.write_text("")
    fresh.write_text("")
    os.utime(stale, (1, 1))
    for number in range(6):
        unchanged.remember(f"{number}" * 64, bytes([number]) * 100_000, most=10**9)
        for path in folder.glob("[0-9a-f]*"):
            os.utime(path, (time.time() - 60, time.time() - 60)) if path.stat().st_mtime > time.time() - 30 else None
    assert unchanged.recall("0" * 64) is not None  # used now
    unchanged.remember("z" * 64, b"z" * 100_000, most=300_000)
    kept = [number for number in "012345z" if unchanged.recall(number * 64)]
    assert {"0", "z"} <= set(kept)
    assert len(kept) < 4
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    assert not stale.exists()
    assert fresh.exists()


def test_a_cache_that_cannot_be_is_no_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in its place: every build compiles."""
    (home / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    unchanged.remember("k" * 64, b"module")
    assert unchanged.recall("k" * 64) is None


def test_builds_at_the_same_time(home: Path) -> None:
    """Writers and readers of the same and of other keys: a module comes back whole, or not at all."""
    script = """
import sys
from wasme.build import unchanged
for turn in range(40):
    for name in "ab":
        found = unchanged.recall(name * 64)
        assert found is None or found.content == name.encode() * 50_000
        unchanged.remember(name * 64, name.encode() * 50_000, most=120_000)
"""
    running = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(4)]
    assert [each.wait(120) for each in running] == [0] * 4


def test_only_what_tools_did_themselves_lies_between(project: Path) -> None:
    """A lock file or a compiler that the build brought is its own doing; a source changed meanwhile makes a module of
    neither state, which is not kept."""

    def seen(*tools: str) -> unchanged.Fingerprint:
        found = unchanged.fingerprint(Inputs((project,), frozenset(), tools))
        assert found is not None
        return found

    before = seen("", "flag")
    (project / "Cargo.lock").write_text("1")
    assert seen("asc", "flag").is_outcome_of(before)
    assert not seen("", "other").is_outcome_of(before)
    (project / "src/lib.rs").write_text("edited meanwhile")
    assert not seen("", "flag").is_outcome_of(before)
