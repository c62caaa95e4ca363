"""Sources that have not changed are not compiled again; those that have are."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.engines import Recorder
from tests.fixtures.filters import module

Run = Callable[..., Result]
Make = Callable[..., Path]
MakeEngine = Callable[..., Recorder]
TAG = "localhost:5000/demo/filter:v1"
SAID = "sources are unchanged, using the module compiled before"


def images(run: Run) -> list[str]:
    return [f"{each['name']}:{each['tag']}" for each in run("list", "-o", "json").json]


@pytest.fixture
def packaged(engine: MakeEngine, tmp_path: Path) -> tuple[Recorder, Path]:
    """A project that is built in a moment, in a container, and the engine that counts."""
    recorder = engine()
    recorder.turn("image", "sha256:1")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "WORKSPACE").write_text("")
    (folder / "BUILD").write_text('copy(name = "filter", src = "made.wasm", out = "filter.wasm")\n')
    (folder / "filter.rs").write_text("")
    (folder / "made.wasm").write_bytes(module())
    (folder / "runtime-config.json").write_text('{"type":"envoy_proxy","config":{"rootIds":["root_id"]}}')
    return recorder, folder


def test_a_real_project(run: Run, make_project: Make, tmp_path: Path) -> None:
    """The second build takes the module of the first, also for a copy elsewhere and with --tmp-dir; --no-cache and a
    changed literal compile, and the literal is in the image."""
    folder = make_project(tmp_path / "project")
    first = run("build", folder, "-t", TAG, "-o", "json")
    assert SAID not in first.stderr
    again = run("build", folder, "-t", "demo/other", "--tmp-dir", tmp_path / "out", "-o", "json")
    assert SAID in again.stderr
    assert again.json["digest"] == first.json["digest"]
    content = (tmp_path / "out/filter.wasm").read_bytes()
    assert "sha256:" + hashlib.sha256(content).hexdigest() == first.json["digest"]
    assert images(run) == ["docker.io/demo/other:latest", TAG]
    assert SAID in run("build", make_project(tmp_path / "copy"), "-t", TAG).stderr
    assert SAID not in run("build", folder, "-t", TAG, "--no-cache").stderr
    index = folder / "assembly/index.ts"
    text = index.read_text()
    assert '"world"' in text
    index.write_text(text.replace('"world"', '"drawn-4711"'))
    changed = run("build", folder, "-t", TAG, "--tmp-dir", tmp_path / "out")
    assert SAID not in changed.stderr
    assert "drawn-4711".encode("utf-16-le") in (tmp_path / "out/filter.wasm").read_bytes()
    index.write_text(text)
    assert SAID in run("build", folder, "-t", TAG).stderr


def test_the_line_is_a_log_line(run: Run, packaged: tuple[Recorder, Path]) -> None:
    """In the original's shape, before its own two."""
    _, folder = packaged
    run("build", folder, "-t", TAG)
    first, second, third = run("build", folder, "-t", TAG).stderr.splitlines()
    assert first.endswith(f'level=info msg="{SAID}"')
    assert 'msg="adding image to cache..." filter file=' in second
    assert 'msg="tagged image"' in third


def test_a_damaged_cache_compiles(run: Run, packaged: tuple[Recorder, Path], home: Path) -> None:
    """Whatever happened to the kept module, the image is made of the sources."""
    recorder, folder = packaged
    good = run("build", folder, "-t", TAG, "-o", "json").json["digest"]
    for damage in (lambda path: path.write_bytes(module(version="0_2_0")), lambda path: path.unlink()):
        (kept,) = (home / ".cache/wasme/builds").glob("*.wasm")
        damage(kept)
        result = run("build", folder, "-t", TAG, "-o", "json")
        assert SAID not in result.stderr
        assert result.json["digest"] == good
    assert len(recorder.calls()) == 3


