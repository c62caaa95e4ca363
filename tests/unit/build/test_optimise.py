"""wasm-opt: which one, when, and what becomes of what it makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.filters import module
from wasme.build import optimise
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, ToolMissing


def program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$WASM_OPT, then the project's own, then PATH."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("WASM_OPT", raising=False)
    assert optimise.find(tmp_path / "p") is None
    on_path = program(tmp_path / "bin/wasm-opt", "")
    assert optimise.find(tmp_path / "p") == optimise.Optimiser(on_path, "PATH")
    own = program(tmp_path / "p/node_modules/.bin/wasm-opt", "")
    assert optimise.find(tmp_path / "p") == optimise.Optimiser(own, "the project")
    monkeypatch.setenv("WASM_OPT", str(on_path))
    assert optimise.find(tmp_path / "p") == optimise.Optimiser(on_path, "$WASM_OPT")
    monkeypatch.setenv("WASM_OPT", str(tmp_path / "nothing"))
    with pytest.raises(ToolMissing, match=r"\$WASM_OPT names .*nothing, which is no program"):
        optimise.find(tmp_path / "p")


def test_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """auto: where it pays and is here; always: or it is an error; never."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("WASM_OPT", raising=False)
    assert optimise.choose("auto", tmp_path, pays=True) is None
    with pytest.raises(ToolMissing, match="wasm-opt is not on this machine"):
        optimise.choose("always", tmp_path, pays=False)
    program(tmp_path / "bin/wasm-opt", "")
    assert optimise.choose("auto", tmp_path, pays=True) is not None
    assert optimise.choose("auto", tmp_path, pays=False) is None
    assert optimise.choose("always", tmp_path, pays=False) is not None
    assert optimise.choose("never", tmp_path, pays=True) is None


def made(tmp_path: Path, script: str, content: bytes) -> bytes | None:
    file = tmp_path / "filter.wasm"
    file.write_bytes(content)
    used = optimise.Optimiser(program(tmp_path / "wasm-opt", script), "PATH")
    result = used.optimise(file, tmp_path, Listener())
    assert file.read_bytes() == content
    assert not (tmp_path / "filter.optimised.wasm").exists()
    return result


def test_what_is_smaller_and_loads_is_kept(tmp_path: Path) -> None:
    """Anything else leaves the compiler's module as it is."""
    small, large = module(), module('(func (export "proxy_on_log") (param i32))')
    (tmp_path / "small").write_bytes(small)
    copy = 'for last; do :; done; cp small "$last"'
    assert made(tmp_path, copy, large) == small
    assert made(tmp_path, copy, small) is None
    (tmp_path / "small").write_bytes(small[:-2])
    assert made(tmp_path, copy, large) is None
    (tmp_path / "small").write_bytes(module(version="0_9_9"))
    assert made(tmp_path, copy, large + bytes([0, 100, 1, 120]) + b"x" * 98) is None


@pytest.mark.parametrize("script", ["echo no such option >&2; exit 1", "exit 0"])
def test_a_wasm_opt_that_fails(tmp_path: Path, script: str) -> None:
    """Its words are kept."""
    with pytest.raises(BuildFailed, match=r"no such option|left no module"):
        made(tmp_path, script, module())


def test_features_are_named() -> None:
    """With all of them on, it writes what Envoy refuses to load."""
    assert optimise.FLAGS[0] == "--mvp-features"
    assert not {"-all", "--all-features"} & set(optimise.FLAGS)
