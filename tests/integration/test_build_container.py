"""`wasme build` in a container: the original's contract, carried out by a recording engine (fixtures/engine.py).

What the engine is told it does: the module that comes out is made of the sources that are mounted.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
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


def images(run: Run) -> list[str]:
    return [f"{each['name']}:{each['tag']}" for each in run("list", "-o", "json").json]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.fixture
def bazel(tmp_path: Path) -> Path:
    """A project as the original's templates were: a rule in the root's package and one in another."""
    folder = tmp_path / "bazel"
    for package, name in (("", ":filter"), ("sub/dir", ":filter")):
        place = folder / package
        place.mkdir(parents=True)
        (place / "BUILD").write_text(f'copy(name = "{name[1:]}", src = "made.wasm", out = "filter.wasm")\n')
        (place / "filter.rs").write_text("")
    (folder / "made.wasm").write_bytes(module())
    (folder / "sub/dir/made.wasm").write_bytes(module('(func (export "proxy_on_log") (param i32))'))
    (folder / "WORKSPACE").write_text("")
    (folder / "runtime-config.json").write_text('{"type":"envoy_proxy","config":{"rootIds":["root_id"]}}')
    return folder


def test_an_old_command_line(run: Run, engine: MakeEngine, make_project: Make, tmp_path: Path) -> None:
    """The user's own: `wasme build assemblyscript . --tag … --image=…` where an engine answers builds in that image."""
    recorder = engine()
    folder = make_project(tmp_path / "project")
    image = "quay.mirrors.ustc.edu.cn/solo-io/ee-builder:0.0.33"
    built = run("build", "assemblyscript", folder, "--tag", TAG, f"--image={image}", "-o", "json").json
    (words,) = recorder.calls()
    scratch = words[5].partition(":")[0]
    assert words[:-3] == [
        *("run", "--rm", "-v", f"{folder}:/src/workspace", "-v", f"{scratch}:/build_output"),
        *("-w", "/src/workspace", "-e", "BUILD_TOOL=npm"),
    ]
    assert (words[-3], words[-1]) == ("--name", image)
    assert not Path(scratch).exists()
    assert images(run) == [TAG]
    native = run("build", "assemblyscript", folder, "-t", "demo/native", "--no-cache", "-o", "json").json
    assert built["digest"] == native["digest"]


def test_the_npm_login_goes_in_unseen(run: Run, engine: MakeEngine, make_project: Make, tmp_path: Path) -> None:
    """The image gets user, password and address as the original's did; the password is in no word and no log line."""
    recorder = engine()
    folder = make_project(tmp_path / "project")
    login = ["-u", "me", "-p", "s3cret", "-e", "me@example.com"]
    result = run("build", "assemblyscript", folder, "-t", TAG, "--builder", "docker", "-v", *login)
    told = recorder.environment
    assert [told[f"NPM_{name}"] for name in ("USERNAME", "PASSWORD", "EMAIL")] == ["me", "s3cret", "me@example.com"]
    assert "s3cret" not in (recorder.state / "calls").read_text()
    assert "s3cret" not in result.stderr


def test_a_bazel_project(run: Run, engine: MakeEngine, bazel: Path, tmp_path: Path) -> None:
    """A project of the original's Rust template is built in a container; --tmp-dir is /build_output and stays."""
    recorder = engine()
    built = run("build", bazel, "-t", TAG, "--tmp-dir", tmp_path / "out", "-o", "json").json
    (words,) = recorder.calls()
    assert words[4:6] == ["-v", f"{tmp_path}/out:/build_output"]
    pairs = ["BUILD_BASE=.", "BAZEL_OUTPUT=filter.wasm", "TARGET=:filter", "BUILD_TOOL=bazel"]
    assert words[8:16] == [word for pair in pairs for word in ("-e", pair)]
    assert words[-1] == "quay.io/solo-io/ee-builder:0.0.33"
    assert built["digest"] == digest((bazel / "made.wasm").read_bytes())
    assert (tmp_path / "out/filter.wasm").read_bytes() == (bazel / "made.wasm").read_bytes()


@pytest.mark.parametrize("words", [("build", "rust"), ("build",)])
def test_build_dir(run: Run, engine: MakeEngine, bazel: Path, words: tuple[str, ...]) -> None:
    """[BUG] of the original: --build-dir did nothing; it builds that package of the workspace."""
    recorder = engine()
    built = run(*words, bazel, "-t", TAG, "-b", "sub/dir", "-o", "json").json
    assert built["digest"] == digest((bazel / "sub/dir/made.wasm").read_bytes())
    assert recorder.environment["BUILD_BASE"] == "sub/dir"


