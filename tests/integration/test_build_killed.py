"""Builds that are ended at drawn moments: no image of half a build, nothing that disturbs the next one.

40 moments in `make soak`, 6 in `make test`; the seed is printed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.engines import Recorder
from tests.fixtures.filters import module

Run = Callable[..., Result]
TAG = "localhost:5000/demo/filter:v1"


@pytest.mark.parametrize("moments", [6, pytest.param(40, marks=pytest.mark.soak)])
def test_killed_at_a_write(run: Run, engine: Callable[..., Recorder], tmp_path: Path, home: Path, moments: int) -> None:
    """kill -9 between the first and the last write: the image is whole or not there, and the next build is as ever."""
    recorder = engine()
    recorder.turn("image", "sha256:1")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "WORKSPACE").write_text("")
    (folder / "BUILD").write_text('copy(name = "filter", src = "made.wasm", out = "filter.wasm")\n')
    (folder / "filter.rs").write_text("")
    (folder / "runtime-config.json").write_text('{"config":{"rootIds":["root_id"]}}')
    scratch = tmp_path / "tmp"
    scratch.mkdir()

    def build(at: int) -> subprocess.CompletedProcess[str]:
        words = ["-B", "-m", "tests.fixtures.killed", str(at), "build", str(folder), "-t", TAG]
        environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60)

    def sources(number: int) -> str:
        content = module(f'(func (export "proxy_on_log") (param i32) (drop (i32.const {number})))')
        (folder / "made.wasm").write_bytes(content)
        return "sha256:" + hashlib.sha256(content).hexdigest()

    sources(0)
    whole = build(0)
    writes = int(re.findall(r"WRITES (\d+)", whole.stderr)[0])
    assert writes > 10
    seed = random.randrange(2**32)
    print(f"seed {seed}, {writes} writes")
    drawn = random.Random(seed)
    died = 0
    for number in range(1, moments + 1):
        expected = sources(number)
        died += build(drawn.choice((1, -1)) * drawn.randint(1, writes)).returncode == -signal.SIGKILL
        blobs = home / ".wasme/oci/blobs/sha256"
        for each in blobs.iterdir():
            if re.fullmatch(r"[0-9a-f]{64}", each.name):
                assert hashlib.sha256(each.read_bytes()).hexdigest() == each.name
        run("list")
        built = run("build", folder, "-t", TAG, "-o", "json").json
        assert built["digest"] == expected
        assert json.loads(run("list", "-o", "json").stdout)[0]["digest"] == expected
    assert died > moments / 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_at_a_moment(
    run: Run, engine: Callable[..., Recorder], tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP at drawn times after the start: what was begun is taken away again."""
    engine()
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "WORKSPACE").write_text("")
    (folder / "BUILD").write_text('copy(name = "filter", src = "made.wasm", out = "filter.wasm")\n')
    (folder / "filter.rs").write_text("")
    (folder / "runtime-config.json").write_text('{"config":{"rootIds":["root_id"]}}')
    (folder / "made.wasm").write_bytes(module())
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    drawn = random.Random(number)
    for _ in range(4):
        argv = [sys.executable, "-m", "wasme", "build", str(folder), "-t", TAG]
        environment = {**os.environ, "TMPDIR": str(scratch)}
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.wait(drawn.uniform(0.05, 0.6))
            except subprocess.TimeoutExpired:
                process.send_signal(number)
            process.communicate(timeout=20)
        assert list(scratch.iterdir()) == []
        for image in json.loads(run("list", "-o", "json").stdout):
            assert image["digest"] == "sha256:" + hashlib.sha256(module()).hexdigest()
