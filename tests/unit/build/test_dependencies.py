"""Are a project's npm packages there? Judged from the lock files, without asking anyone."""

import json
from pathlib import Path
from typing import Any

import pytest

from wasme.build.assemblyscript.dependencies import are_installed, package
from wasme.errors import InputError

MODERN = {
    "lockfileVersion": 3,
    "packages": {
        "": {"devDependencies": {"a": "1.0.0"}},
        "node_modules/a": {"version": "1.0.0"},
        "node_modules/a/node_modules/b": {"version": "2.0.0"},
        "node_modules/only-mac": {"version": "1.0.0", "optional": True},
    },
}
OLD = {
    "lockfileVersion": 1,
    "dependencies": {"a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}}},
}
HERE = {"packages": {"node_modules/a": {"version": "1.0.0"}, "node_modules/a/node_modules/b": {"version": "2.0.0"}}}


def project(folder: Path, lock: Any = None, here: Any = None, manifest: Any = None) -> Path:
    (folder / "package.json").write_text(json.dumps(manifest or {"devDependencies": {"a": "1.0.0"}}))
    if lock is not None:
        (folder / "package-lock.json").write_text(json.dumps(lock))
    if here is not None:
        for path in here["packages"]:
            (folder / path).mkdir(parents=True)
        (folder / "node_modules/.package-lock.json").write_text(json.dumps(here))
    return folder


@pytest.mark.parametrize("lock", [MODERN, OLD])
def test_installed(tmp_path: Path, lock: Any) -> None:
    """Everything the lock file names, in any of its forms, is there; what a platform may do without may be absent."""
    assert are_installed(project(tmp_path, lock, HERE))


@pytest.mark.parametrize("lock", [MODERN, OLD])
@pytest.mark.parametrize("path", ["node_modules/a", "node_modules/a/node_modules/b"])
def test_another_version(tmp_path: Path, lock: Any, path: str) -> None:
    """One package in another version, and it has to be installed."""
    here = {"packages": {**HERE["packages"], path: {"version": "1.5.0"}}}
    assert not are_installed(project(tmp_path, lock, here))


def test_deleted_folder(tmp_path: Path) -> None:
    """A package whose folder somebody has deleted has to be installed."""
    project(tmp_path, MODERN, HERE)
    (tmp_path / "node_modules/a/node_modules/b").rmdir()
    assert not are_installed(tmp_path)


def test_changed_package_json(tmp_path: Path) -> None:
    """A dependency added by hand, which the lock file does not know, has to be installed."""
    manifest = {"devDependencies": {"a": "1.0.0", "new": "1.0.0"}}
    assert not are_installed(project(tmp_path, MODERN, HERE, manifest))


@pytest.mark.parametrize(("lock", "here"), [(None, HERE), (MODERN, None), (None, None)])
def test_nothing_to_compare(tmp_path: Path, lock: Any, here: Any) -> None:
    """Without a lock file or node_modules, npm has to look."""
    assert not are_installed(project(tmp_path, lock, here))


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\x00"])
def test_damaged_lock(tmp_path: Path, text: str) -> None:
    """A lock file that is none is npm's to explain."""
    project(tmp_path, MODERN, HERE)
    (tmp_path / "package-lock.json").write_text(text)
    assert not are_installed(tmp_path)


def test_no_project(tmp_path: Path) -> None:
    """A folder without package.json is told so, with how to begin one."""
    with pytest.raises(InputError, match=r"has no package\.json") as caught:
        package(tmp_path)
    assert "wasme init" in (caught.value.hint or "")


def test_package_json_is_no_object(tmp_path: Path) -> None:
    """A package.json that is no object is told, not traced."""
    (tmp_path / "package.json").write_text("[]")
    with pytest.raises(InputError, match="is not a JSON object"):
        package(tmp_path)
