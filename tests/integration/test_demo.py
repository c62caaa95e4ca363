"""`wasme demo` and the main job's own claims, on real parts."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.agents import soon

_WASME = [sys.executable, "-m", "wasme"]


def _alive(marker: str) -> list[int]:
    """Processes whose command line or folder names ``marker``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "cmdline").read_text() or marker in str((entry / "cwd").readlink()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo puts its folder; whatever still runs there is stopped at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    for pid in _alive(str(folder)):
        os.kill(pid, signal.SIGKILL)


def _demo(*words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_WASME, "demo", *words], capture_output=True, text=True, timeout=timeout)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc: Linux")
def test_the_demo_shows_the_main_job_and_leaves_nothing(temporary: Path) -> None:
    """Exit 0, every claim shown, no process and no file left behind, nothing written to HOME."""
    done = _demo()
    assert done.returncode == 0, done.stdout + done.stderr
    for claim in ("a wrong password is refused", "the answer carries `hello: demo-", "`userId: admin` gets 200",
                  "`userId: mark` gets 403", "no userId gets 403", "the service was asked 3 times for 3 requests",
                  "with the service stopped, even `userId: admin` gets 403"):  # fmt: skip
        assert f"✓ {claim}" in done.stdout
    assert list(temporary.iterdir()) == []
    assert _alive(str(temporary)) == []
    assert not (Path.home() / ".wasme").exists()


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc: Linux")
def test_a_failing_step_fails_the_demo_and_still_leaves_nothing(temporary: Path) -> None:
    """Without a way to get the compiler the build fails, so the demo exits 1, after stopping its hub."""
    environment = {**os.environ, "NPM_CONFIG_CACHE": str(temporary / "no-cache"), "NPM_CONFIG_OFFLINE": "true"}
    done = subprocess.run([*_WASME, "demo"], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 1
    assert "Error: `wasme build assemblyscript" in done.stderr
    shutil.rmtree(temporary / "no-cache", ignore_errors=True)
    assert list(temporary.iterdir()) == []
    assert _alive(str(temporary)) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc: Linux")
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(temporary: Path, sign: signal.Signals) -> None:
    """Ctrl-C and SIGTERM in the middle stop the hub too."""
    process = subprocess.Popen([*_WASME, "demo"], stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
    assert process.stdout
    for line in process.stdout:
        if "wasme build assemblyscript" in line:
            break
    process.send_signal(sign)
    assert process.wait(60) != 0
    process.stdout.close()
    assert soon(lambda: _alive(str(temporary)) == [] == list(temporary.iterdir()))


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc: Linux")
def test_keep_leaves_it_running_and_says_where(temporary: Path) -> None:
    """`--keep`: hub, service and both Envoys answer after the demo has ended, and the line that ends them works."""
    done = _demo("--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    urls = re.findall(r"http://127\.0\.0\.1:\d+", done.stdout.partition("left running")[2])
    assert len(set(urls)) >= 3, done.stdout.partition("left running")[2]
    for url in urls:
        asked = urllib.request.Request(url + "/", headers={"userId": "admin"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.status == 200
    stop = re.search(r"stop it all with: (.*)", done.stdout)
    assert stop
    subprocess.run(["sh", "-c", stop.group(1)], check=True)
    assert soon(lambda: _alive(str(temporary)) == [])


def test_a_changed_literal_shows_in_envoys_answer(tmp_path: Path) -> None:
    """What is scaffolded is what is compiled: a header name changed in the source is the header in the answer."""
    drawn = f"x-{secrets.token_hex(4)}"
    subprocess.run(
        [*_WASME, "init", "filter", "--language=assemblyscript", "--platform=envoy", "--disable-prompt"],
        check=True, cwd=tmp_path,
    )  # fmt: skip
    source = tmp_path / "filter" / "assembly" / "index.ts"
    text = source.read_text()
    assert text.count('header: string = "hello"') == 1
    source.write_text(text.replace('header: string = "hello"', f'header: string = "{drawn}"'))
    image = "localhost/drawn/filter:v1"
    subprocess.run([*_WASME, "build", "assemblyscript", "filter", "-t", image], check=True, cwd=tmp_path)
    process = subprocess.Popen(
        [*_WASME, "deploy", "envoy", image, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert process.stderr
        url = None
        for line in process.stderr:
            match = re.search(r"envoy is ready.*\burl=\"?(http://[^\"\s]+)", line)
            if match:
                url = match.group(1)
                break
        assert url
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.headers[drawn] == "world"
            assert answer.headers["hello"] is None
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(15)
        if process.stderr:
            process.stderr.close()
