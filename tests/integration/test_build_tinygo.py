"""Go filters, compiled by the real Go: scaffolded projects and what goes wrong with projects.

That the examples do what they say is `test_examples.py`'s affair.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from wasme.build.tinygo import golang
from wasme.build.tinygo.golang import Go
from wasme.build.tinygo.toolchain import TinyGo
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, ToolMissing
from wasme.scaffold import create
from wasme.wasm import check

EXAMPLES = ("add-header", "auth", "body", "metrics", "rate-limit")
MOST_BYTES = 2_150_000
LARGE = (1, 26)  # of the same sources, this Go's modules are 170 kB larger than those before and after it
READER_TEST = Path(__file__).parents[1] / "fixtures" / "go" / "config_test.go"


@pytest.fixture(scope="session")
def go() -> Go:
    """The Go that builds; a test that needs it skips where there is none."""
    try:
        return golang.find()
    except ToolMissing as error:
        pytest.skip(f"{error.message}: {error.hint}")


@pytest.fixture
def project(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Scaffold an example; the compiler is Go, whatever else is here."""
    monkeypatch.setenv("PATH", os.pathsep.join(each for each in _folders() if not (Path(each) / "tinygo").exists()))

    def make(example: str = "add-header", name: str = "") -> Path:
        return create(tmp_path / (name or example), "tinygo", example=example).directory

    return make


def _folders() -> list[str]:
    return os.environ["PATH"].split(os.pathsep)


def build(project: Path, scratch: Path) -> bytes:
    """The module of a project."""
    scratch.mkdir(exist_ok=True)
    return TinyGo().compile(project, scratch, Listener(warning=pytest.fail)).read_bytes()


def tell(go: Go, project: Path, *words: str, **more: str) -> str:
    """Run Go in a project, and return what it says."""
    environment = go.environment({"GOTOOLCHAIN": "local", "GOWORK": "off", **more})
    done = subprocess.run(
        [go.program, *words], cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_build_as_they_stand(project: Callable[..., Path], go: Go, tmp_path: Path, example: str) -> None:
    """Every scaffolded project compiles, Envoy has nothing against it, and go vet and gofmt neither."""
    folder = project(example)
    sums = (folder / "go.sum").read_text()
    module = build(folder, tmp_path / "scratch")
    assert [finding for finding in check.check(check.require_loadable(module)) if finding.severity != "note"] == []
    assert tell(go, folder, "vet", "-trimpath", "./...", GOOS="wasip1", GOARCH="wasm") == ""
    gofmt = go.program.resolve().with_name("gofmt")
    assert subprocess.run([gofmt, "-l", "."], cwd=folder, capture_output=True, text=True, check=True).stdout == ""
    assert (folder / "go.sum").read_text() == sums, "go.sum names all that the build reads"


def test_add_header_is_small(project: Callable[..., Path], go: Go, tmp_path: Path) -> None:
    """With text and JSON, add-header is hardly larger than the SDK and Go's runtime are without it."""
    if go.version is None or go.version[:2] == LARGE:
        pytest.skip("needs another Go than 1.26: pip install 'wasme[go]'")
    assert len(build(project(), tmp_path / "scratch")) <= MOST_BYTES


def test_the_command_of_the_readme(project: Callable[..., Path], go: Go, tmp_path: Path) -> None:
    """The README's own command makes a module that Envoy takes, without wasme."""
    folder = project()
    line = next(each for each in (folder / "README.md").read_text().splitlines() if " go build " in each)
    environment = {**os.environ, "PATH": os.pathsep.join([str(go.program.parent), os.environ["PATH"]])}
    subprocess.run(["sh", "-c", line], cwd=folder, env=environment, check=True)
    check.require_loadable((folder / "build" / "filter.wasm").read_bytes())


def test_dependencies_are_pinned(project: Callable[..., Path]) -> None:
    """go.mod asks for one module in one version, and go.sum has nothing but names, versions and sums."""
    folder = project()
    required = re.findall(r"^\s*(?:require )?(\S+\.\S+/\S+) (v\S+)", (folder / "go.mod").read_text(), re.MULTILINE)
    assert [module for module, _ in required] == ["github.com/proxy-wasm/proxy-wasm-go-sdk"]
    sums = (folder / "go.sum").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z0-9./-]+ v[0-9a-z.-]+(/go\.mod)? h1:[A-Za-z0-9+/]{43}=", line) for line in sums)
    assert {f"{module} {version}" for module, version in required} <= {" ".join(line.split()[:2]) for line in sums}


