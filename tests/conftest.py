"""What every test shares: a home folder of its own and `run`, the command line in this process."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PLUGINS = (
    *("modules", "registries", "hubs", "envoys", "projects", "stores", "engines", "examples"),
    *("agents", "operators", "fronts", "sidecars", "istiods"),
)
pytest_plugins = [f"tests.fixtures.{name}" for name in _PLUGINS if importlib.util.find_spec(f"tests.fixtures.{name}")]

# What package managers and compilers have fetched once is there for every test, whatever its HOME.
_KEPT = {
    "NPM_CONFIG_CACHE": ".npm",
    "CARGO_HOME": ".cargo",
    "RUSTUP_HOME": ".rustup",
    "GOMODCACHE": "go/pkg/mod",
    "GOCACHE": ".cache/go-build",
}
_CACHES = {name: os.environ.get(name) or str(Path.home() / folder) for name, folder in _KEPT.items()}
_CLEARED = ("WASM_IMAGE_REGISTRY", "WASME_", "DOCKER_CONFIG", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "http_proxy",
            "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy",
            "XDG_CACHE_HOME", "WASM_OPT")  # fmt: skip


def pytest_configure() -> None:
    """A shell gives what it runs in the background an ignored SIGINT, and every process that tests interrupt has it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh HOME for each test, and none of the machine's own settings."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    for name, path in _CACHES.items():
        monkeypatch.setenv(name, path)
    for name in list(os.environ):
        if name.startswith(_CLEARED):
            monkeypatch.delenv(name)
    return folder


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """wasme's loggers as a library has them: a command line that ran in this process before has set them up."""
    logger = logging.getLogger("wasme")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


@dataclass
class Result:
    """What one command did."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `wasme ARG…` in this process, as the console script would."""

    def call(*args: str | Path, ok: bool = True) -> Result:
        from wasme.cli.main import run as run_wasme

        capfd.readouterr()
        code = run_wasme([str(arg) for arg in args])
        out, err = capfd.readouterr()
        if ok:
            assert code == 0, f"wasme {' '.join(map(str, args))} exited {code}:\n{out}{err}"
        return Result(code, out, err)

    return call
