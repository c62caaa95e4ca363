"""What go.mod says, and versions of Go."""

from pathlib import Path

import pytest

from wasme.build.tinygo import gomod
from wasme.errors import InputError

FULL = """// a comment
module "example.com/filter" // another

go 1.25.3

toolchain go1.99.0

require example.com/one v1.0.0
require (
	example.com/two v1.0.0 // indirect
	"example.com/three" v0.0.0-20260105142703-44c7d5847745
	// example.com/four v1.0.0
)

replace example.com/one => ../one
replace (
	example.com/two v1.0.0 => example.com/fork v1.0.0
	example.com/three => ./sub/../three
	example.com/five => /opt/five
)
exclude example.com/six v1.0.0
retract (
	v1.0.0
)
"""


def test_everything_a_build_wants_to_know(tmp_path: Path) -> None:
    """The version it needs, the modules it names, the folders it replaces some by: in lines and in blocks."""
    (tmp_path / "go.mod").write_text(FULL)
    assert gomod.read(tmp_path) == gomod.GoMod(
        path=tmp_path / "go.mod",
        needs=(1, 25, 3),
        requires=frozenset({"example.com/one", "example.com/two", "example.com/three"}),
        folders=(tmp_path.parent / "one", tmp_path / "three", Path("/opt/five")),
    )


@pytest.mark.parametrize("text", ["", "module filter\n", "go\nrequire (\n", "replace =>\n", ")\n(\n", "\n// only\n"])
def test_what_says_nothing(tmp_path: Path, text: str) -> None:
    """A go.mod that says nothing, or nonsense, says nothing; Go itself tells what is wrong with it."""
    (tmp_path / "go.mod").write_text(text)
    assert gomod.read(tmp_path) == gomod.GoMod(tmp_path / "go.mod", (0, 0, 0), frozenset(), ())


def test_a_package_in_a_module(tmp_path: Path) -> None:
    """A folder in a module belongs to it, and to the innermost one; folders are told from the module's own."""
    (tmp_path / "cmd" / "filter").mkdir(parents=True)
    (tmp_path / "go.mod").write_text("module example.com/all\n\ngo 1.25\n\nreplace example.com/one => ./one\n")
    found = gomod.read(tmp_path / "cmd" / "filter")
    assert (found.path, found.needs, found.folders) == (tmp_path / "go.mod", (1, 25, 0), (tmp_path / "one",))
    (tmp_path / "cmd" / "go.mod").write_text("module example.com/cmd\n")
    assert gomod.read(tmp_path / "cmd" / "filter").path == tmp_path / "cmd" / "go.mod"


def test_no_go_mod(tmp_path: Path) -> None:
    """Without one, a folder is no Go project, and the error says how to begin one."""
    with pytest.raises(InputError, match=r"has no go\.mod, so it is no Go project") as caught:
        gomod.read(tmp_path)
    assert "wasme init" in str(caught.value.hint)


def test_a_go_mod_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that are no text are named, without a traceback."""
    (tmp_path / "go.mod").write_bytes(b"module \xff\n")
    with pytest.raises(InputError, match=r"go\.mod cannot be read"):
        gomod.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "number", "told"),
    [
        ("1.24", (1, 24, 0), "1.24"),
        ("1.26.8", (1, 26, 8), "1.26.8"),
        ("go1.27rc1", (1, 27, 0), "1.27"),
        ("go1.27.3\ntime 2026-10-19T22:20:36Z", (1, 27, 3), "1.27.3"),
        ("go1.100.1-fips", (1, 100, 1), "1.100.1"),
    ],
)
def test_versions(text: str, number: gomod.Version, told: str) -> None:
    """A version is three numbers, and is told as people write it."""
    assert gomod.version(text) == number
    assert gomod.told(number) == told


def test_no_version() -> None:
    """What is no version is none."""
    assert gomod.version("devel") is None
