"""How a Go filter is compiled: by which compiler, with which words, and what its module depends on.

TinyGo is on no registry, so what it is told is told to a program that writes it down.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fixtures.recorders import Recorder, record
from wasme.build.tinygo import disk
from wasme.build.tinygo.toolchain import SDK, TinyGo
from wasme.build.toolchain import Inputs, Listener
from wasme.errors import BuildFailed, InputError, ToolMissing

OLD_SDK = "github.com/tetratelabs/proxy-wasm-go-sdk"


class Machine:
    """A machine with the compilers that a test puts on it, and a project."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.scratch, self._folder = folder / "project", folder / "scratch", folder
        self.project.mkdir()
        self.scratch.mkdir()
        self._patch = monkeypatch
        others = [each for each in sys.path if not Path(each, "go", "VERSION").exists()]
        monkeypatch.setattr(sys, "path", [str(folder / "packages"), *others])
        monkeypatch.setenv("PATH", str(folder / "nothing"))
        for name in ("GOFLAGS", "GOTOOLCHAIN", "GOENV", "GOWORK", "GOOS", "GOEXPERIMENT", "XDG_CONFIG_HOME"):
            monkeypatch.delenv(name, raising=False)
        self.requires(SDK)

    def requires(self, module: str, go: str = "1.24", more: str = "") -> None:
        (self.project / "go.mod").write_text(f"module filter\n\ngo {go}\n\nrequire {module} v0.0.1\n{more}")

    def go(self, version: str = "1.27.3", settings: str = "GOTOOLCHAIN=auto\n") -> Recorder:
        root = self._folder / "goroot"
        made = record(root / "bin" / "go", "env GOVERSION", f"go{version}")
        (root / "VERSION").write_text(f"go{version}\n")
        (root / "go.env").write_text(settings)
        self._patch.setenv("PATH", str(root / "bin"), prepend=":")
        return made

    def tinygo(self, version: str) -> Recorder:
        said = f"tinygo version {version} linux/amd64 (using go version go1.25.0 and LLVM version 19.1.2)"
        made = record(self._folder / "tiny" / "tinygo", "version", said)
        self._patch.setenv("PATH", str(made.program.parent), prepend=":")
        return made

    def compile(self, **listener: Any) -> Path:
        return TinyGo().compile(self.project, self.scratch, Listener(**listener))

    def inputs(self) -> Inputs:
        found = TinyGo().inputs(self.project)
        assert found is not None
        return found


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_go(machine: Machine) -> None:
    """Without tinygo, Go makes a reactor for WASI, without paths, times, version control, C or a workspace."""
    go = machine.go()
    module = machine.compile()
    (call,) = go.calls
    flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-buildmode=c-shared"]
    assert call["argv"] == ["build", *flags, "-o", str(module), "."]
    assert call["cwd"] == str(machine.project)
    wanted = {"GOOS": "wasip1", "GOARCH": "wasm", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    assert call["env"].items() >= wanted.items()


@pytest.mark.parametrize(
    ("sdk", "version", "mode"),
    [
        (SDK, "0.39.0", ["-target=wasip1", "-buildmode=c-shared"]),
        (SDK, "0.41.0-dev-abc", ["-target=wasip1", "-buildmode=c-shared"]),
        (OLD_SDK, "0.39.0", ["-target=wasip1", "-buildmode=wasi-legacy"]),
        (OLD_SDK, "0.36.0", ["-target=wasip1", "-buildmode=wasi-legacy"]),
        (OLD_SDK, "0.30.0", ["-target=wasi"]),
        ("github.com/mathetake/proxy-wasm-go", "0.17.0", ["-target=wasi"]),
    ],
)
def test_tinygo(machine: Machine, sdk: str, version: str, mode: list[str]) -> None:
    """tinygo comes first; how it is called depends on its age, and on whether the SDK is of the time of //export."""
    tinygo, go = machine.tinygo(version), machine.go()
    machine.requires(sdk)
    module = machine.compile()
    (call,) = tinygo.calls
    assert call["argv"] == ["build", "-o", str(module), *mode, "-scheduler=none", "-no-debug", "."]
    assert call["cwd"] == str(machine.project)
    assert go.calls == []


def test_a_tinygo_that_is_too_old(machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
    """A tinygo from before the SDK leaves the work to Go, and one line says so."""
    tinygo, go = machine.tinygo("0.30.0"), machine.go()
    with caplog.at_level("INFO"):
        machine.compile()
    assert tinygo.calls == []
    assert len(go.calls) == 1
    assert caplog.messages == ["tinygo is too old for this project's SDK, Go compiles it"]


def test_tinygo_gets_a_go(machine: Machine, tmp_path: Path) -> None:
    """tinygo runs Go itself: where PATH has none, it finds the wheel's."""
    tinygo = machine.tinygo("0.39.0")
    wheel = record(tmp_path / "packages" / "go" / "bin" / "go", "env GOVERSION", "go1.27.3").program
    (tmp_path / "packages" / "go" / "VERSION").write_text("go1.27.3\n")
    machine.compile()
    assert tinygo.calls[0]["env"]["PATH"].split(":")[0] == str(wheel.parent)


def test_an_old_sdk_without_tinygo(machine: Machine) -> None:
    """A project whose SDK only TinyGo compiles: one line that says so, one that says what to do; Go is not tried."""
    go = machine.go()
    machine.requires(OLD_SDK)
    with pytest.raises(ToolMissing) as caught:
        machine.compile()
    assert caught.value.message == (
        f"{machine.project}/go.mod requires {OLD_SDK}, which only TinyGo compiles, and tinygo is not on PATH"
    )
    assert SDK in str(caught.value.hint)
    assert "https://tinygo.org" in str(caught.value.hint)
    assert "\n" not in caught.value.message + str(caught.value.hint)
    assert go.calls == []


def test_a_go_mod_that_asks_for_more(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newer Go than any here is fetched by Go where its settings allow that; else one line says what is missing."""
    machine.requires(SDK, go="1.99")
    go = machine.go(settings="GOTOOLCHAIN=local\n")
    with pytest.raises(BuildFailed, match=r"go\.mod asks for Go 1\.99, and Go 1\.27\.3 is the newest on this machine$"):
        machine.compile()
    assert go.calls == []
    monkeypatch.setenv("GOTOOLCHAIN", "auto")
    machine.compile()
    machine.go(settings="GOTOOLCHAIN=auto\n")
    monkeypatch.delenv("GOTOOLCHAIN")
    machine.compile()
    assert [call["env"]["GOTOOLCHAIN"] for call in go.calls] == ["auto", "auto"]


def test_the_users_own_choice_of_go(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOTOOLCHAIN and GOWORK of the environment are the user's to set."""
    go = machine.go()
    monkeypatch.setenv("GOTOOLCHAIN", "go1.26.1")
    monkeypatch.setenv("GOWORK", "/somewhere/go.work")
    machine.compile()
    assert (go.calls[0]["env"]["GOTOOLCHAIN"], go.calls[0]["env"]["GOWORK"]) == ("go1.26.1", "/somewhere/go.work")
    assert TinyGo().inputs(machine.project) is None


def test_an_earlier_module_does_not_pass(machine: Machine) -> None:
    """A compiler that ends well and makes nothing is told, whatever lies in the scratch folder."""
    go = machine.go()
    go.program.write_text("#!/bin/sh\n")
    (machine.scratch / "filter.wasm").write_text("old")
    with pytest.raises(BuildFailed, match="made no module"):
        machine.compile()


def test_what_go_says_of_downloads_is_no_warning(machine: Machine) -> None:
    """That modules are fetched is noise; all else that a compiler says and succeeds is a warning."""
    go = machine.go()
    text = go.program.read_text()
    go.program.write_text(text.replace("exec", "echo go: downloading a v1; echo careful >&2; exec", 1))
    warnings: list[str] = []
    noise: list[str] = []
    machine.compile(warning=warnings.append, noise=noise.append)
    assert warnings == ["careful"]
    assert noise == ["go: downloading a v1", "careful"]


def test_no_project(machine: Machine) -> None:
    """A folder without go.mod is no project, whatever compilers are here."""
    (machine.project / "go.mod").unlink()
    with pytest.raises(InputError, match=r"has no go\.mod"):
        machine.compile()
    assert TinyGo().inputs(machine.project) is None


def test_inputs(machine: Machine, home: Path) -> None:
    """A module depends on the folder, on folders that go.mod names, on the user's file of settings, and on Go."""
    machine.go()
    machine.requires(SDK, more="replace example.com/shared => ../shared\n")
    found = machine.inputs()
    assert found.roots[:2] == (machine.project, machine.project.parent / "shared")
    assert (home / ".config/go/env" in found.roots) == (sys.platform == "linux")
    assert found.skip == {".git"}, "any other folder can hold a package"
    assert found == machine.inputs()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOFLAGS", "-tags=a"),
        ("GOEXPERIMENT", "jsonv2"),
        ("GOTOOLCHAIN", "auto"),
        ("GOWASM", "x"),
        ("GOFIPS140", "off"),
    ],
)
def test_settings_are_inputs(machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A setting that can change the module changes what it depends on."""
    machine.go()
    before = machine.inputs()
    monkeypatch.setenv(name, value)
    assert machine.inputs() != before


def test_compilers_are_inputs(machine: Machine) -> None:
    """Another Go, or a tinygo that appears, is another dependency."""
    machine.go()
    first = machine.inputs()
    (machine.project.parent / "goroot" / "bin" / "go").write_text("#!/bin/sh\n# another\n")
    second = machine.inputs()
    machine.tinygo("0.39.0")
    assert len({first.tools, second.tools, machine.inputs().tools}) == 3


@pytest.mark.parametrize("flags", ["-modfile=/elsewhere/go.mod", "-mod=mod -modfile=other.mod"])
def test_what_cannot_be_told(machine: Machine, monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    """With another go.mod than the project's, and without any compiler, nothing is told."""
    assert TinyGo().inputs(machine.project) is None
    machine.go()
    monkeypatch.setenv("GOFLAGS", flags)
    assert TinyGo().inputs(machine.project) is None


def test_inputs_run_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a module depends on is told without running a program."""
    machine.go()
    machine.tinygo("0.39.0")

    def fail(*_args: object, **_more: object) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert machine.inputs()


def test_inputs_import_nothing_slow() -> None:
    """The module that an unchanged build imports brings no subprocess, shutil or logging handlers with it."""
    slow = "{'subprocess', 'shutil', 'asyncio'}"
    asked = f"import sys; import wasme.build.tinygo.toolchain; print(*sorted({slow} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == ""


def test_doctor_finds_none(machine: Machine) -> None:
    """Where neither is here, doctor says how to get both."""
    tinygo, go = TinyGo().tools()
    assert (tinygo.name, go.name) == ("tinygo", "go")
    assert tinygo.choice == go.choice != ""
    assert tinygo.probe() is None
    assert go.probe() is None
    assert "wasme[go]" in go.how


def test_doctor_finds_both(machine: Machine) -> None:
    """doctor tells versions, and which is of no use for the SDK."""
    machine.go("1.26.8")
    machine.tinygo("0.30.0")
    tinygo, go = (tool.probe() for tool in TinyGo().tools())
    assert tinygo is not None
    assert go is not None
    assert (tinygo.version, tinygo.usable, "0.39 is needed" in tinygo.note) == ("0.30", False, True)
    assert (go.version, go.usable, go.note) == ("1.26.8", True, "")


def test_doctor_finds_an_old_go(machine: Machine) -> None:
    """A Go that makes no reactors is there, and of no use."""
    machine.go("1.19.8")
    found = TinyGo().tools()[1].probe()
    assert found is not None
    assert (found.version, found.usable, found.note) == ("1.19.8", False, "too old, 1.24 is needed")


# --- where Go writes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["go", "tinygo"])
def test_what_is_made_on_the_way_goes(machine: Machine, compiler: str) -> None:
    """The compiler works in a folder of this build's, which is gone afterwards, though the compiler did not tidy up."""
    made = machine.go() if compiler == "go" else machine.tinygo("0.39.0")
    made.program.write_text(made.program.read_text().replace("exec ", "mkdir $GOTMPDIR/go-build1 $TMPDIR/tiny\nexec "))
    module = machine.compile()
    (call,) = made.calls
    assert Path(call["env"]["GOTMPDIR"]).parent == machine.scratch
    assert [*machine.scratch.iterdir()] == [module]


def test_an_interrupted_build_leaves_nothing(machine: Machine) -> None:
    """Whatever ends a build, nothing of Go's is left; not in the folder that is kept either."""
    go = machine.go()
    go.program.write_text("#!/bin/sh\nmkdir $GOTMPDIR/go-build1\necho begun\nsleep 30\n")

    def stop(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        machine.compile(noise=stop)
    assert [*machine.scratch.iterdir()] == []


def test_the_users_folder_for_go(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GOTMPDIR says where, as for Go itself; one that is not there is no reason to fail."""
    go = machine.go()
    (tmp_path / "large").mkdir()
    monkeypatch.setenv("GOTMPDIR", str(tmp_path / "large"))
    machine.compile()
    monkeypatch.setenv("GOTMPDIR", str(tmp_path / "nothing"))
    machine.compile()
    used = [Path(call["env"]["GOTMPDIR"]).parent for call in go.calls]
    assert used == [tmp_path / "large", machine.scratch]
    assert [*(tmp_path / "large").iterdir()] == []


def test_a_full_disk_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Go has no room, in its own words or by what is free, the hint says so, and where room is wanted."""
    go = machine.go()
    monkeypatch.setenv("GOCACHE", str(machine.scratch / "cache"))
    go.program.write_text("#!/bin/sh\necho 'write x.a: no space left on device'\nexit 1\n")
    with pytest.raises(BuildFailed, match="no space left") as caught:
        machine.compile()
    assert str(caught.value.hint).startswith(f"the disk is full: make room for {machine.scratch}/cache (GOCACHE ")
    go.program.write_text("#!/bin/sh\necho 'could not import fmt (open : no such file or directory)'\nexit 1\n")
    with pytest.raises(BuildFailed) as caught:
        machine.compile()
    assert caught.value.hint is None
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    with pytest.raises(BuildFailed) as caught:
        machine.compile()
    assert "the disk is full" in str(caught.value.hint)
