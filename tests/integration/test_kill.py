"""kill -9 between the first and the last write of push, pull, build and tag: nothing finished is ever lost.

Each command is first run through to count its writes; then it is killed at moments drawn between the first and the
last of them (the seed and the share that really died inside are printed), and after each death:

* the store opens, lists, and still holds everything that was finished before, byte for byte;
* no file stands under a digest that is not the digest of its content;
* the same command, run again, succeeds and gives the same result as if nothing had happened.

40 moments in `make test`, 200 in `make soak`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.modules import sized

_COMMANDS = ("push", "pull", "build", "tag")
_CONFIG = '{"type":"envoy_proxy","abiVersions":["v0.2.1"],"config":{"rootIds":["add_header"]}}'


class Bench:
    """One HOME with a finished image, a hub, and a command to kill."""

    def __init__(self, folder: Path, host: str, command: str) -> None:
        self.folder = folder
        self.host = host
        self.command = command
        self.baseline = f"{host}/kill/finished:v1"
        self.target = f"{host}/kill/{command}:v1"
        self.fresh = 0
        (folder / "runtime-config.json").write_text(_CONFIG)
        (folder / "finished.wasm").write_bytes(sized(30_000, seed=1))
        (folder / "filter.wasm").write_bytes(sized(300_000, seed=2))
        self.home = folder / "home"

    def wasme(self, *words: str, at: int | None = None) -> subprocess.CompletedProcess[str]:
        program = ["-m", "wasme"] if at is None else ["-m", "tests.fixtures.killed", str(at)]
        return subprocess.run(
            [sys.executable, "-B", *program, *words],
            capture_output=True, text=True, cwd=self.folder, timeout=120,
            env={**os.environ, "HOME": str(self.home), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        done = self.wasme(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def prepare(self) -> list[str]:
        """A fresh HOME with what was finished before; gives the words of the command to kill."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self.fresh += 1
        self.ok("build", "precompiled", "finished.wasm", "-t", self.baseline)
        if self.command == "build":
            return ["build", "precompiled", "filter.wasm", "-t", self.target]
        self.ok("build", "precompiled", "filter.wasm", "-t", f"{self.target}-source")
        if self.command == "tag":
            return ["tag", f"{self.target}-source", self.target]
        # A repository of its own for each try, so that every push has everything to send.
        image = f"{self.host}/kill/{self.command}-{self.fresh}:v1"
        self.ok("tag", f"{self.target}-source", image)
        if self.command == "pull":
            self.ok("push", image)
            for name in (image, f"{self.target}-source"):
                self.ok("rm", name)
            self.ok("prune")
        return [self.command, image]

    def images(self) -> dict[str, str]:
        """What the store lists: full name to module digest."""
        rows = json.loads(self.ok("list", "--output", "json"))
        return {f"{row['name']}:{row['tag']}": row["digest"] for row in rows}

    def check_whole(self) -> None:
        """Every blob under a final name is the blob of that name."""
        for blob in (self.home / ".wasme" / "oci" / "blobs" / "sha256").iterdir():
            if re.fullmatch(r"[0-9a-f]{64}", blob.name):
                assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def _moments(bench: Bench, count: int, draw: random.Random) -> tuple[list[int], int]:
    """Count the writes of one undisturbed run, and draw moments between the first and the last."""
    words = bench.prepare()
    done = bench.wasme(*words, at=0)
    assert done.returncode == 0, done.stderr
    writes = int(done.stderr.rpartition("WRITES ")[2])
    assert writes >= 4, f"{bench.command} wrote {writes} times: nothing to kill between"
    return [draw.choice((1, -1)) * draw.randint(1, writes) for _ in range(count)], writes


def _kill_and_look(bench: Bench, at: int) -> bool:
    """Kill one run at one moment; whether it died there."""
    words = bench.prepare()
    before = bench.images()
    died = bench.wasme(*words, at=at).returncode == -signal.SIGKILL
    after = bench.images()
    bench.check_whole()
    assert {name: after.get(name) for name in before} == before, f"killed at {at}: finished images are gone or changed"
    again = bench.wasme(*words)
    assert again.returncode == 0, f"after a kill at {at}, `wasme {' '.join(words)}` failed:\n{again.stderr}"
    expected = "sha256:" + hashlib.sha256((bench.folder / "filter.wasm").read_bytes()).hexdigest()
    if bench.command == "push":
        bench.ok("rm", words[-1])
        bench.ok("pull", words[-1])
    assert bench.images()[words[-1]] == expected
    bench.check_whole()
    return died


def _campaign(folder: Path, host: str, command: str, count: int, seed: int) -> float:
    bench = Bench(folder, host, command)
    moments, writes = _moments(bench, count, random.Random(f"{command} {seed}"))
    inside = sum(_kill_and_look(bench, at) for at in moments)
    share = inside / count
    print(f"\n{command}: seed {seed}, {count} moments drawn over {writes} writes, {share:.0%} died inside")
    return share


@pytest.mark.parametrize("command", _COMMANDS)
def test_nothing_finished_is_lost(
    command: str, tmp_path: Path, open_hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten drawn moments for each command; at least 80 % of the kills fall between its first and last write."""
    seed = int(os.environ.get("WASME_KILL_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
    with capsys.disabled():
        assert _campaign(tmp_path, open_hub.host, command, 10, seed) >= 0.8


@pytest.mark.soak
@pytest.mark.parametrize("command", _COMMANDS)
def test_nothing_finished_is_lost_at_length(
    command: str, tmp_path: Path, open_hub: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same with fifty moments for each command."""
    with capsys.disabled():
        assert _campaign(tmp_path, open_hub.host, command, 50, random.SystemRandom().randrange(1, 1 << 30)) >= 0.8
