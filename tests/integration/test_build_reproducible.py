"""One digest for one project, wherever, whenever and by whomever it is built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import Result
from wasme.build.tinygo import golang

Run = Callable[..., Result]
LANGUAGES = ("assemblyscript", "cpp", "rust", "tinygo")
TAG = "localhost:5000/demo/filter:v1"


def scaffolded(run: Run, folder: Path, language: str) -> Path:
    run("init", folder, f"--language={language}", "--platform=envoy", "--disable-prompt")
    return folder


def built(folder: Path, home: Path, umask: int, changed: Mapping[str, str], *words: str) -> tuple[str, int]:
    """The image's digest and the module's size, of a build by a user of their own."""
    home.mkdir(parents=True)
    environment = {**os.environ, "HOME": str(home), **changed}
    argv = [sys.executable, "-m", "wasme", "build", str(folder), "-t", TAG, "-o", "json", "--no-cache", *words]
    done = subprocess.run(argv, env=environment, umask=umask, capture_output=True, text=True)
    if "is not on this machine" in done.stderr or "Hint: pip install" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["manifestDigest"], told["size"]


def other_user(folder: Path) -> dict[str, str]:
    """Other caches, language and time zone; what was downloaded once is not downloaded again."""
    crates, registry = folder / "cargo", Path(os.environ["CARGO_HOME"]) / "registry"
    if registry.is_dir():
        for name in ("index", "cache"):
            shutil.copytree(registry / name, crates / "registry" / name)
    downloads, go = Path(os.environ["GOMODCACHE"]) / "cache" / "download", golang.find_quietly()
    return {
        "CARGO_HOME": str(crates),
        "CARGO_NET_OFFLINE": "true",
        "GOMODCACHE": str(folder / "gomod"),
        "GOFLAGS": "-modcacherw",
        "GOPROXY": f"file://{downloads},{go.setting('GOPROXY') if go else 'off'}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TMPDIR": str(folder),
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Pacific/Kiritimati",
        "USER": "somebody",
    }


def in_a_repository(folder: Path) -> None:
    """What version control says of the folder must not matter either."""
    if shutil.which("git") is None:
        return
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    (folder / "README.md").write_text("changed since\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_copies_give_one_digest(run: Run, tmp_path: Path, language: str, request: pytest.FixtureRequest) -> None:
    """Another folder (with a blank and a letter beyond ASCII), HOME, umask, file times, time zone, language, version
    control, and empty caches, but for what is downloaded and for Go's compiled standard library: the same image."""
    one = scaffolded(run, tmp_path / "one", language)
    two = tmp_path / "a" / "deeper" / "zwei Wörter"
    shutil.copytree(one, two)
    if language == "assemblyscript":  # installed once for all
        for folder in (one, two):
            (folder / "node_modules").symlink_to(request.getfixturevalue("npm").node_modules)
    for path in two.rglob("*"):
        os.utime(path, (978_307_200, 978_307_200), follow_symlinks=False)
    in_a_repository(two)
    first = built(one, tmp_path / "home", 0o022, {"LC_ALL": "C"})
    assert built(two, tmp_path / "other home", 0o077, other_user(tmp_path / "a")) == first


@pytest.mark.soak
@pytest.mark.parametrize("language", LANGUAGES)
def test_empty_caches_give_the_same_digest(run: Run, tmp_path: Path, language: str) -> None:
    """With nothing compiled before, Go's standard library neither."""
    one = scaffolded(run, tmp_path / "one", language)
    first = built(one, tmp_path / "home", 0o022, {})
    shutil.copytree(one, tmp_path / "two", ignore=shutil.ignore_patterns("target", "node_modules", "build"))
    changed = {**other_user(tmp_path / "a"), "GOCACHE": str(tmp_path / "gocache")}
    assert built(tmp_path / "two", tmp_path / "other", 0o077, changed) == first