def test_warnings_are_told_again(run: Run, packaged: tuple[Recorder, Path]) -> None:
    """What the check had to say of a module is said each time."""
    _, folder = packaged
    asks = '(import "env" "proxy_set_tick_period_milliseconds" (func (param i32) (result i32)))'
    (folder / "made.wasm").write_bytes(module(imports=asks))
    first = run("build", folder, "-t", TAG).stderr
    warned = [line.partition(" ")[2] for line in first.splitlines() if "level=warning" in line]
    assert warned
    again = run("build", folder, "-t", TAG).stderr
    assert SAID in again
    assert [line.partition(" ")[2] for line in again.splitlines() if "level=warning" in line] == warned


def test_the_optimiser_counts(
    run: Run, packaged: tuple[Recorder, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another wasm-opt, or with none, it is another module; a builder image's is left alone unless asked for."""
    recorder, folder = packaged
    large = module('(func (export "proxy_on_log") (param i32))')
    (folder / "made.wasm").write_bytes(large)
    (tmp_path / "small").write_bytes(module())
    program = tmp_path / "wasm-opt"
    program.write_text(f'#!/bin/sh\nfor last; do :; done; cp {tmp_path}/small "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("WASM_OPT", str(program))
    sizes = [
        run("build", folder, "-t", TAG, "-o", "json", f"--optimize={mode}").json["size"]
        for mode in ("auto", "always", "never", "always", "auto")
    ]
    assert sizes == [len(large), len(module()), len(large), len(module()), len(large)]
    assert len(recorder.calls()) == 2
    program.write_text("#!/bin/sh\necho no such option >&2; exit 1\n")
    result = run("build", folder, "-t", "demo/never", "--optimize=always", ok=False)
    assert "no such option" in result.stderr
    assert images(run) == [TAG]


def test_sources_that_change_while_they_are_compiled(run: Run, packaged: tuple[Recorder, Path], tmp_path: Path) -> None:
    """Their module is kept as an image, and for no later build."""
    recorder, folder = packaged
    engine = tmp_path / "engines/docker"
    script = engine.read_text()
    engine.write_text(script.replace("exec ", f"[ $1 = run ] && echo edited >> {folder}/filter.rs; exec "))
    run("build", folder, "-t", TAG)
    engine.write_text(script)
    assert SAID not in run("build", folder, "-t", TAG).stderr
    assert SAID in run("build", folder, "-t", TAG).stderr
    assert len(recorder.calls()) == 2


def test_builds_at_the_same_time(run: Run, packaged: tuple[Recorder, Path]) -> None:
    """Four at once, of the same sources into one store: four images, one digest."""
    _, folder = packaged
    argv = [sys.executable, "-m", "wasme", "build", str(folder), "-o", "json", "-t"]
    running = [
        subprocess.Popen([*argv, f"demo/number-{number}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(4)
    ]
    said = [each.communicate(timeout=60) for each in running]
    assert [each.returncode for each in running] == [0] * 4, said
    assert len({json.loads(out)["digest"] for out, _ in said}) == 1
    assert len(images(run)) == 4


_SLOW = (
    "subprocess",
    "tempfile",
    "shutil",
    "importlib.metadata",
    "urllib3",
    "yaml",
    "wasme.wasm",
    "wasme.build.process",
)


@pytest.mark.parametrize("language", ["assemblyscript", "cpp", "rust", "tinygo"])
def test_nothing_slow_stands_on_the_way(run: Run, tmp_path: Path, language: str) -> None:
    """A build of unchanged sources runs no program, and imports nothing that only compiling needs."""
    folder = tmp_path / "project"
    run("init", folder, f"--language={language}", "--platform=envoy", "--disable-prompt")
    first = run("build", folder, "-t", TAG, "--builder=native", ok=False)
    if first.exit_code and ("is not on this machine" in first.stderr or "Hint: pip install" in first.stderr):
        pytest.skip(first.stderr)
    assert first.exit_code == 0, first.stderr
    script = (
        "import sys\n"
        "from wasme.cli.main import run\n"
        f"assert run(['build', {str(folder)!r}, '-t', {TAG!r}]) == 0\n"
        "print('MODULES', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert SAID in done.stderr
    modules = done.stdout.rpartition("MODULES ")[2].split()
    assert [name for name in _SLOW if name in modules] == []
