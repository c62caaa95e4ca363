"""Which Go builds, and what of the user's settings it gets."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.recorders import record
from wasme.build.tinygo import golang
from wasme.errors import ToolMissing

Goroot = Callable[..., Path]


@pytest.fixture
def goroot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Goroot:
    """Make a Go of some version, on PATH or as the wheel's; nothing else is on this machine."""
    others = [each for each in sys.path if not Path(each, "go", "VERSION").exists()]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages"), *others])
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    for name in ("GOFLAGS", "GOTOOLCHAIN", "GOENV", "GOROOT", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def make(version: str, place: str = "PATH") -> Path:
        root = tmp_path / "packages" / "go" if place == "wheel" else tmp_path / f"go-{version}"
        program = record(root / "bin" / "go", "env GOVERSION", f"go{version}").program
        (root / "VERSION").write_text(f"go{version}\ntime 2026-10-19T22:20:36Z\n")
        if place == "PATH":
            link = tmp_path / f"bin-{version}" / "go"
            link.parent.mkdir()
            link.symlink_to(program)
            monkeypatch.setenv("PATH", str(link.parent), prepend=":")
        return program

    return make


def test_none(goroot: Goroot) -> None:
    """Without any Go: one line that says what is missing and what for, and one that says how to get it."""
    with pytest.raises(ToolMissing) as caught:
        golang.find()
    assert caught.value.message == "Go is not on this machine: it compiles the filter"
    assert caught.value.hint == "pip install 'wasme[go]', or install Go 1.24 or newer from https://go.dev/dl"
    assert golang.find_quietly() is None


def test_too_old(goroot: Goroot) -> None:
    """A Go that makes no reactors is named with its version."""
    goroot("1.19.8")
    with pytest.raises(ToolMissing, match=r"^Go 1\.19\.8 is too old: only 1\.24 and newer make filters$"):
        golang.find()
    assert golang.find_quietly() is None


@pytest.mark.parametrize(
    ("path", "wheel", "origin"),
    [
        ("1.26.8", "1.27.3", "wheel"),
        ("1.27.3", "1.26.8", "PATH"),
        ("1.27.3", "1.27.3", "PATH"),
        ("1.19", "1.24.0", "wheel"),
        ("1.24.0", "1.19", "PATH"),
        ("1.100.0", "1.99.0", "PATH"),
    ],
)
def test_the_newest(goroot: Goroot, path: str, wheel: str, origin: str) -> None:
    """Of the Go on PATH and the wheel's the newer one builds, by number; of equals that on PATH."""
    goroot(path)
    goroot(wheel, "wheel")
    assert golang.find().origin == origin
    assert golang.find_quietly() == golang.find()


def test_the_wheels_launcher_is_the_wheel(goroot: Goroot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program `go` that the wheel puts beside this Python is passed over for the wheel itself, or what follows."""
    program = goroot("1.27.3", "wheel")
    launcher = record(tmp_path / "venv" / "bin" / "go", "env GOVERSION", "go1.27.3")
    monkeypatch.setattr(sys, "executable", str(launcher.program.with_name("python")))
    monkeypatch.setenv("PATH", str(launcher.program.parent))
    assert golang.find() == golang.Go(program, program.parent.parent, (1, 27, 3), "wheel")


def test_a_go_beside_this_python_that_is_no_wheels(
    goroot: Goroot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wheel, a Go beside this Python (conda puts it there) is as good as any."""
    program = record(tmp_path / "conda" / "bin" / "go", "env GOVERSION", "go1.26.1").program
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(program.parent))
    assert golang.find() == golang.Go(program, None, (1, 26, 1), "PATH")


def test_a_script_that_chooses(goroot: Goroot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PATH leads to a script that runs one of several, it is asked; without running it nothing is known."""
    shim = record(tmp_path / "shims" / "go", "env GOVERSION", "go1.26.1")
    monkeypatch.setenv("PATH", str(shim.program.parent))
    assert golang.find_quietly() is None
    assert shim.calls == []
    found = golang.find()
    assert (found.program, found.root, found.version) == (shim.program, None, (1, 26, 1))


def test_a_program_that_does_not_run(goroot: Goroot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `go` that is no Go is told as such."""
    program = tmp_path / "broken" / "go"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    with pytest.raises(ToolMissing, match=r"^Go at .*/broken/go tells no version: only 1\.24 and newer make filters$"):
        golang.find()


def test_nothing_runs(goroot: Goroot, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary Go is found without running it."""
    goroot("1.27.3")

    def fail(*_args: object, **_more: object) -> None:
        raise AssertionError

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert golang.find().version == (1, 27, 3)


@pytest.mark.parametrize(
    ("flags", "used"),
    [
        ("-mod=vendor -tags=a,b", "-mod=vendor -tags=a,b"),
        ("--modcacherw -p=2", "--modcacherw -p=2"),
        ("-race -n -x -v -ldflags=-X=a.b=c -toolexec=t -cover -work -tags=a", "-tags=a"),
        ('\'-tags=a b\' "-race" "-mod=mod"', "'-tags=a b' \"-mod=mod\""),
        ("-trimpath=false", "-trimpath"),
        ("", "-trimpath"),
    ],
)
def test_flags(goroot: Goroot, home: Path, monkeypatch: pytest.MonkeyPatch, flags: str, used: str) -> None:
    """Of GOFLAGS only what cannot make another module is used, whether the environment or the user's file has it."""
    goroot("1.27.3")
    monkeypatch.setenv("GOFLAGS", flags)
    assert golang.find().environment({})["GOFLAGS"] == used
    monkeypatch.delenv("GOFLAGS")
    settings = home / ".config" / "go" / "env"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"GOPROXY=off\nGOFLAGS={flags}\n")
    if sys.platform == "linux":
        assert golang.find().environment({})["GOFLAGS"] == used
    monkeypatch.setenv("GOENV", "off")
    assert golang.find().environment({})["GOFLAGS"] == "-trimpath"


def test_environment(goroot: Goroot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's environment stays, but for a GOROOT that is not this Go's; what the build sets wins."""
    goroot("1.27.3")
    monkeypatch.setenv("GOROOT", "/elsewhere")
    monkeypatch.setenv("GOOS", "plan9")
    monkeypatch.setenv("GOPROXY", "off")
    environment = golang.find().environment({"GOOS": "wasip1"})
    assert "GOROOT" not in environment
    assert (environment["GOOS"], environment["GOPROXY"]) == ("wasip1", "off")
