"""The npm login of `wasme build assemblyscript`: who gets it, and who does not."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.filters import module
from tests.fixtures.projects import Npm

Run = Callable[..., Result]
Make = Callable[..., Path]
TAG = "localhost:5000/demo/add-header:v0.1"


@pytest.fixture
def project(make_project: Make, tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


class Registry(BaseHTTPRequestHandler):
    """An npm registry with one package, for whoever has the account."""

    asked: list[tuple[str, str | None]]
    tarball: bytes

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("authorization")))
        if self.headers.get("authorization") != "Basic " + base64.b64encode(b"me:secret").decode():
            self._answer(401, b"{}")
        elif self.path.endswith(".tgz"):
            self._answer(200, self.tarball)
        else:
            port = self.server.server_address[1]
            integrity = "sha512-" + base64.b64encode(hashlib.sha512(self.tarball).digest()).decode()
            dist = {"tarball": f"http://127.0.0.1:{port}/private/-/private-1.0.0.tgz", "integrity": integrity}
            version = {"name": "private", "version": "1.0.0", "dist": dist}
            document = {"name": "private", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
            self._answer(200, json.dumps(document).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def registry() -> Iterator[tuple[type[Registry], int]]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in (
            ("package.json", b'{"name":"private","version":"1.0.0"}'),
            ("made.wasm", module()),
        ):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    handler = type("Handler", (Registry,), {"asked": [], "tarball": packed.getvalue()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield handler, server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_npm_login(
    run: Run, npm: Npm, tmp_path: Path, registry: tuple[type[Registry], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """-u, -p and -e reach the project's npm registry and nothing else: no command line, no file, no log."""
    handler, port = registry
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{port}/")
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "runtime-config.json").write_text("{}")
    script = "mkdir -p build && cp node_modules/private/made.wasm build/optimized.wasm"
    manifest = {"scripts": {"asbuild": script}, "dependencies": {"private": "1.0.0"}}
    (folder / "package.json").write_text(json.dumps(manifest))
    refused = run("build", "assemblyscript", folder, "-t", TAG, ok=False)
    assert refused.exit_code == 1
    assert "E401" in refused.stderr
    login = ("-u", "me", "-p", "secret", "-e", "me@example.test")
    built = run("build", "assemblyscript", folder, "-t", TAG, *login, "-v")
    assert any(path.endswith(".tgz") and sent for path, sent in handler.asked)
    said = built.stderr
    assert f'msg="npm gets the login for this registry" registry="127.0.0.1:{port}"' in said
    assert said.index("npm gets the login") < said.index("installing npm packages")
    assert "secret" not in said
    token = base64.b64encode(b"me:secret").decode()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and token.encode() in path.read_bytes()]
    assert not kept


@pytest.mark.parametrize(
    ("address", "is_taken"),
    [
        ("http://npm.example.test/some/path/", False),
        ("http://npm.example.test:8080/", False),
        ("http://127.0.0.1.example.test/", False),
        ("http://localhost@example.test/", False),
        ("https://npm.example.test:8443/some/path/", True),
        ("http://localhost:1/", True),
        ("http://[::1]:1/", True),
        ("http://127.0.0.9:1/", True),
    ],
)
def test_npm_login_goes_nowhere_in_plain_text(run: Run, npm: Npm, project: Path, address: str, is_taken: bool) -> None:
    """A registry of the project's own .npmrc gets the login by TLS or on this machine only, and is named."""
    (project / ".npmrc").write_text(f"registry={address}\n")
    (project / "made.wasm").write_bytes(module())
    _script(project, "touch ran; mkdir -p build && cp made.wasm build/optimized.wasm")
    result = run("build", "assemblyscript", project, "-t", TAG, "-u", "me", "-p", "secret", ok=False)
    assert (result.exit_code == 0) == is_taken
    assert (project / "ran").exists() == is_taken
    host = address.partition("//")[2].rpartition("@")[2].partition("/")[0]
    if is_taken:
        assert f'msg="npm gets the login for this registry" registry="{host}"' in result.stderr
    else:
        assert f"Error: the npm login would go to http://{host} in plain text\nHint: " in result.stderr
    assert "secret" not in result.stderr
    assert "some/path" not in result.stderr


@pytest.mark.parametrize("start", ["http://", "https://", "ftp://", "http://[", "//"])
def test_npm_login_beside_another(run: Run, npm: Npm, project: Path, start: str) -> None:
    """A registry setting that holds a password of its own gets no other, and nobody reads it in a message."""
    (project / ".npmrc").write_text(f"registry={start}who:hidden@npm.example.test/\n")
    result = run("build", "assemblyscript", project, "-t", TAG, "-u", "me", "-p", "secret", ok=False)
    assert result.exit_code == 1
    assert "npm does not say which registry it uses" in result.stderr
    assert "hidden" not in result.stderr


def _script(project: Path, command: str) -> None:
    """Give the project another ``asbuild``."""
    manifest = json.loads((project / "package.json").read_text())
    manifest["scripts"]["asbuild"] = command
    (project / "package.json").write_text(json.dumps(manifest))
