"""The README's tour: its commands run as they stand, and show what they are said to show."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.fixtures import pages
from tests.fixtures.ports import free_port
from tests.fixtures.tools import need

_README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    """Each command succeeds and prints each line that the README shows, `…` standing for anything."""
    need("curl")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "dumb",
    }
    # The README's ports may be taken on this machine; everything else is as written.
    ports = {"5000": str(free_port()), "8080": str(free_port()), "19000": str(free_port())}
    steps = pages.steps(pages.section(_README.read_text(), "Five minutes"))
    assert len(steps) >= 9
    running: list[subprocess.Popen[bytes]] = []
    try:
        for typed, shown in steps:
            command, expected = typed, shown
            for old, new in ports.items():
                command = re.sub(rf"(?<=:){old}\b", new, command)
                expected = [re.sub(rf"(?<=:){old}\b", new, line) for line in expected]
            if "deploy envoy" in command:
                extra = f" --listen 127.0.0.1:{ports['8080']} --admin 127.0.0.1:{ports['19000']}"
                command = command.replace(" &", f"{extra} &")
            log = tmp_path / "output"
            if command.endswith(" &"):
                with log.open("wb") as sink:
                    process = subprocess.Popen(
                        ["sh", "-c", "exec " + command.removesuffix(" &")],
                        stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=tmp_path, env=environment,
                    )  # fmt: skip
                running.append(process)
                _wait(log, expected, process)
            else:
                done = subprocess.run(
                    ["sh", "-c", command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300
                )
                assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
                for line in expected:
                    assert re.search(pages.pattern(line), done.stdout + done.stderr), (
                        f"$ {command}\ndoes not show {line!r}:\n{done.stdout}{done.stderr}"
                    )
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0, 0]


def _wait(log: Path, expected: list[str], process: subprocess.Popen[bytes]) -> None:
    """Until the background command has printed what the README says it prints."""
    end = time.monotonic() + 60
    while True:
        text = log.read_text()
        if all(re.search(pages.pattern(line), text) for line in expected):
            return
        assert process.poll() is None, f"it ended with {process.returncode}:\n{text}"
        assert time.monotonic() < end, f"not shown within 60 s:\n{text}"
        time.sleep(0.05)