def test_bazel_flags(run: Run, engine: MakeEngine, bazel: Path) -> None:
    """-g and -f name another target and its file."""
    engine()
    (bazel / "BUILD").write_text('copy(name = "other", src = "made.wasm", out = "other.wasm")\n')
    run("build", "rust", bazel, "-t", TAG, "-g", "//:other", "-f", "other.wasm")
    result = run("build", "rust", bazel, "-t", "demo/second", "-g", ":nothing", ok=False)
    assert result.exit_code == 1
    assert "failed producing filter file: " in result.stderr
    assert "ERROR: no such target '//:nothing'" in result.stderr
    assert images(run) == [TAG]


def test_no_engine(run: Run, engine: MakeEngine, bazel: Path) -> None:
    """A Bazel project where no engine answers is one line, and what to do another."""
    engine().turn("down")
    result = run("build", "rust", bazel, "-t", TAG, ok=False)
    error, hint = result.stderr.splitlines()
    assert "is a Bazel project, which is built in a container, and no docker or podman answers" in error
    assert "install docker or podman, and start it" in hint


def test_an_image_without_an_engine(run: Run, engine: MakeEngine, make_project: Make, tmp_path: Path) -> None:
    """--image of an old script, and no engine: built natively, with one line that says so."""
    engine().turn("down")
    folder = make_project(tmp_path / "project")
    result = run("build", "assemblyscript", folder, "-t", TAG, "--image", "quay.io/me/builder:1")
    (line,) = [line for line in result.stderr.splitlines() if "natively" in line]
    assert line.endswith('level=info msg="building natively: no docker or podman answers" image="quay.io/me/builder:1"')
    assert images(run) == [TAG]


def test_an_engine_that_was_asked_for_and_does_not_answer(run: Run, engine: MakeEngine, bazel: Path) -> None:
    """--builder docker: the engine's own words, and how to do without it."""
    engine().turn("down")
    result = run("build", bazel, "-t", TAG, "--builder", "docker", ok=False)
    assert result.exit_code == 1
    assert "Cannot connect to the Docker daemon" in result.stderr
    assert result.stderr.splitlines()[-1] == "Hint: start docker, or build with --builder native"


def test_podman(run: Run, engine: MakeEngine, bazel: Path) -> None:
    """The same by --builder podman, and where only podman answers."""
    recorder = engine("podman")
    run("build", bazel, "-t", TAG, "--builder", "podman")
    run("build", bazel, "-t", TAG)
    assert len(recorder.calls()) == 2


def test_the_image_leaves_no_module(run: Run, engine: MakeEngine, bazel: Path, tmp_path: Path) -> None:
    """What an earlier build left in --tmp-dir does not pass for this one's."""
    engine()
    run("build", bazel, "-t", TAG, "--tmp-dir", tmp_path)
    (tmp_path / "engines/docker").write_text("#!/bin/sh\necho all is well\n")
    result = run("build", bazel, "-t", "demo/second", "--tmp-dir", tmp_path, "--builder=docker", ok=False)
    assert "ended well, but left no /build_output/filter.wasm:\nall is well" in result.stderr
    assert images(run) == [TAG]


def test_unchanged_sources_run_no_container(run: Run, engine: MakeEngine, bazel: Path) -> None:
    """An image that is here stands for what it does: the second build takes the first one's module."""
    recorder = engine()
    recorder.turn("image", "sha256:1")
    run("build", bazel, "-t", TAG)
    again = run("build", bazel, "-t", TAG)
    assert "sources are unchanged, using the module compiled before" in again.stderr
    assert len(recorder.calls()) == 1
    recorder.turn("image", "sha256:2")
    run("build", bazel, "-t", TAG)
    assert len(recorder.calls()) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_container_is_ended(
    run: Run, engine: MakeEngine, bazel: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """A container outlives its client; an interrupted build ends it by its name, and leaves no image."""
    recorder = engine()
    recorder.turn("slow")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    argv = [sys.executable, "-m", "wasme", "build", str(bazel), "-t", TAG]
    with subprocess.Popen(argv, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not recorder.running():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (name,) = recorder.running()
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert recorder.calls("rm") == [["rm", "-f", name]]
    assert recorder.running() == []
    assert images(run) == []
    assert list(scratch.glob("wasme*")) == []
