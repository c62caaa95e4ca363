"""What an AssemblyScript module is made of, told without running npm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wasme.build.assemblyscript import dependencies
from wasme.build.assemblyscript.toolchain import AssemblyScript
from wasme.build.toolchain import Inputs
from wasme.scaffold import create

OLD = Path(__file__).parents[2] / "fixtures" / "proxy-runtime"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    create(folder, "assemblyscript", "envoy")
    return folder


def inputs(folder: Path) -> Inputs | None:
    return AssemblyScript().inputs(folder)


def test_a_scaffolded_project_is_known_before_and_after_npm(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock file stands for the compiler, so what is told does not change by installing it; nothing is run."""
    monkeypatch.setattr(subprocess, "Popen", None)
    before = inputs(project)
    assert before is not None
    assert before.roots == (project,)
    assert {"build", "node_modules", ".git"} <= before.skip
    (project / "node_modules/assemblyscript").mkdir(parents=True)
    (project / "node_modules/.package-lock.json").write_text("{}")
    (project / "build").mkdir()
    assert inputs(project) == before


def test_a_library_counts(tmp_path: Path) -> None:
    """A library is compiled with the project's own: one that is changed in node_modules makes another module."""
    (tmp_path / "assembly").mkdir()
    for name in ("package.json", "package-lock.json", "assembly/index.ts"):
        (tmp_path / name).write_bytes((OLD / name).read_bytes())
    absent = inputs(tmp_path)
    source = tmp_path / "node_modules/@solo-io/proxy-runtime/assembly/index.ts"
    source.parent.mkdir(parents=True)
    source.write_text("export const a = 1;")
    first = inputs(tmp_path)
    source.write_text("export const a = 2;")
    second = inputs(tmp_path)
    assert absent
    assert first
    assert second
    assert absent.tools[-1] == ""
    assert len({absent.tools, first.tools, second.tools}) == 3
    assert len(absent.tools) == len(first.tools)


