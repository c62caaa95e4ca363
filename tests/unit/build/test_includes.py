"""Which files a C++ project reads: where that is more than its folders show, it is compiled each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from wasme.build.cpp.compilers import Compiler
from wasme.build.cpp.toolchain import Cpp
from wasme.build.toolchain import Inputs


def program(folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    return str(path)


def inputs(tmp_path: Path, files: dict[str, str], sdk: Path | None = None) -> Inputs | None:
    """What is told of a project with these files; paths may lead out of it."""
    folder = tmp_path / "project"
    for name, text in {"proxy/proxy.h": "", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    compiler = Compiler("clang", (program(tmp_path / "bin", "clang++"),), (program(tmp_path / "bin", "wasm-ld"),), "")
    return Cpp(sdk=sdk, compiler=compiler).inputs(folder)


@pytest.mark.parametrize(
    "files",
    [
        {"filter.cc": '#include "../word.h"\n', "../word.h": ""},
        {"filter.cc": '  #  include "build/word.h"\n', "build/word.h": ""},
        {"filter.cc": '#include "inner/build/word.h"\n', "inner/build/word.h": ""},
        {"filter.cc": '#include "a.h"\n', "a.h": '#include "b.h"\n', "b.h": '#include "../word.h"\n', "../word.h": ""},
        {"filter.cc": "#include <build/word.h>\n", "build/word.h": ""},
        {"src/filter.cc": '#include "../../word.h"\n', "../word.h": ""},
        {"filter.cc": '#include "/usr/include/word.h"\n'},
        {"filter.cc": "#include WORD\n"},
        {"filter.cc": '#inc\\\nlude "../word.h"\n', "../word.h": ""},
        {"filter.cc": '/* */ # /* here */ include /* it is */ "../word.h"\n', "../word.h": ""},
        {"filter.cc": '%: include "../word.h"\n', "../word.h": ""},
        {"filter.cc": '#if __has_include("../word.h")\n#endif\n'},
        {"filter.cc": '#embed "../word.txt"\n'},
        {"filter.cc": 'asm(".incbin \\"../word.txt\\"");\n'},
        {"filter.cc": "", "compile_flags.txt": "-include\n../word.h\n"},
        {"filter.cc": "", "compile_flags.txt": "-I\n..\n"},
        {"filter.cc": "", "compile_flags.txt": "-I..\n"},
        {"filter.cc": "", "compile_flags.txt": "-Ibuild\n"},
        {"filter.cc": "", "compile_flags.txt": "-include\nbuild/word.h\n"},
        {"filter.cc": "", "compile_flags.txt": "@flags\n"},
        {"filter.cc": "", "compile_flags.txt": "-include\nword.h\n", "word.h": '#include "../word.h"\n'},
        {"filter.cc": '#include "word.h"\n', "inc/word.h": '#include "build/x.h"', "compile_flags.txt": "-I\ninc\n"},
    ],
)
def test_what_leads_out_is_compiled_each_time(tmp_path: Path, files: dict[str, str]) -> None:
    """Headers outside the folder, or in a folder that is not looked into, count, so there is no shortcut."""
    assert inputs(tmp_path, files) is None


def test_links_are_followed(tmp_path: Path) -> None:
    """A header that lies in the project as a link into a folder that is not looked into."""
    (tmp_path / "project/build").mkdir(parents=True)
    (tmp_path / "project/made").symlink_to("build")
    assert inputs(tmp_path, {"filter.cc": '#include "made/word.h"\n', "build/word.h": ""}) is None


@pytest.mark.parametrize(
    "files",
    [
        {"filter.cc": '#include "proxy/proxy.h"\n#include <string_view>\n#include "not/there.h"\n'},
        {"src/filter.cc": '#include "../proxy/proxy.h"\n#include "proxy/proxy.h"\n'},
        {"filter.cc": '#include "a.h"\n', "a.h": '#include "b.h"\n', "b.h": '#include "a.h"\n'},
        {"filter.cc": '#ifdef __has_include\n#if __has_include("a.h")\n#endif\n#endif\n'},
        {"filter.cc": '#include "word.h"\n', "inc/word.h": "", "compile_flags.txt": "-Iinc\n-Wall\n-DX=1\n"},
        {"filter.cc": "", "unused.h": '#include "../word.h"\n'},
    ],
)
def test_what_lies_inside_is_told(tmp_path: Path, files: dict[str, str]) -> None:
    """Headers in the project, and those that come with the compiler, keep the shortcut."""
    assert inputs(tmp_path, files) is not None


def test_the_upstream_sdk_is_inside(tmp_path: Path) -> None:
    """A checkout that is named is read too, with what it includes."""
    sdk = tmp_path / "sdk"
    sdk.mkdir()
    (sdk / "proxy_wasm_intrinsics.h").write_text('#include "proxy_wasm_enums.h"\n')
    (sdk / "proxy_wasm_enums.h").write_text("")
    (sdk / "proxy_wasm_intrinsics.cc").write_text('#include "proxy_wasm_intrinsics.h"\n')
    files = {"filter.cc": '#include "proxy_wasm_intrinsics.h"\n'}
    told = inputs(tmp_path, files, sdk)
    assert told is not None
    assert told.roots == (tmp_path / "project", sdk)
    (sdk / "proxy_wasm_enums.h").write_text('#include "../elsewhere.h"\n')
    (tmp_path / "elsewhere.h").write_text("")
    assert inputs(tmp_path, files, sdk) is None
