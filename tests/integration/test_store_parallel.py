"""Many processes on one store, and processes killed in the middle: nothing finished is lost, nothing half is seen."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fixtures import modules
from wasme.image import layouts
from wasme.image.content import from_bytes
from wasme.image.descriptor import describe
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store

CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
BASE = Reference.parse("h.io/base:v1")

# Each prints a line per finished step, so that the test knows what was promised when the process ended.
_HEAD = """
import contextlib, sys, time
from pathlib import Path
from tests.fixtures import modules
from wasme.image import layouts
from wasme.image.descriptor import describe
from wasme.image.reference import Reference
from wasme.image.runtime_config import RuntimeConfig
from wasme.image.store import open_store
CONFIG = RuntimeConfig("envoy_proxy", ("v0.2.1",), ("add_header",))
BASE = Reference.parse("h.io/base:v1")
store, who = open_store(Path(sys.argv[1])), sys.argv[2]
say = lambda text: print(text, flush=True)
"""
_ADD = """
for number in range(6):
    name = Reference.parse(f"h.io/{who}:{number}")
    layout = layouts.LAYOUTS[number % 3]
    store.add(name, layouts.build(layout, modules.sized(20_000, seed=number), CONFIG))
    store.alias(BASE, Reference.parse(f"h.io/{who}-alias:{number}"))
    if number % 2:
        store.remove(Reference.parse(f"h.io/{who}-alias:{number}"))
    say(name)
"""
_PRUNE = """
while True:
    store.prune()
    store.entries()
    say("pruned")
"""
_TAG = """
for number in range(10_000):
    name = Reference.parse(f"h.io/{who}:{number}")
    store.alias(BASE, name)
    say(name)
"""
_SLOW_PULL = """
class Slow:
    def __init__(self, content): self.content, self.at = content, 0
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, size):
        time.sleep(3600 if who == "halts" and self.at > 100_000 else 0.01)
        part = self.content[self.at:self.at + 10_000]
        self.at += len(part)
        say(self.at)
        return part
def opener(offset):
    slow = Slow(MODULE)
    slow.at = offset
    say(f"from {offset}")
    return slow
MODULE = modules.sized(400_000)
store.push(describe(MODULE, "x/y"), opener)
say("done")
"""


def start(script: str, root: Path, who: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-B", "-c", _HEAD + script, str(root), who],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def check(root: Path, promised: set[str]) -> None:
    """Every promised name is there and whole, no blob is other than its name, and every entry can be used."""
    store = open_store(root)
    entries = {f"{entry.name}:{entry.tag}": entry for entry in store.entries()}
    assert promised <= set(entries)
    for name, entry in entries.items():
        assert entry.problem is None
        assert hashlib.sha256(store.module_path(Reference.parse(name)).read_bytes()).hexdigest() == entry.digest[7:]
    for blob in (root / "blobs" / "sha256").iterdir():
        if not blob.name.endswith(".partial"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_eight_writers_and_a_pruner(tmp_path: Path) -> None:
    """Eight processes add, tag and remove at once while a ninth prunes without pause: every image is there after."""
    store = open_store(tmp_path)
    store.add(BASE, layouts.build("oci", modules.sized(20_000, seed=99), CONFIG))
    pruner = start(_PRUNE, tmp_path, "pruner")
    assert pruner.stdout
    assert pruner.stdout.readline() == "pruned\n"
    writers = [start(_ADD, tmp_path, f"writer{number}") for number in range(8)]
    try:
        finished = [writer.communicate(timeout=120)[0].splitlines() for writer in writers]
    finally:
        pruner.kill()
        rounds = pruner.communicate()[0].count("pruned")

    assert [writer.returncode for writer in writers] == [0] * 8
    assert rounds > 0, "the pruner never ran beside the writers"
    names = {name for lines in finished for name in lines}
    assert len(names) == 48
    check(tmp_path, names | {f"h.io/writer{w}-alias:{n}" for w in range(8) for n in (0, 2, 4)} | {str(BASE)})
    assert len(open_store(tmp_path).entries()) == 48 + 24 + 1
    open_store(tmp_path).prune()
    check(tmp_path, names)


def test_two_processes_pull_one_blob(tmp_path: Path) -> None:
    """The second waits for the first, and then has nothing left to ask for."""
    first = start(_SLOW_PULL, tmp_path, "first")
    assert first.stdout
    assert first.stdout.readline() == "from 0\n"
    second = start(_SLOW_PULL, tmp_path, "second")

    assert first.communicate(timeout=60)[0].splitlines()[-1] == "done"
    assert second.communicate(timeout=60)[0].splitlines() == ["done"]


def test_a_killed_pull_is_taken_over(tmp_path: Path) -> None:
    """The waiting process takes over where the killed one stopped: it asks for what is missing, not for more."""
    first = start(_SLOW_PULL, tmp_path, "halts")
    assert first.stdout
    while int(first.stdout.readline().removeprefix("from ")) < 100_000:
        pass
    second = start(_SLOW_PULL, tmp_path, "second")
    time.sleep(0.2)
    first.kill()
    arrived = [line for line in first.communicate()[0].splitlines() if line.isdigit()]

    lines = second.communicate(timeout=60)[0].splitlines()

    assert lines[-1] == "done"
    offset = int(lines[0].removeprefix("from "))
    assert 90_000 <= offset <= int(arrived[-1] if arrived else 110_000)
    open_store(tmp_path).push(describe(modules.sized(400_000), "x/y"), from_bytes(modules.sized(400_000)))
    check(tmp_path, set())


def test_kill_while_tagging(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed at twelve drawn moments of tagging without pause: every tag that was reported done is there."""
    store = open_store(tmp_path)
    store.add(BASE, layouts.build("oci", modules.sized(20_000), CONFIG))
    seed = random.randrange(1 << 32)
    with capsys.disabled():
        print(f" seed {seed}", end="")
    moments = random.Random(seed)
    promised = {str(BASE)}
    for turn in range(12):
        tagging = start(_TAG, tmp_path, f"turn{turn}")
        assert tagging.stdout
        promised.add(tagging.stdout.readline().strip())  # it is tagging now, and does nothing else
        time.sleep(moments.uniform(0, 0.05))
        tagging.send_signal(signal.SIGKILL)
        promised |= {line.strip() for line in tagging.communicate()[0].splitlines(keepends=True) if line.endswith("\n")}
        assert tagging.returncode == -signal.SIGKILL

    check(tmp_path, promised)
    store.alias(BASE, Reference.parse("h.io/after:v1"))
    check(tmp_path, promised)
