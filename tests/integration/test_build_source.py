"""`wasme build SOURCE`: the language found, and told where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.fixtures.engines import Recorder
from tests.fixtures.filters import module

Run = Callable[..., Result]
Make = Callable[..., Path]
MakeEngine = Callable[..., Recorder]
TAG = "localhost:5000/demo/filter:v1"
CONFIG = '{"type":"envoy_proxy","config":{"rootIds":["root_id"]}}'


def images(run: Run) -> list[str]:
    return [f"{each['name']}:{each['tag']}" for each in run("list", "-o", "json").json]


def test_a_project(run: Run, make_project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wasme build .` builds what the language's own command builds; flags stand before or behind."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    found = run("build", ".", "-t", TAG, "-o", "json").json
    assert images(run) == [TAG]
    named = run("build", "-t", TAG, "--no-cache", "-o", "json", "assemblyscript", ".").json
    assert found == named


@pytest.mark.parametrize("in_folder", [True, False])
def test_a_module(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_folder: bool) -> None:
    """A .wasm file with the current folder's runtime config; a folder that holds one with its own."""
    place = tmp_path / "made"
    place.mkdir()
    (place / "filter.wasm").write_bytes(module())
    monkeypatch.chdir(tmp_path)
    (place if in_folder else tmp_path).joinpath("runtime-config.json").write_text(CONFIG)
    built = run("build", place if in_folder else place / "filter.wasm", "-t", TAG, "-o", "json").json
    assert built["size"] == len(module())


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (("build", "foo"), "there is no folder or file foo, and no such command of wasme build", "--help"),
        (("build", "asemblyscript"), "they are assemblyscript, cpp, precompiled, rust, tinygo", "Did you mean"),
        (("build", "rust", "-t", TAG), "accepts 1 arg(s), received 0", "wasme build ./rust"),
        (("build", "tinygo", "-t", TAG), "accepts 1 arg(s), received 0", "usage: wasme build tinygo SOURCE_DIRECTORY"),
        (("build", "cpp", "empty", "-t", TAG), "holds no project that wasme knows: it is empty", "wasme init"),
        (("build", "rust", "empty", "-t", TAG), "holds no project that wasme knows: it is empty", "wasme init"),
        (("build", "./foo", "-t", TAG), "there is no folder or file foo", ""),
        (("build", "empty/", "-t", TAG), "empty holds no project that wasme knows: it is empty", "wasme init"),
        (("build", "both/", "-t", TAG), "both could be built in more than one language", "wasme build rust both"),
        (("build", "go/"), "required flag --tag is missing", ""),
        (("build", "go/", "-t", TAG, "-b", "x"), "there is no folder or file go/x", ""),
        (("build", "go/", "-t", TAG, "-g", ":x"), "--bazel-target is of no use here: go is tinygo", ""),
        (("build", "go/", "-t", TAG, "--sdk=x"), "--sdk is of no use here: go is tinygo", ""),
        (("build", "rust", "go", "-t", TAG, "-b", "../both"), "--build-dir ../both is not inside", "relative"),
        (("build", "rust", "go", "-t", TAG, "-b", "x"), "there is no folder x in", ""),
        (("build", "rust", "go", "-t", TAG, "--builder=dockr"), "not one of auto, native, docker, podman", "docker"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], error: str, hint: str
) -> None:
    """What was seen, what is possible, what was probably meant."""
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "rust", "both/Cargo.toml", "both/go.mod", "both/runtime-config.json", "go/go.mod"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(CONFIG) if "." in name or "go/" in name else path.mkdir()
    (tmp_path / "go/runtime-config.json").write_text(CONFIG)
    result = run(*words, ok=False)
    assert result.exit_code in (1, 2)
    first, second, *_ = [*result.stderr.splitlines(), ""]
    assert first.startswith("Error: ")
    assert error in first
    assert hint in second


def test_the_help_has_the_flags_of_a_path(run: Run) -> None:
    """What `wasme build SOURCE` takes besides is told where SOURCE is."""
    shown = run("build", "--help").stdout
    for names in ("-o, --output", "-b, --build-dir", "-g, --bazel-target", "-f, --bazel-output", "    --sdk"):
        assert f"\n  {names} " in shown
    for names in ("-u, --username", "-p, --password", "-e, --email", "-t, --tag"):
        assert shown.count(f"\n  {names} ") == 1


def test_build_dir_natively(run: Run, make_project: Make, tmp_path: Path) -> None:
    """-b names the folder that is built; its runtime config counts where SOURCE has none, and SOURCE's before it."""
    folder = make_project(tmp_path / "all/filters/one")
    alone = run("build", folder, "-t", TAG, "-o", "json").json
    inside = run("build", tmp_path / "all", "-b", "filters/one", "-t", TAG, "-o", "json").json
    assert inside == alone
    (tmp_path / "all/runtime-config.json").write_text('{"type":"envoy_proxy","config":{"rootIds":["other"]}}')
    outer = run("build", tmp_path / "all", "--build-dir=./filters/one/", "-t", TAG, "-o", "json").json
    assert (outer["digest"], outer["manifestDigest"] == alone["manifestDigest"]) == (alone["digest"], False)


def test_the_environment_names_a_builder(
    run: Run, engine: MakeEngine, make_project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$WASME_BUILDER is the default of --builder, and judged as that is."""
    recorder = engine()
    folder = make_project(tmp_path / "project")
    monkeypatch.setenv("WASME_BUILDER", "docker")
    run("build", folder, "-t", TAG)
    assert len(recorder.calls()) == 1
    run("build", folder, "-t", TAG, "--builder=native")
    assert len(recorder.calls()) == 1
    monkeypatch.setenv("WASME_BUILDER", "dockr")
    assert "not one of auto, native" in run("build", folder, "-t", TAG, ok=False).stderr


def test_tmp_dir_is_the_project(run: Run, make_project: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original's own test builds with --tmp-dir=. in the project: the module is there, the sources too."""
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    before = {path for path in folder.rglob("*") if "node_modules" not in path.parts and "build" not in path.parts}
    run("build", "assemblyscript", ".", "-t", TAG, "--tmp-dir=.")
    after = {path for path in folder.rglob("*") if "node_modules" not in path.parts and "build" not in path.parts}
    assert after - before == {folder / "filter.wasm"}
    assert before <= after
