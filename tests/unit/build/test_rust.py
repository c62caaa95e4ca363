"""What the Rust toolchain decides before cargo runs, and what it makes of cargo's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.build.rust_projects import T, configure, nothing_set, program, project, toolchain
from wasme.build.rust import cargo, cargo_config, crate, std
from wasme.build.rust import toolchain as rust
from wasme.build.rust.cargo import Cargo
from wasme.build.rust.toolchain import Rust
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError, ToolMissing

__all__ = ["nothing_set", "project"]

# --- who compiles ---------------------------------------------------------------------------------------------------


def test_an_installed_library_goes_before_sources(tmp_path: Path) -> None:
    """The first rustc on PATH is taken if it has a library, its sources only if no other has one compiled."""
    sources = toolchain(tmp_path / "a", "1.96.0", sources=True)
    installed = toolchain(tmp_path / "b", "1.85.0", T)
    assert cargo.choose([sources, installed]) == cargo.Choice(installed, T, from_sources=False)
    assert cargo.choose([sources]) == cargo.Choice(sources, T, from_sources=True)


def test_unknown_goes_before_wasip1(tmp_path: Path) -> None:
    """Of two targets the one that asks less of its host is taken, and wasip1 where it alone is there."""
    both = toolchain(tmp_path / "a", "1.90.0", "wasm32-wasip1", T)
    only = toolchain(tmp_path / "b", "1.90.0", "wasm32-wasip1")
    assert cargo.choose([both]).target == T
    assert cargo.choose([only]).target == "wasm32-wasip1"


def test_the_projects_target_counts(tmp_path: Path) -> None:
    """A target that the project names is the only one, also by the name that it had before Rust 1.78."""
    both = toolchain(tmp_path / "a", "1.90.0", "wasm32-wasip1", T)
    assert cargo.choose([both], "wasm32-wasip1").target == "wasm32-wasip1"
    assert cargo.choose([both], "wasm32-wasi").target == "wasm32-wasip1"
    only = toolchain(tmp_path / "b", "1.96.0", T, sources=True)
    with pytest.raises(ToolMissing, match=r"no standard library for wasm32-wasip1"):
        cargo.choose([only], "wasm32-wasip1")


def test_an_old_rust_is_passed_over(tmp_path: Path) -> None:
    """A rustc older than the crates need is no choice; where there is no other, the crate is named."""
    old = toolchain(tmp_path / "a", "1.63.0", T)
    new = toolchain(tmp_path / "b", "1.96.0", sources=True)
    assert cargo.choose([old, new], oldest=(1, 63)).cargo is old
    assert cargo.choose([old, new], oldest=(1, 68)).cargo is new
    with pytest.raises(ToolMissing) as caught:
        cargo.choose([old], oldest=(1, 68), needs="proxy-wasm 0.2.5 needs Rust 1.68")
    assert caught.value.message == "proxy-wasm 0.2.5 needs Rust 1.68, and Rust 1.63.0 is the newest on this machine"


def test_no_library_at_all(tmp_path: Path) -> None:
    """What is missing, of which rustc, and how to get it: one line each."""
    bare = toolchain(tmp_path / "a", "1.95.0")
    with pytest.raises(ToolMissing) as caught:
        cargo.choose([bare])
    assert caught.value.message == f"Rust 1.95.0 ({bare.rustc}) has no standard library for {T}"
    assert f"rustup target add {T}" in (caught.value.hint or "")
    assert "\n" not in caught.value.message + (caught.value.hint or "")


def test_no_cargo(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without cargo anywhere: one line that says so, and how to get it."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(ToolMissing) as caught:
        Rust().compile(project, tmp_path, Listener())
    assert caught.value.message == "cargo is not on this machine: it compiles Rust"
    assert "https://rustup.rs" in (caught.value.hint or "")
    assert Rust().inputs(project) is not None


def test_cargo_that_is_not_on_path(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Cargo's own folder is looked into too: a shell that has not been opened anew does not have it on PATH."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    program(tmp_path / "cargo-home/bin", "cargo")
    program(tmp_path / "cargo-home/bin", "rustc")
    assert [rustc for _, rustc in cargo.pairs(project)] == [tmp_path / "cargo-home/bin/rustc"]


def test_a_pinned_toolchain_is_rustups(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """rust-toolchain.toml is a word to rustup, so no cargo but rustup's is taken where it stands."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    for folder, names in (("debian", ("cargo", "rustc")), ("rustup", ("cargo", "rustc", "rustup"))):
        for name in names:
            program(tmp_path / folder, name)
    monkeypatch.setenv("PATH", f"{tmp_path}/debian:{tmp_path}/rustup")
    assert [rustc.parent.name for _, rustc in cargo.pairs(project)] == ["debian", "rustup"]
    (project.parent / "rust-toolchain.toml").write_text('[toolchain]\nchannel = "1.90"\n')
    assert [rustc.parent.name for _, rustc in cargo.pairs(project)] == ["rustup"]