@pytest.mark.parametrize(("name", "value"), [("NODE_OPTIONS", "--stack-size=2000"), ("NPM_OUTPUT", "build/other.wasm")])
def test_variables_count(project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What reaches the compiler by the environment, or says which module is taken, is part of it."""
    before = inputs(project)
    monkeypatch.setenv(name, value)
    after = inputs(project)
    assert before
    assert after
    assert before.tools != after.tools


PLAIN = [
    {"asbuild": "asc assembly/index.ts -o build/optimized.wasm -Oz"},
    {"asbuild": "npm run one && npm run two", "one": "asc a.ts -o build/a.wasm", "two": "asc b.ts -b build/b.wasm"},
    {"asbuild": "asc a.ts", "preasbuild": "asc b.ts", "postasbuild": "asc c.ts --use 'abort=my_abort'"},
    {"asbuild": "asc a.ts", "test": "node test.js", "start": "webpack | tee log"},
]
NOT_PLAIN: list[dict[str, Any]] = [
    {"asbuild": "node make.js"},
    {"asbuild": "asc a.ts; node make.js"},
    {"asbuild": "asc a.ts | cat"},
    {"asbuild": "asc a.ts & true"},
    {"asbuild": "asc $FLAGS a.ts"},
    {"asbuild": "asc `ls`"},
    {"asbuild": "asc assembly/*.ts"},
    {"asbuild": "asc a.ts -o build/'x"},
    {"asbuild": "npx asc a.ts"},
    {"asbuild": "asc a.ts --config other.json"},
    {"asbuild": "asc build/generated.ts"},
    {"asbuild": "npm run other"},
    {"asbuild": "npm run other -- --flag", "other": "asc a.ts"},
    {"asbuild": "asc a.ts", "preasbuild": "node generate.js"},
    {"asbuild": "asc a.ts", "postasbuild": "wasm-opt build/optimized.wasm"},
    {"asbuild": "asc a.ts", "postinstall": "patch-package"},
    {"asbuild": "asc ../shared/a.ts"},
    {"asbuild": "asc a.ts --lib /opt/lib"},
    {"asbuild": "asc a.ts --lib=../lib"},
    {"asbuild": "asc a.ts --transform ./change.js"},
    {"asbuild": ""},
    {"asbuild": 1},
    {},
]


@pytest.mark.parametrize("scripts", PLAIN)
def test_scripts_that_only_call_the_compiler(project: Path, scripts: dict[str, str]) -> None:
    """Such scripts make the module of the project alone."""
    _scripts(project, scripts)
    assert inputs(project)


@pytest.mark.parametrize("scripts", NOT_PLAIN)
def test_scripts_that_do_more(project: Path, scripts: dict[str, Any]) -> None:
    """Of anything else nobody knows what it reads: it is compiled each time."""
    _scripts(project, scripts)
    assert inputs(project) is None


@pytest.mark.parametrize(
    "line",
    [
        'import { x } from "../../shared/x";',
        "export * from '../../../x';",
        'import"/opt/x";',
        'import { x }\n  from "../proxy/../../x";',
        'import { x } from "./build/x";',
        'import { x } from "../node_modules/library/x";',
    ],
)
def test_sources_outside(project: Path, line: str) -> None:
    """A source that takes another from outside of the folder is compiled each time."""
    index = project / "assembly/index.ts"
    index.write_text(f"{line}\n{index.read_text()}")
    assert inputs(project) is None


def test_a_linked_folder_of_sources(project: Path, tmp_path: Path) -> None:
    """A link to a folder may lead anywhere: compiled each time."""
    (project / "assembly/shared").symlink_to(tmp_path)
    assert inputs(project) is None


@pytest.mark.parametrize(
    ("config", "known"),
    [
        ('{"options": {"shrinkLevel": 2}}', True),
        ('{"extends": "other"}', False),
        ('{"options": {"transform": ["./change.js"]}}', False),
        ('{"entries": ["../x.ts"]}', False),
    ],
)
def test_a_file_of_options(project: Path, config: str, known: bool) -> None:
    """asconfig.json may name options, but no code for the compiler and nothing outside."""
    (project / "asconfig.json").write_text(config)
    assert (inputs(project) is not None) == known


@pytest.mark.parametrize(
    "entry",
    [
        {"../library": {"version": "1.0.0"}},
        {"node_modules/library": {"resolved": "../library", "link": True}},
        {"node_modules/library": {"resolved": "file:/opt/library.tgz", "version": "1.0.0"}},
    ],
)
def test_packages_outside(project: Path, entry: dict[str, Any]) -> None:
    """A package that lies outside of the project can change without the lock file: compiled each time."""
    lock = json.loads((project / "package-lock.json").read_text())
    lock["packages"] |= entry
    (project / "package-lock.json").write_text(json.dumps(lock))
    assert inputs(project) is None


def test_packages_inside(project: Path) -> None:
    """A package in the project's own folder is one of its sources."""
    lock = json.loads((project / "package-lock.json").read_text())
    lock["packages"]["node_modules/library"] = {"resolved": "vendor/library", "link": True}
    lock["packages"]["vendor/library"] = {"version": "1.0.0"}
    (project / "package-lock.json").write_text(json.dumps(lock))
    assert inputs(project)


def test_no_lock_and_a_stale_one(project: Path) -> None:
    """Where npm would choose versions anew, nothing is known."""
    manifest = json.loads((project / "package.json").read_text())
    manifest["dependencies"] = {"long": "5.3.2"}
    (project / "package.json").write_text(json.dumps(manifest))
    assert inputs(project) is None
    (project / "package-lock.json").unlink()
    assert inputs(project) is None
    (project / "package-lock.json").write_text("{")
    assert inputs(project) is None


@pytest.mark.parametrize(
    "lock",
    [
        {"packages": []},
        {"packages": None},
        {"packages": {"": []}},
        {"packages": {"node_modules/x": "1.0.0"}},
        {"dependencies": 7},
        {"dependencies": {"assemblyscript": "1.0.0"}},
        [],
    ],
)
def test_a_lock_file_that_is_none(project: Path, lock: object) -> None:
    """Whatever stands in a lock file, nobody falls over it; npm will say what is wrong."""
    (project / "package-lock.json").write_text(json.dumps(lock))
    assert inputs(project) is None
    assert not dependencies.are_installed(project)


def test_nested_packages_that_are_none(project: Path) -> None:
    """The same for packages inside packages, as npm wrote them before 7."""
    entry = {"version": "0.28.20", "dependencies": {"long": 1, "other": {"dependencies": []}}}
    (project / "package-lock.json").write_text(json.dumps({"dependencies": {"assemblyscript": entry}}))
    (project / "node_modules").mkdir()
    (project / "node_modules/.package-lock.json").write_text("{}")
    assert not dependencies.are_installed(project)


def test_a_source_that_cannot_be_read(project: Path) -> None:
    """A link to nothing among the sources is the compiler's affair."""
    (project / "assembly/gone.ts").symlink_to("nowhere.ts")
    assert inputs(project) is None


def test_a_path_with_dots(project: Path) -> None:
    """However the folder is named, its sources are in it."""
    assert inputs(project / "assembly" / "..")


def test_a_module_elsewhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is written among the sources would change them: compiled each time."""
    monkeypatch.setenv("NPM_OUTPUT", "filter.wasm")
    assert inputs(project) is None


def test_tools_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor hears of node, npm and the compiler of the project at hand."""
    monkeypatch.chdir(tmp_path)
    node, npm, compiler = AssemblyScript().tools()
    assert (node.name, npm.name, compiler.name) == ("node", "npm", "asc")
    assert compiler.probe() is None
    package = tmp_path / "node_modules/assemblyscript/package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "0.28.20"}')
    found = compiler.probe()
    assert found
    assert (found.version, found.path) == ("0.28.20", str(package.parent))


def _scripts(project: Path, scripts: dict[str, Any]) -> None:
    manifest = json.loads((project / "package.json").read_text())
    manifest["scripts"] = scripts
    (project / "package.json").write_text(json.dumps(manifest))
