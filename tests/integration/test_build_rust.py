"""`wasme build rust` with the real cargo, and the filters it makes in the real Envoy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.examples import Examples
from wasme.build.rust import cargo
from wasme.build.rust.toolchain import Rust
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError, ToolMissing
from wasme.scaffold import create
from wasme.wasm.check import check
from wasme.wasm.module import parse

Run = Callable[..., Result]
FIXTURES = Path(__file__).parent.parent / "fixtures" / "rust"
EDITIONS = {"rust": ("envoy", ""), "rust-0.1": ("istio", "1.9.x")}
SOURCES_HOW = "rustup component add rust-src, or apt-get install rustc-web cargo-web rust-web-src lld-22"


@pytest.fixture(scope="session")
def cache(examples: Examples) -> Path:
    """One cache for the whole run, so that a library is compiled once at most."""
    return examples.folder / "cache"


@pytest.fixture(autouse=True)
def rust(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of this needs a cargo that compiles for WebAssembly."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("WASME_BUILDER", "native")
    try:
        cargo.choose(cargo.find(tmp_path))
    except ToolMissing as missing:
        pytest.skip(f"{missing.message}: {missing.hint}")


def project(folder: Path, template: str = "rust", example: str = "auth") -> Path:
    create(folder, "rust", *EDITIONS[template], example)
    return folder


def compiled(folder: Path, listener: Listener | None = None) -> bytes:
    scratch = folder.parent / f"{folder.name}-scratch"
    scratch.mkdir(exist_ok=True)
    return Rust().compile(folder, scratch, listener or Listener()).read_bytes()


# --- the user's own filter ------------------------------------------------------------------------------------------


def test_a_filter_of_istio_1_9(tmp_path: Path) -> None:
    """A filter with the old signatures, put over src/lib.rs of a 1.9.x project and nothing else changed, does in the
    real Envoy all that the scenario of ``auth`` asks of a filter without a configuration."""
    from wasme.envoy.binary import find_envoy
    from wasme.errors import MissingExtra
    from wasme.testing.envoy_leg import EnvoyLeg
    from wasme.testing.files import read
    from wasme.testing.runner import Case, Filter

    try:
        find_envoy()
    except MissingExtra as error:
        pytest.skip(f"{error.message}: {error.hint}")
    folder = project(tmp_path / "old", "rust-0.1")
    shutil.copyfile(FIXTURES / "old_signatures.rs", folder / "src" / "lib.rs")
    module = tmp_path / "filter.wasm"
    module.write_bytes(compiled(folder))
    scenario = read(folder / "filter.test.yaml")
    tests = [each for each in scenario.tests if not each.config]
    assert len(tests) >= 6
    results = EnvoyLeg().run([Case(Filter("old", module), each) for each in tests])
    assert {each.case.test.name: each.problems for each in results if not each.passed} == {}


def test_a_filter_in_the_original_place(tmp_path: Path, run: Run) -> None:
    """The original's source was filter.rs: one that lies there and is no part of the crate is told of, each time."""
    folder = project(tmp_path / "p", "rust-0.1", "metrics")
    shutil.copyfile(FIXTURES / "old_signatures.rs", folder / "filter.rs")
    told = 'level=warning msg="filter.rs is not part of the crate: src/lib.rs is what was compiled" hint="move it there'
    for _ in range(2):
        said = run("build", folder, "-t", "demo/x:v1").stderr
        assert told in said
    assert "sources are unchanged" in said
    manifest = folder / "Cargo.toml"
    manifest.write_text(manifest.read_text().replace("[lib]\n", '[lib]\npath = "filter.rs"\n'))
    assert b"auth-simple" in compiled(folder)
    assert "not part of the crate" not in run("build", folder, "-t", "demo/x:v1").stderr


def test_the_crates_interface_is_told(tmp_path: Path) -> None:
    """Old signatures in a project of today's crate: the compiler's words with file and line, and what it is about."""
    folder = project(tmp_path / "p")
    shutil.copyfile(FIXTURES / "old_signatures.rs", folder / "src" / "lib.rs")
    with pytest.raises(BuildFailed) as caught:
        compiled(folder)
    lines = (folder / "src" / "lib.rs").read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if "fn on_http_request_headers" in text)
    assert f"--> src/lib.rs:{line}:" in caught.value.message
    assert "on_http_request_headers" in caught.value.message
    assert "end_of_stream since proxy-wasm 0.2" in (caught.value.hint or "")


