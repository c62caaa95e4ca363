"""Which Envoy is taken."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from wasme.envoy.binary import find_envoy
from wasme.errors import MissingExtra, ToolMissing


def _program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$WASME_ENVOY, then PATH, then the extra's program."""
    on_path = _program(tmp_path / "bin" / "envoy")
    named = _program(tmp_path / "named")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setenv("WASME_ENVOY", str(named))
    assert (find_envoy().path, find_envoy().origin) == (named, "$WASME_ENVOY")
    monkeypatch.delenv("WASME_ENVOY")
    assert (find_envoy().path, find_envoy().origin) == (on_path, "PATH")


def test_the_wheels_script_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python script that the extra puts on PATH only starts the program: the program is taken."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs pip install 'wasme[envoy]'")
    script = _program(tmp_path / "envoy", "#!/usr/bin/python\nfrom envoy._main import main\n")
    monkeypatch.setenv("PATH", str(script.parent))
    found = find_envoy()
    assert found.origin == "the extra [envoy]"
    assert found.path.read_bytes()[:4] == b"\x7fELF" or found.path.stat().st_size > 1_000_000


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any, the error says which extra to install; a wrong $WASME_ENVOY is told as such."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtra) as caught:
        find_envoy()
    assert caught.value.hint == "pip install 'wasme[envoy]'"
    monkeypatch.setenv("WASME_ENVOY", "/nonexistent")
    with pytest.raises(ToolMissing, match=r"\$WASME_ENVOY is /nonexistent"):
        find_envoy()