def test_the_same_everywhere(
    project: Callable[..., Path], go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folder, HOME, umask, age of the files and empty caches of modules and packages: the same bytes."""
    first = build(project(), tmp_path / "scratch")
    known = Path(os.environ["GOMODCACHE"]) / "cache" / "download"
    other = tmp_path / "a longer folder, somewhere else" / "deeper"
    umask = os.umask(0o077)
    try:
        other.parent.mkdir()
        shutil.copytree(project(name="another"), other)
        for path in other.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
        for name, folder in {
            "HOME": "house",
            "GOCACHE": "packages",
            "GOMODCACHE": "modules",
            "TMPDIR": "short",
        }.items():
            (tmp_path / folder).mkdir()
            monkeypatch.setenv(name, str(tmp_path / folder))
        monkeypatch.setenv("GOPROXY", known.as_uri())
        monkeypatch.setenv("GOFLAGS", "-modcacherw")
        second = build(other, tmp_path / "other scratch")
    finally:
        os.umask(umask)
    assert (tmp_path / "modules" / "cache").is_dir()
    assert hashlib.sha256(second).hexdigest() == hashlib.sha256(first).hexdigest()
    assert str(tmp_path).encode() not in first


def test_the_network_is_not_needed(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has been fetched once is enough."""
    build(project(), tmp_path / "scratch")
    monkeypatch.setenv("GOPROXY", "off")
    build(project(name="again"), tmp_path / "scratch")


def test_the_reader_of_configurations_reads_json(project: Callable[..., Path], go: Go) -> None:
    """The small reader in the project takes, refuses and unescapes what encoding/json does."""
    folder = project()
    shutil.copy(READER_TEST, folder / "config" / "config_test.go")
    assert "ok" in tell(go, folder, "test", "./config")


def test_a_compilers_words(project: Callable[..., Path], tmp_path: Path, run: Callable[..., Result]) -> None:
    """All that the compiler says reaches the user, with file and line, and no image is kept."""
    folder = project()
    source = folder / "main.go"
    text = source.read_text()
    line = text[: text.index("return types.ActionContinue")].count("\n") + 1
    source.write_text(text.replace("return types.ActionContinue", "return nowhere\n\treturn 5 + nothing"))
    (folder / "config" / "broken.go").write_text("package config\n\nvar _ = unknown\n")
    result = run("build", "tinygo", folder, "-t", "localhost/broken:v1", ok=False)
    assert result.exit_code == 1
    assert "config/broken.go:3:9: undefined: unknown" in result.stderr
    (folder / "config" / "broken.go").unlink()
    result = run("build", "tinygo", folder, "-t", "localhost/broken:v1", ok=False)
    assert f"./main.go:{line}:9: undefined: nowhere" in result.stderr
    assert f"./main.go:{line + 1}:13: undefined: nothing" in result.stderr
    assert "Traceback" not in result.stderr
    assert run("list", "-o", "json").json == []


def test_no_main(project: Callable[..., Path], tmp_path: Path) -> None:
    """Without the empty main, the linker's words come with what to do."""
    folder = project()
    text = (folder / "main.go").read_text()
    (folder / "main.go").write_text(text.replace("func main() {}\n", ""))
    with pytest.raises(BuildFailed, match="function main is undeclared in the main package") as caught:
        build(folder, tmp_path / "scratch")
    assert "add `func main() {}`" in str(caught.value.hint)


def test_not_package_main(project: Callable[..., Path], tmp_path: Path) -> None:
    """A package that is no program is told as such."""
    folder = project()
    text = (folder / "main.go").read_text()
    (folder / "main.go").write_text(text.replace("package main\n", "package filter\n"))
    with pytest.raises(BuildFailed) as caught:
        build(folder, tmp_path / "scratch")
    assert "must be `package main`" in str(caught.value.hint)


def test_one_of_several_filters(project: Callable[..., Path], tmp_path: Path) -> None:
    """A filter whose go.mod lies in a folder above builds where it is."""
    folder = project()
    (folder / "cmd" / "hello").mkdir(parents=True)
    (folder / "main.go").rename(folder / "cmd" / "hello" / "main.go")
    check.require_loadable(build(folder / "cmd" / "hello", tmp_path / "scratch"))


def test_a_module_that_go_sum_does_not_know(project: Callable[..., Path], tmp_path: Path) -> None:
    """A go.sum without the SDK's sum is not written behind the user's back; Go says what to do."""
    folder = project()
    sums = (folder / "go.sum").read_text()
    (folder / "go.sum").write_text("".join(line for line in sums.splitlines(True) if "proxy-wasm-go-sdk" not in line))
    with pytest.raises(BuildFailed, match=r"missing go\.sum entry"):
        build(folder, tmp_path / "scratch")


def test_a_workspace_above_does_not_matter(project: Callable[..., Path], tmp_path: Path) -> None:
    """A go.work in a folder above names other modules, and would keep Go from building this one."""
    (tmp_path / "go.work").write_text("go 1.24\n\nuse ./other\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "go.mod").write_text("module other\n\ngo 1.24\n")
    check.require_loadable(build(project(), tmp_path / "scratch"))


def test_a_module_of_the_workspace(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project that needs its workspace fails with words on how to build in it, and then builds in it."""
    folder = project()
    (tmp_path / "go.work").write_text(f"go 1.24\n\nuse ./other\nuse ./{folder.name}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "go.mod").write_text("module example.com/other\n\ngo 1.24\n")
    (tmp_path / "other" / "other.go").write_text('package other\n\nconst Word = "other"\n')
    main = folder / "main.go"
    text = main.read_text().replace('"world"', "other.Word")
    main.write_text(text.replace('\t"filter/config"\n', '\t"example.com/other"\n\n\t"filter/config"\n'))
    with pytest.raises(BuildFailed, match="no required module provides package") as caught:
        build(folder, tmp_path / "scratch")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith(f"set GOWORK={tmp_path / 'go.work'}")
    monkeypatch.setenv("GOWORK", str(tmp_path / "go.work"))
    check.require_loadable(build(folder, tmp_path / "scratch"))


def test_users_settings_that_would_spoil_it(
    project: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a shell has set for other Go projects makes no other module."""
    folder = project()
    first = build(folder, tmp_path / "scratch")
    for name, value in {"GOOS": "plan9", "GOARCH": "386", "CGO_ENABLED": "1", "GOROOT": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOFLAGS", "-n -race -ldflags=-X=main.a=b -trimpath=false -buildvcs=true")
    assert build(folder, tmp_path / "scratch") == first
