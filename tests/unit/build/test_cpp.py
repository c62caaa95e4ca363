"""What the C++ toolchain decides before any compiler runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wasme.build.cpp import compilers
from wasme.build.cpp import toolchain as cpp
from wasme.build.cpp.compilers import Compiler
from wasme.build.cpp.toolchain import Cpp
from wasme.build.toolchain import Listener
from wasme.errors import BuildFailed, InputError, ToolMissing


def _files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return folder


def _program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return str(path)


def test_sources(tmp_path: Path) -> None:
    """The folder's and src's C++ files are compiled, in one order; tests, hidden files and other folders are not."""
    names = ("z.cc", "a.cpp", "src/b.cxx", "src/a_test.cc", ".hidden.cc", "proxy/x.cc", "src/deep/c.cc", "d.h", "e.c")
    assert cpp.sources(_files(tmp_path, *names)) == ["a.cpp", "src/b.cxx", "z.cc"]


def test_no_sources(tmp_path: Path) -> None:
    """A folder without C++ is named, with how to begin."""
    with pytest.raises(InputError, match="has no C\\+\\+ source") as caught:
        cpp.sources(_files(tmp_path, "README.md"))
    assert "wasme init" in str(caught.value.hint)


def test_flags_are_lines(tmp_path: Path) -> None:
    """compile_flags.txt is read as clangd does: one flag a line, with its spaces, empty lines left out."""
    (tmp_path / "compile_flags.txt").write_text("-Wall\n\n  -DNAME=two words \n")
    assert cpp.flags(tmp_path) == ["-Wall", "-DNAME=two words"]


def test_unreadable_flags(tmp_path: Path) -> None:
    """Flags that are no text are an error of one line."""
    (tmp_path / "compile_flags.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"compile_flags\.txt: it is not UTF-8"):
        cpp.flags(tmp_path)


@pytest.mark.parametrize(
    ("files", "words", "hint"),
    [
        (("filter.cc", "WORKSPACE", "BUILD"), "is a Bazel project", "--builder docker"),
        (("filter.cc", "MODULE.bazel"), "is a Bazel project", "--builder docker"),
        (("filter.cc",), "has no proxy/proxy.h", "--sdk"),
    ],
)
def test_no_sdk(files: tuple[str, ...], words: str, hint: str, tmp_path: Path) -> None:
    """A project without an SDK is refused in one line that says what to do; a Bazel project is sent to a container."""
    with pytest.raises(InputError, match=words) as caught:
        Cpp().compile(_files(tmp_path, *files), tmp_path, Listener())
    assert hint in str(caught.value.hint)
    assert "\n" not in caught.value.message


def test_sdk_must_be_one(tmp_path: Path) -> None:
    """A folder that is no checkout of the upstream SDK is named."""
    with pytest.raises(InputError, match="is no checkout of proxy-wasm-cpp-sdk"):
        Cpp(sdk=tmp_path / "nowhere").compile(_files(tmp_path, "filter.cc"), tmp_path, Listener())


def test_sdk_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$PROXY_WASM_CPP_SDK counts for a project that has no SDK of its own, and for no other."""
    sdk = _files(tmp_path / "sdk", "proxy_wasm_intrinsics.cc")
    monkeypatch.setenv("PROXY_WASM_CPP_SDK", str(sdk))
    compiler = Compiler("zig", (_program(tmp_path, "zig"), "c++"), ("zig", "wasm-ld"), "PATH")
    toolchain = Cpp(compiler=compiler)
    plain, own = _files(tmp_path / "plain", "filter.cc"), _files(tmp_path / "own", "filter.cc", "proxy/proxy.h")
    assert toolchain.inputs(plain).roots == (plain, sdk)  # type: ignore[union-attr]
    assert toolchain.inputs(own).roots == (own,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flag", "known"),
    [
        ("-Ithird_party", True),
        ("-DPATH=/x", False),
        ("-I/usr/include", False),
        ("-I../shared", False),
        ("-include/x.h", False),
        ("-isystem/x", False),
        ("-Wall", True),
        ("/x/other.cc", False),
    ],
)
def test_inputs_outside_the_project(flag: str, known: bool, tmp_path: Path) -> None:
    """A project whose flags may lead out of its folder is compiled each time."""
    folder = _files(tmp_path / "p", "filter.cc", "proxy/proxy.h")
    (folder / "compile_flags.txt").write_text(flag)
    compiler = Compiler("clang", (_program(tmp_path, "clang++"),), (_program(tmp_path, "wasm-ld"),), "PATH")
    assert (Cpp(compiler=compiler).inputs(folder) is not None) is known