# --- the same everywhere --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", EDITIONS)
def test_reproducible(template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sources in another folder, with another HOME, cargo home, umask and clock, make the same bytes; no path
    of this machine is in them."""
    first = compiled(project(tmp_path / "one", template))
    registry = cargo_registry()
    elsewhere = tmp_path / "another home" / "cargo"
    elsewhere.mkdir(parents=True)
    shutil.copytree(registry, elsewhere / "registry", symlinks=True)
    for name in ("bin", "config.toml"):
        if (registry.parent / name).exists():
            (elsewhere / name).symlink_to(registry.parent / name)
    monkeypatch.setenv("HOME", str(tmp_path / "another home"))
    monkeypatch.setenv("CARGO_HOME", str(elsewhere))
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    before = os.umask(0o077)
    try:
        second = compiled(project(tmp_path / "some where" / "deeper" / "two", template))
    finally:
        os.umask(before)
    assert first == second
    for path in (tmp_path, registry.parent, Path.cwd(), cargo.find(tmp_path)[0].sysroot):
        assert os.fsencode(path) not in first
    assert b"/crates/proxy-wasm-0." in first


def cargo_registry() -> Path:
    from wasme.build.rust import cargo_config

    return cargo_config.home() / "registry"


@pytest.mark.parametrize("template", EDITIONS)
def test_every_crate_is_pinned(template: str, tmp_path: Path) -> None:
    """Every crate that cargo has chosen, also those that crates bring, is one that Cargo.toml names with ``=``."""
    folder = project(tmp_path / "p", template)
    compiled(folder)
    lock = (folder / "Cargo.lock").read_text()
    chosen = dict(re.findall(r'name = "([^"]+)"\nversion = "([^"+]+)', lock))
    pinned = dict(re.findall(r'^([a-z0-9_-]+) = "=([^"]+)"$', (folder / "Cargo.toml").read_text(), re.MULTILINE))
    assert chosen.pop("filter")
    assert chosen == pinned


@pytest.mark.parametrize("template", EDITIONS)
def test_cargo_alone_builds_it(template: str, tmp_path: Path) -> None:
    """`cargo build --release` in a scaffolded project makes a module that Envoy takes, without wasme."""
    choice = cargo.choose(cargo.find(tmp_path))
    if choice.from_sources or choice.target != cargo.TARGET:
        pytest.skip(f"cargo alone needs a compiled library: rustup target add {cargo.TARGET}")
    folder = project(tmp_path / "p", template)
    built = subprocess.run(
        [choice.cargo.program, "build", "--release", "--quiet"], cwd=folder, capture_output=True, text=True
    )
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    module = (folder / "target" / cargo.TARGET / "release" / "filter.wasm").read_bytes()
    assert [each for each in check(module) if each.severity == "error"] == []


# --- a library compiled from sources --------------------------------------------------------------------------------


@pytest.fixture
def only_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose rustc has no library for WebAssembly, but its sources: every installed one is hidden."""
    found = [each for each in cargo.find(tmp_path) if each.has_sources()]
    if not found:
        pytest.skip(f"needs the sources of Rust's standard library: {SOURCES_HOW}")
    monkeypatch.setattr(cargo.Cargo, "has_library", lambda *_: False)
    return found[0].rustc


def test_a_library_compiled_once(
    only_sources: Path, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only the library's sources are here, it is compiled, once for all projects; the modules are what Envoy
    takes, with no path of this machine in them, and a crate that names no host links too."""
    caplog.set_level("INFO")
    told = "compiling Rust's standard library"
    compiled(project(tmp_path / "one", example="metrics"))
    assert len([*(cache / "wasme" / "rust").glob("[!.]*")]) == 1
    caplog.clear()
    old = project(tmp_path / "two", "rust-0.1")
    (old / ".cargo" / "config.toml").unlink()  # as projects are that were begun by hand
    for folder in (old, project(tmp_path / "three")):
        module = compiled(folder)
        assert [each for each in check(module) if each.severity == "error"] == []
        imports = {each.module for each in parse(module).imports}
        assert imports == {"env"}
        for path in (tmp_path, cache, cargo_registry().parent):
            assert os.fsencode(path) not in module
        assert b"/rustc/" in module
    assert told not in caplog.text


def test_a_library_that_cannot_be_compiled(only_sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that fails to compile leaves nothing behind, and is tried again the next time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("wasme.build.rust.std._MANIFEST", "this is no manifest")
    with pytest.raises(BuildFailed, match="expected"):
        compiled(project(tmp_path / "p"))
    assert [*(tmp_path / "cache" / "wasme" / "rust").iterdir()] == []


# --- the project's own words ----------------------------------------------------------------------------------------


def test_the_projects_flags_count(tmp_path: Path) -> None:
    """Flags of .cargo/config.toml reach the compiler beside those of wasme."""
    folder = project(tmp_path / "p", example="metrics")
    source = folder / "src" / "lib.rs"
    text = source.read_text()
    source.write_text(text.replace('Ok("") => Metrics::define("filter")', 'Ok("") => Metrics::define(WHOSE)'))
    with source.open("a") as file:
        file.write('\n#[cfg(mine)]\nconst WHOSE: &str = "of mine";\n#[cfg(not(mine))]\nconst WHOSE: &str = "theirs";\n')
    config = folder / ".cargo" / "config.toml"
    config.write_text(config.read_text() + 'rustflags = ["--cfg", "mine"]\n')
    module = compiled(folder)
    assert b"of mine" in module
    assert os.fsencode(tmp_path) not in module


def test_errors_have_file_and_line(tmp_path: Path, run: Run) -> None:
    """A compiler's error reaches the user whole, with file and line, and no image is made."""
    folder = project(tmp_path / "p")
    with (folder / "src" / "lib.rs").open("a") as file:
        file.write('fn broken() -> u32 { "no number" }\n')
    line = (folder / "src" / "lib.rs").read_text().count("\n")
    result = run("build", "rust", folder, "-t", "localhost/x:v1", ok=False)
    assert result.exit_code == 1
    assert f"--> src/lib.rs:{line}:22" in result.stderr
    assert "expected `u32`, found `&str`" in result.stderr
    assert "remap-path-prefix" not in result.stderr
    assert "Compiling" not in result.stderr
    assert run("list", "-o", "json").json == []


def test_warnings_are_told(tmp_path: Path) -> None:
    """What the compiler warns of is told, also when nothing had to be compiled again; otherwise it is silent."""
    folder = project(tmp_path / "p", example="add-header")
    heard: list[str] = []
    compiled(folder, Listener(warning=heard.append))
    assert heard == []
    with (folder / "src" / "lib.rs").open("a") as file:
        file.write("fn forgotten() {}\n")
    for _ in range(2):
        heard.clear()
        compiled(folder, Listener(warning=heard.append))
        assert len(heard) == 1
        assert heard[0].startswith("warning: function `forgotten` is never used")


def test_a_library_for_other_crates(tmp_path: Path) -> None:
    """A crate that makes no module is told in one line, with the line that is missing."""
    folder = project(tmp_path / "p")
    manifest = folder / "Cargo.toml"
    manifest.write_text(re.sub(r"crate-type.*\n", "", manifest.read_text()))
    with pytest.raises(InputError) as caught:
        compiled(folder)
    assert caught.value.hint == 'add to [lib]: crate-type = ["cdylib"]'


def test_a_workspaces_crate(tmp_path: Path, run: Run) -> None:
    """Of a workspace with several filters, --build-dir names the one; its module lies in the workspace's target."""
    for name in ("auth", "metrics"):
        folder = project(tmp_path / "all" / name, example=name)
        manifest = folder / "Cargo.toml"
        text = manifest.read_text().replace('name = "filter"', f'name = "{name}"')
        manifest.write_text(text.partition("[profile.release]")[0])
    (tmp_path / "all" / "Cargo.toml").write_text('[workspace]\nmembers = ["auth", "metrics"]\nresolver = "2"\n')
    with pytest.raises(InputError, match="several crates that make modules: auth, metrics"):
        compiled(tmp_path / "all")
    built = run("build", "rust", tmp_path / "all", "--build-dir=metrics", "-t", "localhost/x:v1", "-o", "json").json
    assert built["image"] == "localhost/x:v1"
    assert list((tmp_path / "all" / "target").glob("wasm32-*/release/metrics.wasm"))


def test_unchanged_is_not_compiled_again(tmp_path: Path, run: Run) -> None:
    """The second build of the same sources runs no cargo; a changed literal does."""
    folder = project(tmp_path / "p", example="add-header")
    arguments = ("build", "rust", folder, "-t", "localhost/x:v1", "-o", "json")
    first = run(*arguments).json["digest"]
    shutil.rmtree(folder / "target")
    assert run(*arguments).json["digest"] == first
    assert not (folder / "target").exists()
    source = folder / "src" / "lib.rs"
    source.write_text(source.read_text().replace('"world"', '"moon"'))
    assert run(*arguments).json["digest"] != first


def test_crates_that_are_here_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, and without a Cargo.lock, the crates that cargo has fetched before are enough."""
    compiled(project(tmp_path / "before"))
    monkeypatch.setenv("CARGO_HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("CARGO_NET_RETRY", "0")
    assert compiled(project(tmp_path / "after")) == compiled(tmp_path / "before")


# --- what a filter weighs -------------------------------------------------------------------------------------------


def test_size(tmp_path: Path, run: Run) -> None:
    """`auth` is at most 65,000 bytes, compiled by rustc 1.96 or later and made smaller by wasm-opt."""
    if shutil.which("wasm-opt") is None:
        pytest.skip("needs wasm-opt: npm install --global binaryen, or apt-get install binaryen")
    folder = project(tmp_path / "p")
    chosen = cargo.choose(cargo.find(folder)).cargo
    built = run("build", "rust", folder, "-t", "localhost/x:v1", "-o", "json").json
    # Rust 1.95 makes it somewhat larger, and Debian's wasm-opt of 2022 too.
    assert built["size"] <= (65_000 if chosen.version >= (1, 96) else 66_000)