def test_a_rustc_that_does_not_run(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own words are told, such as rustup's that a toolchain is not installed."""
    monkeypatch.setattr(cargo, "_ALSO_HERE", ())
    program(tmp_path / "bin", "cargo")
    (tmp_path / "bin/rustc").write_text("#!/bin/sh\necho \"error: toolchain '1.70' is not installed\" >&2\nexit 1\n")
    (tmp_path / "bin/rustc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ToolMissing, match=r"rustc does not run: error: toolchain '1\.70' is not installed"):
        cargo.find(project)


def test_the_newest_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """wasm-ld by that name is the machine's choice; of numbered ones the newest is taken; none is one line."""
    monkeypatch.setenv("PATH", f"{tmp_path}/a:{tmp_path}/b")
    with pytest.raises(ToolMissing, match="wasm-ld is not on this machine"):
        cargo.linker()
    program(tmp_path / "a", "wasm-ld-9")
    program(tmp_path / "b", "wasm-ld-22")
    assert cargo.linker() == str(tmp_path / "b/wasm-ld-22")
    program(tmp_path / "b", "wasm-ld")
    assert cargo.linker() == str(tmp_path / "b/wasm-ld")


# --- what cargo is told ---------------------------------------------------------------------------------------------


def test_the_nearest_target_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target stands in the nearest .cargo/config.toml (or config, as it was called), else in those above."""
    assert cargo_config.load(project).target() == ""
    configure(project.parent, '[build]\ntarget = "wasm32-wasip1"\n')
    assert cargo_config.load(project).target() == "wasm32-wasip1"
    configure(project, f'[build]\ntarget = ["x86_64-unknown-linux-gnu", "{T}"]\n', "config")
    assert cargo_config.load(project).target() == T
    monkeypatch.setenv("CARGO_BUILD_TARGET", "wasm32-wasip1")
    assert cargo_config.load(project).target() == "wasm32-wasip1"


def test_flags_stand_beside_the_users(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cargo takes flags from one place only: ours go where the user's are, so that none is lost."""
    ours = ["--remap-path-prefix=/a b=c"]
    plain = f'target.{T}.rustflags=["--remap-path-prefix=/a b=c"]'
    assert cargo_config.load(project).with_flags(T, ours) == (["--config", plain], {})
    configure(project, '[build]\nrustflags = ["--cfg", "mine"]\n')
    (arguments, changes) = cargo_config.load(project).with_flags(T, ours)
    assert (arguments[1], changes) == (plain.replace("[", '["--cfg", "mine", ', 1), {})
    # Where the target has flags of its own, cargo joins ours to them, and never looks at those of all builds.
    configure(project, f'[build]\nrustflags = ["-x"]\n[target.{T}]\nrustflags = ["-y"]\n')
    assert cargo_config.load(project).with_flags(T, ours) == (["--config", plain], {})
    monkeypatch.setenv("RUSTFLAGS", "--cfg theirs")
    together = {"CARGO_ENCODED_RUSTFLAGS": "\x1f".join(["--cfg", "theirs", *ours]), "RUSTFLAGS": None}
    assert cargo_config.load(project).with_flags(T, ours) == ([], together)


# --- what cargo answers ---------------------------------------------------------------------------------------------


def package(folder: Path, name: str, *kinds: str, version: str = "0.1.0", rust: str | None = None) -> dict[str, Any]:
    source = str(folder / "src/lib.rs")
    targets = [{"name": name, "kind": list(kinds), "crate_types": list(kinds), "src_path": source}]
    manifest = str(folder / "Cargo.toml")
    return {
        "id": f"{name} {version}",
        "name": name,
        "version": version,
        "manifest_path": manifest,
        "rust_version": rust,
        "targets": targets,
    }


def metadata(folder: Path, members: list[dict[str, Any]], *others: dict[str, Any]) -> dict[str, Any]:
    return {
        "packages": [*members, *others],
        "workspace_members": [each["id"] for each in members],
        "workspace_root": str(folder),
        "target_directory": str(folder / "target"),
    }


def test_a_crate(tmp_path: Path) -> None:
    """The module's file, and of all crates where they lie and which needs the newest Rust."""
    made = crate.parse(
        metadata(
            tmp_path,
            [package(tmp_path, "my-filter", "cdylib", rust="1.60")],
            package(Path("/home/me/crates/hashbrown-0.16.1"), "hashbrown", "lib", version="0.16.1", rust="1.65.0"),
            package(Path("/home/me/crates/proxy-wasm-0.2.5"), "proxy-wasm", "lib", version="0.2.5", rust="1.68"),
        ),
        tmp_path,
    )
    assert made.module(T) == tmp_path / "target" / T / "release" / "my_filter.wasm"
    assert (made.needs, made.needed_by) == ((1, 68), "proxy-wasm 0.2.5 needs Rust 1.68")
    assert sorted(made.others) == ["hashbrown-0.16.1", "proxy-wasm-0.2.5"]


def test_no_module(tmp_path: Path) -> None:
    """A library for other crates makes no module: one line, and the line to add."""
    with pytest.raises(InputError) as caught:
        crate.parse(metadata(tmp_path, [package(tmp_path, "filter", "lib")]), tmp_path)
    assert caught.value.message == f"{tmp_path}/Cargo.toml makes no WebAssembly module: no [lib] in it is a cdylib"
    assert caught.value.hint == 'add to [lib]: crate-type = ["cdylib"]'


def test_a_workspace(tmp_path: Path) -> None:
    """Of a workspace's crates the one in the folder is built, or the only one that makes a module; else it is asked."""
    auth, limit = package(tmp_path / "auth", "auth", "cdylib"), package(tmp_path / "limit", "limit", "cdylib")
    shared = package(tmp_path / "shared", "shared", "lib")
    assert crate.parse(metadata(tmp_path, [shared, auth]), tmp_path).name == "auth"
    assert crate.parse(metadata(tmp_path, [shared, auth, limit]), tmp_path / "limit").name == "limit"
    with pytest.raises(InputError) as caught:
        crate.parse(metadata(tmp_path, [shared, auth, limit]), tmp_path)
    assert caught.value.message.endswith("is a workspace of several crates that make modules: auth, limit")
    assert caught.value.hint == "build one of them: --build-dir=auth"


def test_what_cargo_does_is_no_warning() -> None:
    """Lines of progress are left out of what is told; the compiler's own stay whole."""
    said = (
        "    Updating crates.io index\n   Compiling filter v0.1.0 (/p)\nwarning: unused variable: `x`\n"
        "  --> src/lib.rs:3:9\n   |\n 3 |     let x = 1;\n   = note: on by default\n\n"
        "warning: `filter` (lib) generated 1 warning\n    Finished `release` profile [optimized] target(s) in 0.1s\n"
    )
    left = crate.without_status(said).splitlines()
    assert left[0] == "warning: unused variable: `x`"
    assert left[1:] == said.splitlines()[3:-1]


# --- what is not compiled at all ------------------------------------------------------------------------------------


def test_a_bazel_project(tmp_path: Path) -> None:
    """The original's projects have no Cargo.toml; the line says what builds them."""
    for name in ("WORKSPACE", "BUILD", "filter.rs"):
        (tmp_path / name).touch()
    with pytest.raises(InputError) as caught:
        Rust().compile(tmp_path, tmp_path, Listener())
    assert "Bazel project" in caught.value.message
    assert "--builder docker" in (caught.value.hint or "")


def test_no_project(tmp_path: Path) -> None:
    """A folder without a Cargo.toml is no Rust project."""
    with pytest.raises(InputError, match=r"has no Cargo\.toml, so it is no Rust project"):
        Rust().compile(tmp_path, tmp_path, Listener())


# --- of several cargos ----------------------------------------------------------------------------------------------


def test_one_cargo_does_it_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cargo that compiles reads the manifests too, and is who an error names; a newer one only helps where that
    one fails, and -v tells."""
    old, new = toolchain(tmp_path / "old", "1.70.0", T), toolchain(tmp_path / "new", "1.96.0", T)
    asked: list[str] = []
    able = ["1.70.0", "1.96.0"]

    def read(one: Cargo, *_: object) -> str:
        asked.append(one.release)
        if one.release not in able:
            raise BuildFailed(f"cargo metadata --format-version=1 exited with status 101:\nwords of {one.release}")
        return "the crate"

    monkeypatch.setattr(crate, "read", read)

    def reading() -> object:
        asked.clear()
        caplog.clear()
        with caplog.at_level("DEBUG", rust.__name__):
            return rust._read([old, new], cargo.Choice(old, T, False), tmp_path, Listener())

    assert reading() == "the crate"
    assert asked == ["1.70.0"]
    able.remove("1.70.0")
    assert reading() == "the crate"
    assert [each.__dict__["fields"]["cargo"] for each in caplog.records] == [str(old.program), str(new.program)]
    able.clear()
    with pytest.raises(BuildFailed) as caught:
        reading()
    assert caught.value.message == f"{old.program} (Rust 1.70.0) cannot read the project:\nwords of 1.70.0"


def test_doctor_tells_of_both(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The one that compiles, and the newer one that would where a crate needs it."""
    old, new = toolchain(tmp_path / "old", "1.70.0", T), toolchain(tmp_path / "new", "1.96.0", T)
    monkeypatch.setattr(cargo, "find", lambda _source: [old, new])
    found = cargo.probe()
    assert found is not None
    assert (found.path, found.version) == (str(old.program), "1.70.0")
    assert found.note == f"with {T}; {new.program} 1.96.0 where a crate needs it"


# --- the linker of this machine -------------------------------------------------------------------------------------


def test_doctor_wants_cc_for_a_library_from_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Compiling the library takes a linker for this machine: without one, cargo is of no use, and that is said."""
    one = toolchain(tmp_path / "r", "1.96.0", sources=True)
    program(tmp_path / "bin", "wasm-ld")
    monkeypatch.setattr(cargo, "find", lambda _source: [one])
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = cargo.probe()
    assert found is not None
    assert (found.usable, found.note) == (False, "cc is missing, which links the build scripts of its library")
    assert "gcc" in found.remedy
    program(tmp_path / "bin", "cc")
    assert getattr(cargo.probe(), "usable", False)


def test_a_library_that_cannot_be_linked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its error has the hint that a project's own has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one = toolchain(tmp_path / "r", "1.96.0", sources=True)
    (one.library / "vendor").mkdir()
    program(tmp_path / "r/bin", "rustc")
    program(tmp_path / "r/bin", "cargo").write_text("#!/bin/sh\necho 'error: linker `cc` not found'\nexit 101\n")
    with pytest.raises(BuildFailed, match="linker `cc` not found") as caught:
        std.sysroot(one, Listener())
    assert str(caught.value.hint).startswith("build scripts of crates want a C compiler for this machine: ")
