"""Set-up says in one line what the machine lacks, with the package's name."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def _install(folder: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run bin/install with nothing but a shell's own programs and ``python`` on PATH."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    return subprocess.run(
        ["/bin/sh", _ROOT / "bin" / "install", folder / "venv"],
        env={"PATH": str(tools), "PYTHON": python, "HOME": str(folder)}, capture_output=True, text=True, cwd=_ROOT,
    )  # fmt: skip


def _fake(folder: Path, script: str) -> str:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "apt-get install python3 python3-venv"),
        ('case "$2" in *version_info*) exit 1;; *) echo 3.9.2;; esac', "wasme needs 3.11 or newer"),
        ('case "$2" in *venv*) exit 1;; esac', "apt-get install python3-venv"),
    ],
    ids=["no python", "an old python", "no venv module"],
)
def test_what_is_missing_is_one_line(tmp_path: Path, script: str | None, said: str) -> None:
    """Exit 1, one line, the package to install."""
    done = _install(tmp_path, _fake(tmp_path, script) if script else "no-such-python")
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "venv").exists()


def test_requirements_carry_hashes_and_no_addresses() -> None:
    """Every pinned package has hashes, so pip checks what it downloads; no index is named."""
    for name in ("dev.txt", "node.txt"):
        text = (_ROOT / "requirements" / name).read_text()
        assert "://" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.endswith("\\") for line in pins)


def test_the_two_requirement_files_agree() -> None:
    """A package in both files has one version, so they install into one environment."""
    pins = []
    for name in ("dev.txt", "node.txt"):
        lines = (_ROOT / "requirements" / name).read_text().splitlines()
        pins.append(dict(line.split(" ")[0].split("==") for line in lines if "==" in line and line[0] not in " #"))
    assert {name: pins[0][name] for name in pins[0] if name in pins[1]} == {
        name: pins[1][name] for name in pins[0] if name in pins[1]
    }
