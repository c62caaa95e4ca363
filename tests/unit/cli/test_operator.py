"""`wasme operator`: the daemon under the original's name, and three sub-commands."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Result
from wasme.operator import daemon
from wasme.operator.options import Options

Run = Callable[..., Result]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """What daemons were started with; none runs."""
    seen: list[Options] = []
    monkeypatch.setattr(daemon, "run", seen.append)
    return seen


def test_the_original_line_starts_the_daemon(run: Run, started: list[Options]) -> None:
    """`wasme operator --log-level=debug`, as the original's Deployment calls it, starts it with its defaults."""
    run("operator", "--log-level=debug")
    assert started == [Options()]
    assert logging.getLogger("wasme").level == logging.DEBUG


def test_flags(run: Run, started: list[Options], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flag arrives; the namespace comes from $POD_NAMESPACE where no flag names it."""
    monkeypatch.setenv("POD_NAMESPACE", "ops")
    run("operator", "--watch-namespaces=a,b", "--metrics-port=0", "--workers", "3", "--tag-interval=5s",
        "--leader-elect=false", "--lease-duration=3s", "--renew-deadline=2s", "--retry-period=500ms",
        "--registry-map=webassemblyhub.io=hub.test", "--cache-namespace", "n", "--cache-name", "c",
        "--address=127.0.0.1", "--plain-http", "--context=x")  # fmt: skip
    (options,) = started
    assert (options.namespace, options.watched, options.port, options.workers) == ("ops", ("a", "b"), 0, 3)
    assert (options.tag_interval, options.elect, options.timing.duration, options.timing.retry) == (5, False, 3, 0.5)
    assert (options.cache_namespace, options.cache_name, options.address) == ("n", "c", "127.0.0.1")
    assert options.registry_map == {"webassemblyhub.io": "hub.test"}
    assert options.connection.plain_http
    assert options.context == "x"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("instal",), 'unknown command "instal" for "wasme operator". Did you mean install'),
        (("--metrics-port=70000",), "--metrics-port"),
        (("--workers=0",), "--workers"),
        (("--renew-deadline=20s",), "--lease-duration must be longer than --renew-deadline"),
        (("--retry-period=9s",), "1.2 times --retry-period"),
        (("--log-level=loud",), "debug, info, warn, error"),
    ],
)
def test_wrong_calls(run: Run, started: list[Options], words: tuple[str, ...], told: str) -> None:
    """A wrong call starts nothing, and its error says what is wrong."""
    result = run("operator", *words, ok=False)
    assert result.exit_code == 2
    assert told in result.stderr
    assert started == []


@pytest.mark.parametrize("words", [("--force",), ("--crds",), ("--filters=delete", "--force", "--crds")])
def test_what_only_filters_cannot_do(run: Run, words: tuple[str, ...]) -> None:
    """`--only-filters` does neither what --force nor what --crds says, and tells so before it looks at any cluster."""
    result = run("operator", "uninstall", "--kubeconfig=/nowhere", "--only-filters", *words, ok=False)
    assert result.exit_code == 2
    assert "--only-filters" in result.stderr
    assert all(each in result.stderr for each in words if each in ("--force", "--crds"))
    assert "/nowhere" not in result.stderr


def test_it_is_shown_with_its_commands(run: Run) -> None:
    """Help of the root names the operator; its own names install, manifests and uninstall, and nothing else."""
    assert "\n  operator " in run("--help").stdout
    text = run("operator", "--help").stdout
    commands = text.partition("Available Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in commands.splitlines()] == ["install", "manifests", "uninstall"]
    assert run("help", "operator").stdout == text


def test_json_in_a_pipe() -> None:
    """In a pipe, where nobody chose a form, the operator writes JSON, its last error too, as the original did."""
    words = [sys.executable, "-m", "wasme", "operator", "--kubeconfig=/nowhere", "--metrics-port=0"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "/nowhere" in lines[-1]["msg"]
    assert lines[-1]["level"] == "error"


@pytest.mark.parametrize(
    ("words", "level"),
    [((), "INFO"), (("--log-level=warn",), "WARNING"), (("--log-level=error", "-v"), "DEBUG"), (("-v",), "DEBUG")],
)
def test_levels(run: Run, started: list[Options], words: tuple[str, ...], level: str) -> None:
    """--log-level and --verbose go together: who asks for more gets more."""
    run("operator", *words)
    assert len(started) == 1
    assert logging.getLogger("wasme").level == getattr(logging, level)


def test_help_imports_no_cluster() -> None:
    """`wasme operator --help` and `wasme --help` load nothing that talks to clusters or registries."""
    heavy = (
        "httpx2",
        "ssl",
        "yaml",
        "urllib3",
        "prometheus_client",
        "wasme.deploy.cluster",
        "wasme.operator",
        "http.server",
    )
    for words in (["operator", "--help"], ["--help"]):
        script = f"import sys\nfrom wasme.cli.main import run\nrun({words!r})\nsys.stderr.write(' '.join(sys.modules))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert [name for name in heavy if name in done.stderr.split()] == []
