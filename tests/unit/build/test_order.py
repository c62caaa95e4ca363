"""What is judged before anything runs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

Run = Callable[..., Result]
CONFIG = '{"type":"envoy_proxy","abiVersions":["v0.2.1"],"config":{"rootIds":["r"]}}'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A project whose compiler must not be run: it would leave a file."""
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "package.json").write_text('{"scripts": {"asbuild": "touch ran"}}')
    (folder / "runtime-config.json").write_text(CONFIG)
    return folder


def refused(run: Run, source: Path, *words: str, code: int = 1) -> str:
    result = run("build", "assemblyscript", str(source), *words, ok=False)
    assert result.exit_code == code
    assert not (source / "ran").exists()
    assert not (source / "node_modules").exists()
    return result.stderr


def test_bug_tag_is_checked_before_building(run: Run, source: Path) -> None:
    """[BUG] of the original: a missing or wrong --tag was noticed only after the build."""
    assert "required flag --tag is missing" in refused(run, source, code=2)
    assert "must be lowercase" in refused(run, source, "-t", "localhost:5000/Upper/case:v1")
    assert "comes of its content" in refused(run, source, "-t", "a/b@sha256:" + "0" * 64)


def test_missing_runtime_config(run: Run, source: Path) -> None:
    """Without a runtime config nothing runs; the error names the file and the flag."""
    (source / "runtime-config.json").unlink()
    said = refused(run, source, "-t", "a/b:1")
    assert str(source / "runtime-config.json") in said
    assert "--config" in said


@pytest.mark.parametrize("text", ["{", '{"abi_version": "x"}', '{"config": {"rootIds": "r"}}', ""])
def test_invalid_runtime_config(run: Run, source: Path, text: str) -> None:
    """A runtime config that cannot be read stops the build before it begins."""
    (source / "runtime-config.json").write_text(text)
    assert "runtime-config.json" in refused(run, source, "-t", "a/b:1")


def test_config_flag_names_another(run: Run, source: Path, tmp_path: Path) -> None:
    """--config wins over the file in the source folder."""
    (tmp_path / "other.json").write_text("nonsense")
    assert "other.json" in refused(run, source, "-t", "a/b:1", "-c", str(tmp_path / "other.json"))


def test_no_such_source(run: Run, tmp_path: Path) -> None:
    """A source folder that is not there, or a file, is told."""
    (tmp_path / "file").write_text("")
    for name, words in (("nowhere", "there is no folder"), ("file", "is not a folder")):
        result = run("build", "assemblyscript", tmp_path / name, "-t", "a/b:1", ok=False)
        assert result.exit_code == 1
        assert words in result.stderr


def test_originals_store_is_not_written(run: Run, source: Path, tmp_path: Path) -> None:
    """--store with the original's store is refused before the compiler runs."""
    old = tmp_path / "old" / "6d9f0860f168859ae01999fb189bd158"
    old.mkdir(parents=True)
    (old / "image_ref").write_text("webassemblyhub.io/hxpmark/auth:0.01")
    (old / "descriptor.json").write_text("{}")
    (old / "filter.wasm").write_text("")
    (old / "runtime-config.json").write_text("{}")
    assert "read and never written" in refused(run, source, "-t", "a/b:1", "--store", str(old.parent))


def test_half_a_login(run: Run, source: Path) -> None:
    """npm login needs a name and a password."""
    assert "needs both" in refused(run, source, "-t", "a/b:1", "-u", "me", code=2)


def test_no_script(run: Run, source: Path) -> None:
    """A project without the script asbuild is told which line it lacks."""
    (source / "package.json").write_text('{"scripts": {}}')
    assert "has no script 'asbuild'" in refused(run, source, "-t", "a/b:1")


def test_arity(run: Run) -> None:
    """Each sub-command takes exactly one positional."""
    for words in ((), ("a", "b")):
        result = run("build", "assemblyscript", *words, "-t", "a/b:1", ok=False)
        assert result.exit_code == 2
        assert f"accepts 1 arg(s), received {len(words)}" in result.stderr
