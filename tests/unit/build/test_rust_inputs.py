"""What a Rust module depends on, as far as it can be told without running cargo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.build.rust_projects import MANIFEST, T, configure, nothing_set, program, project, toolchain
from wasme.build.rust import cargo
from wasme.build.rust.toolchain import Rust

__all__ = ["nothing_set", "project"]


def test_inputs_are_the_folder_and_what_is_above(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's folder, cargo's and rustup's files above it, and the variables that make another module."""
    configure(project.parent, "")
    (project.parent / "rust-toolchain").write_text("stable\n")
    monkeypatch.setenv("RUSTFLAGS", "-Copt-level=3")
    monkeypatch.setenv("CARGO_PROFILE_RELEASE_LTO", "off")
    monkeypatch.setenv("CARGO_REGISTRY_TOKEN", "hush")
    found = Rust().inputs(project)
    assert found is not None
    assert found.roots == (project, project.parent / ".cargo/config.toml", project.parent / "rust-toolchain")
    assert found.tools[-2:] == ("CARGO_PROFILE_RELEASE_LTO=off", "RUSTFLAGS=-Copt-level=3")
    assert "hush" not in repr(found)


def test_another_rustc_is_another_input(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A rustc that was updated, or a library that was added to it, compiles again."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    monkeypatch.setenv("PATH", str(tmp_path / "tools/bin"))
    program(tmp_path / "tools/bin", "cargo")
    program(tmp_path / "tools/bin", "rustc")
    seen = [Rust().inputs(project)]
    program(tmp_path / "tools/bin", "rustc", "of a newer version")
    seen.append(Rust().inputs(project))
    toolchain(tmp_path / "tools", "1.96.0", T)
    seen.append(Rust().inputs(project))
    assert len({each.tools for each in seen if each}) == 3


def test_rustups_toolchains_are_inputs(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """rustup's cargo is always the same program: what it chooses from, and which is the default, counts."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("RUSTUP_HOME", str(tmp_path / "rustup"))
    for name in ("cargo", "rustc", "rustup"):
        program(tmp_path / "bin", name)
    seen = [Rust().inputs(project)]
    program(tmp_path / "rustup/toolchains/stable/bin", "rustc")
    seen.append(Rust().inputs(project))
    (tmp_path / "rustup/settings.toml").write_text('default_toolchain = "stable"\n')
    seen.append(Rust().inputs(project))
    assert len({each.tools for each in seen if each}) == 3


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("build.rs", "fn main() {}"),
        ("Cargo.toml", MANIFEST.replace("[lib]", 'build = "make.rs"\n[lib]')),
        ("Cargo.toml", MANIFEST + '[dependencies]\nshared = { path = "../shared" }\n'),
        ("Cargo.toml", MANIFEST + '[patch.crates-io]\nlog = { path = "/somewhere/log" }\n'),
        ("Cargo.toml", "not TOML"),
        ("../Cargo.toml", '[workspace]\nmembers = ["project"]\n'),
        ("src/lib.rs", 'const BY: &str = env!("BUILD_NUMBER");'),
        ("src/lib.rs", 'const BY: Option<&str> = option_env!("BUILD_NUMBER");'),
        ("src/lib.rs", 'const BY: &str = env![ "BUILD_NUMBER" ];'),
        ("src/lib.rs", 'const BY: &str = env!(concat!("BUILD", "_NUMBER"));'),
        ("src/lib.rs", 'const BY: &str = env!("CARGO_OF_MINE");'),
        ("src/lib.rs", 'const AT: &str = env!("CARGO_MANIFEST_DIR");'),
        ("src/target/mod.rs", ""),
        ("src/lib.rs", 'const WORD: &str = include_str!("../../word.txt");'),
        ("src/lib.rs", 'const WORD: &[u8] = include_bytes ! [\n"/etc/word"];'),
        ("src/lib.rs", 'const WORD: &str = include_str!("../target/word.txt");'),
        ("src/lib.rs", 'const WORD: &str = include_str!(r"../../word.txt");'),
        ("src/lib.rs", 'const WORD: &str = include_str!(concat!("../", "../word.txt"));'),
        ("src/lib.rs", 'include!("../../word.rs");'),
        ("src/lib.rs", 'include!("word.in");'),
        ("src/lib.rs", '#[path = "../../word.rs"]\nmod word;'),
        ("src/lib.rs", '#[cfg_attr(any(), doc(hidden), path="../../word.rs")]\nmod word;'),
        ("src/lib.rs", '#[path = r"../../word.rs"]\nmod word;'),
        ("src/lib.rs", '#[path = "word.in"]\nmod word;'),
        ("src/lib.rs", "use core::include_str as text;"),
        ("Cargo.toml", MANIFEST + 'path = "target/lib.rs"\n'),
    ],
)
def test_what_cannot_be_told_is_always_compiled(project: Path, path: str, text: str) -> None:
    """Build scripts, crates and settings elsewhere, the environment, a folder that is passed over: no shortcut."""
    assert Rust().inputs(project) is not None
    (project / path).parent.mkdir(exist_ok=True)
    (project / path).write_text(text)
    assert Rust().inputs(project) is None


def test_what_is_inside_is_told(project: Path) -> None:
    """Crates within the folder and cargo's own variables keep the shortcut."""
    (project / "Cargo.toml").write_text(MANIFEST + '[dependencies]\nshared = { path = "shared" }\n')
    (project / "src/lib.rs").write_text(
        'const VERSION: &str = env!("CARGO_PKG_VERSION");\nconst HELP: &str = include_str!("../README.md");\n'
        '#[path = "other.rs"]\nmod word;\ninclude!("more.rs");\nlet path = "../../word.rs";\nlet path = env::args();\n'
    )
    (project / "target").mkdir()
    assert Rust().inputs(project) is not None
