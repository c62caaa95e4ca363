"""Are a project's npm packages there? Judged from the lock files, without asking anyone."""

import contextlib
import itertools
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.ports import free_port
from wasme.build.assemblyscript import node
from wasme.build.assemblyscript.dependencies import are_installed, install, package
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError, ToolMissing

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


@pytest.fixture
def found() -> node.Node:
    """This machine's npm."""
    try:
        return node.find()
    except ToolMissing as error:
        pytest.skip(f"needs Node.js: {error.hint}")


def unreachable(cache: Path) -> dict[str, str]:
    """Settings of npm's with a registry that nobody can reach, and nothing in the cache."""
    return {"npm_config_registry": f"http://127.0.0.1:{free_port()}/", "npm_config_cache": str(cache)}


def test_no_connection(tmp_path: Path, found: node.Node) -> None:
    """A registry that cannot be reached is told of in the first line, in seconds, with npm's own words behind it."""
    begun = time.monotonic()
    with pytest.raises(BuildFailed) as caught:
        install(project(tmp_path), found, found.environment(unreachable(tmp_path / "cache")), Listener())
    assert time.monotonic() - begun < 50  # npm alone takes more than a minute
    first, *rest = caught.value.message.splitlines()
    assert first.startswith("the npm registry")
    assert first.endswith("cannot be reached:")
    assert any("ECONNREFUSED" in line for line in rest)
    assert not [line for line in rest if line.startswith("npm error     at ")]


def test_own_waits_are_kept(tmp_path: Path, found: node.Node) -> None:
    """How long npm tries is the user's to say, in any place where npm looks."""
    (project(tmp_path) / ".npmrc").write_text("fetch-retry-mintimeout=20\nfetch-retry-maxtimeout=30\n")
    asked: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            with contextlib.suppress(OSError):
                while True:
                    server.accept()[0].close()
                    asked.append(time.monotonic())

        thread = threading.Thread(target=hang_up)
        thread.start()
        settings = {"npm_config_registry": f"http://127.0.0.1:{server.getsockname()[1]}/",
                    "npm_config_cache": str(tmp_path / "cache")}  # fmt: skip
        try:
            with pytest.raises(BuildFailed, match="cannot be reached"):
                install(tmp_path, found, found.environment(settings), Listener())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
    assert len(asked) > 1
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 4.5  # ours are one second and five


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A project's folder that cannot be written, whoever runs the tests."""
    with tempfile.TemporaryDirectory() as made:
        folder, user = project(Path(made)), os.geteuid()
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


def test_a_folder_that_cannot_be_written(read_only: Path) -> None:
    """npm is not even asked: one line says that it would write there, and what to do."""
    npm = node.Node(Path("/nowhere/node"), "20.0.0", ("/nowhere/npm",), "PATH")
    with pytest.raises(InputError) as caught:
        install(read_only, npm, {}, Listener())
    assert caught.value.message == f"npm cannot install the compiler into {read_only}/node_modules: Permission denied"
    assert caught.value.hint == f"{read_only} must be writable; or build a copy of it"
