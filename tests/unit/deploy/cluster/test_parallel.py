"""Many at once: bounded, all run, failures told together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from wasme.deploy.cluster.parallel import parallel
from wasme.errors import ClusterForbidden, Conflict, DeployFailed


def test_bounded_and_complete() -> None:
    """Never more than the bound at once, all run, results in the items' order."""
    running, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def work(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 7:
                full.set()
        full.wait(30)
        time.sleep(0.005)
        with lock:
            running -= 1
        return number * 2

    assert parallel(work, range(60), 7).require() == [2 * each for each in range(60)]
    assert most == 7
    assert parallel(work, []).require() == []


def test_failures_are_told_together(caplog: pytest.LogCaptureFixture) -> None:
    """A failure stops no other; one reason that many share is told once, others each; the log has every item."""
    done: list[str] = []

    def work(item: str) -> None:
        done.append(item)
        if item.startswith("bad"):
            raise ClusterForbidden(f"apply Deployment {item}: eve has no right")
        if item == "busy":
            raise Conflict("apply Deployment busy: .spec.a belongs to helm")

    items = [f"bad{each}" for each in range(30)] + ["busy", "good"]
    outcomes = parallel(work, items, 4)
    assert sorted(done) == sorted(items)
    with caplog.at_level(logging.WARNING), pytest.raises(DeployFailed) as failed:
        outcomes.require(doing="deploying auth")
    assert failed.value.message == (
        "deploying auth: 31 of 32 failed: bad0, bad1, bad2, bad3, bad4 and 25 more: "
        "apply Deployment …: eve has no right; "
        "busy: apply Deployment …: .spec.a belongs to helm"
    )
    told = [record.fields for record in caplog.records if record.getMessage() == "failed"]  # type: ignore[attr-defined]
    assert [each["reason"] for each in told] == [
        "apply Deployment …: eve has no right",
        "apply Deployment …: .spec.a belongs to helm",
    ]
    assert told[0]["objects"].split(", ") == items[:30]
    assert len(outcomes.results) == 1


def test_one_failure_of_one_is_itself() -> None:
    """A single item's error is not wrapped."""

    def work(_: int) -> None:
        raise Conflict("it", hint="do")

    with pytest.raises(Conflict, match="it"):
        parallel(work, [1]).require()


def test_a_fault_of_the_program_is_raised() -> None:
    """What is no WasmeError is a bug: it comes out, and not much more is begun."""
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        parallel(work, range(100), 4)
    assert len(begun) <= 8


def test_interrupting_does_not_wait() -> None:
    """Ctrl-C ends the program at once, though threads still wait for a server."""
    script = (
        "import time\nfrom wasme.deploy.cluster.parallel import parallel\nprint('up', flush=True)\n"
        "parallel(lambda _: time.sleep(60), range(50))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        time.sleep(0.3)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=40)
        assert time.monotonic() - began < 20
        assert "KeyboardInterrupt" in errors
    finally:
        process.kill()
        process.wait()


def test_nothing_heavy_is_loaded() -> None:
    """Naming the package loads neither the HTTP client nor TLS, nor YAML."""
    script = (
        "import sys, wasme.deploy.cluster\n"
        "print([each for each in ('httpx2', 'yaml', 'ssl', 'subprocess') if each in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"
