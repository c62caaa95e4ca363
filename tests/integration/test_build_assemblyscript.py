"""`wasme build assemblyscript`: unchanged sources, other machines, debug builds, projects of the original's time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.projects import Npm
from tests.fixtures.proxies import Echo, running

Run = Callable[..., Result]
Make = Callable[..., Path]
OLD = Path(__file__).parents[1] / "fixtures" / "proxy-runtime"
TAG = "localhost:5000/demo/add-header:v0.1"
REUSED = "sources are unchanged"


@pytest.fixture
def project(make_project: Make, tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def build(run: Run, folder: Path) -> Result:
    return run("build", "assemblyscript", folder, "-t", TAG, "-o", "json")


def test_unchanged_sources_run_no_node(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second build of the same sources needs no Node.js; a changed word is compiled, and changed back is known."""
    first = build(run, project)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        second = build(run, project)
    assert REUSED not in first.stderr
    assert REUSED in second.stderr
    assert first.json == second.json
    index = project / "assembly/index.ts"
    before = index.read_text()
    index.write_text(before.replace('"world"', '"moon"'))
    changed = build(run, project)
    assert REUSED not in changed.stderr
    assert changed.json["digest"] != first.json["digest"]
    index.write_text(before)
    again = build(run, project)
    assert REUSED in again.stderr
    assert again.json == first.json


def test_other_flags_are_compiled(run: Run, project: Path) -> None:
    """The compiler's flags stand in package.json: others make another module of the same sources."""
    first = build(run, project)
    manifest = project / "package.json"
    manifest.write_text(manifest.read_text().replace("-Oz", "-O3"))
    second = build(run, project)
    assert REUSED not in second.stderr
    assert second.json["size"] > first.json["size"]


def test_reproducible_from_nothing(
    run: Run, make_project: Make, npm: Npm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy elsewhere, installed anew by another user with other rights and times, gives the same image."""
    first = build(run, make_project(tmp_path / "one")).json
    copy = tmp_path / "a deeper" / "folder" / "named ü"
    shutil.copytree(tmp_path / "one", copy, ignore=shutil.ignore_patterns("node_modules", "build"))
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
    monkeypatch.setenv("HOME", str(tmp_path / "another home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    monkeypatch.setenv("npm_config_cache", str(npm.cache))
    monkeypatch.setenv("TZ", "Pacific/Apia")
    monkeypatch.setenv("LC_ALL", "C")
    before = os.umask(0o077)
    try:
        second = build(run, copy)
    finally:
        os.umask(before)
    assert REUSED not in second.stderr
    assert second.json == first


def test_debug_build(project: Path, envoy_binary: Path, tmp_path: Path) -> None:
    """`npm run asbuild:debug` makes a module that Envoy takes; in Envoy's log a trap shows the calls that led to it."""
    index = project / "assembly/index.ts"
    begin = "    responseHeaders.add("
    assert begin in index.read_text()
    index.write_text(index.read_text().replace(begin, f"    if (count > 0) unreachable();\n{begin}"))
    done = subprocess.run(["npm", "run", "--silent", "asbuild:debug"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with running(envoy_binary, tmp_path / "envoy", project / "build/debug.wasm", root_id="add_header") as proxy:
        assert proxy.ask("/").status == 503
        deadline = time.monotonic() + 10
        while "assembly/index/AddHeader#onResponseHeaders" not in proxy.text():
            assert time.monotonic() < deadline, proxy.text()
            time.sleep(0.02)


def test_old_project_in_envoy(
    run: Run, npm: Npm, envoy_binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project of the original's time is built with the compiler and SDK that its package.json names, as its scripts
    say, and the real Envoy runs it. Unchanged, it is not compiled twice; a library changed in node_modules is.
    """
    old = tmp_path / "project"
    shutil.copytree(OLD, old, ignore=shutil.ignore_patterns("node_modules", "build"))
    monkeypatch.setenv("npm_config_cache", str(npm.cache))
    result = run("build", "assemblyscript", old, "-t", TAG, "--tmp-dir", tmp_path / "scratch", "-o", "json")
    installed = json.loads((old / "node_modules/assemblyscript/package.json").read_text())
    assert installed["version"] == "0.17.14"
    assert "Unknown option '--validate'" in result.stderr  # the compiler's own word, which reaches the user
    assert {"optimized.wasm", "optimized.wat", "untouched.wasm"} <= {each.name for each in (old / "build").iterdir()}
    module = tmp_path / "scratch/filter.wasm"
    assert b"proxy_abi_version_0_2_0" in module.read_bytes()
    with Echo().serving() as echo:
        for config, value in (("", "world"), ("of old", "of old")):
            clusters = {"plain": echo.port}
            folder = tmp_path / value
            with running(envoy_binary, folder, module, root_id="add_header", config=config, clusters=clusters) as proxy:
                assert proxy.ask("/").headers["hello"] == value
    assert REUSED in build(run, old).stderr
    library = old / "node_modules/@solo-io/proxy-runtime/assembly/runtime.ts"
    library.write_text(library.read_text() + "\n// Mine.\nexport const MINE: i32 = 1;\n")
    changed = build(run, old)
    assert REUSED not in changed.stderr
    assert changed.json["digest"] == result.json["digest"]  # nobody uses what has been added