def test_inputs_name_the_compiler(tmp_path: Path) -> None:
    """A compiler that is replaced is another one."""
    folder = _files(tmp_path / "p", "filter.cc", "proxy/proxy.h")
    program = _program(tmp_path, "clang++")
    toolchain = Cpp(compiler=Compiler("clang", (program,), (program,), "PATH"))
    before = toolchain.inputs(folder)
    os.utime(program, ns=(1, 1))
    assert before is not None
    assert toolchain.inputs(folder) != before


def test_upstream_projects(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Zig's first build for the upstream SDK takes a minute, so a line says so, once; the stack is 1 MiB, unless the
    project's own flags say otherwise."""
    folder, sdk = _files(tmp_path / "p", "filter.cc"), _files(tmp_path / "sdk", "proxy_wasm_intrinsics.cc")
    (folder / "compile_flags.txt").write_text("-Wl,-z,stack-size=65536\n")
    zig = Path(_program(tmp_path, "zig"))
    words = tmp_path / "words"
    zig.write_text(f'#!/bin/sh\necho "$@" >{words}\nfor last; do :; done\n[ ! -e {tmp_path}/wrong ] && echo >"$last"\n')
    toolchain = Cpp(sdk=sdk, compiler=Compiler("zig", (str(zig), "c++"), (str(zig), "wasm-ld"), "PATH"))
    told = "compiling zig's C++ standard library for WebAssembly, once"

    def build() -> bool:
        caplog.clear()
        with caplog.at_level("INFO"):
            toolchain.compile(folder, tmp_path, Listener())
        return told in caplog.messages

    (tmp_path / "wrong").touch()
    with pytest.raises(BuildFailed):
        build()
    (tmp_path / "wrong").unlink()
    assert [build(), build()] == [True, False]
    sizes = [word for word in words.read_text().split() if "stack-size" in word]
    assert sizes == ["-Wl,-z,stack-size=1048576", "-Wl,-z,stack-size=65536"]


def test_order_of_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's zig comes first, then zig on PATH, clang with its linker, newest first, Emscripten."""
    wheel = compilers.zig()
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", str(folder))
    if wheel is not None and wheel.origin != "PATH":
        assert compilers.find() == wheel
    monkeypatch.setattr(compilers, "_wheel", lambda: None)
    monkeypatch.setattr(compilers, "_OFF_PATH", ())
    with pytest.raises(ToolMissing, match="no zig, no clang with wasm-ld, no em") as caught:
        compilers.find()
    assert "pip install 'wasme[cpp]'" in str(caught.value.hint)
    _program(folder, "em++")
    assert compilers.find().kind == "emscripten"
    _program(folder, "clang++")
    _program(folder, "clang++-18")
    assert compilers.find().kind == "emscripten", "clang without a linker is no compiler for WebAssembly"
    _program(folder, "wasm-ld-18")
    assert compilers.find().compile == (str(folder / "clang++-18"),)
    _program(folder, "clang++-22")
    _program(folder, "wasm-ld-22")
    assert compilers.find().link == (str(folder / "wasm-ld-22"),)
    _program(folder, "zig")
    assert compilers.find().compile == (str(folder / "zig"), "c++")


def test_tools_of_doctor() -> None:
    """doctor looks for the three compilers in the order of a build, as ways to do one thing."""
    tools = Cpp().tools()
    assert [each.name for each in tools] == ["zig", "clang", "em++"]
    assert len({each.choice for each in tools}) == 1
