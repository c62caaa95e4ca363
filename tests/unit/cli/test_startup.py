"""Start-up is a feature: what `--help` may import, and how long it may take."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FORBIDDEN = (
    "asyncio", "granian", "importlib.metadata", "logging", "msgspec", "ruamel", "ssl", "starlette", "subprocess",
    "urllib3", "yaml",
)  # fmt: skip


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["push", "--help"], ["nope"]])
def test_help_imports_no_commands_libraries(words: list[str]) -> None:
    """The root answers without importing any command, nor what commands stand on."""
    script = (
        "import sys\n"
        "from wasme.cli.main import run\n"
        f"run({words!r})\n"
        "sys.stderr.write('MODULES ' + ' '.join(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    modules = done.stderr.rpartition("MODULES ")[2].split()
    loaded = {name for name in modules if name.startswith("wasme.cli.")}
    assert loaded <= {
        f"wasme.cli.{name}"
        for name in ("main", "grammar", "flags", "words", "kinds", "help", "terminal", "push", "options")
    }
    allowed = {"logging"} if words[0] == "push" else set()  # its module logs; nothing heavier
    assert [name for name in _FORBIDDEN if name in modules and name not in allowed] == []


def test_every_command_of_the_table_can_be_imported_and_explains_itself() -> None:
    """No entry of the table points at nothing; every command and flag has help."""
    from wasme.cli.grammar import Command, Flag, Group
    from wasme.cli.main import make_root

    def walk(found: Group, path: str) -> int:
        count = 0
        for name in found.table:
            child = found.get_command(None, name)  # type: ignore[arg-type]
            assert isinstance(child, Command | Group), f"{path} {name}"
            assert (child.help or "").strip(), f"{path} {name} has no help"
            flags: list[Flag] = [*child.own_flags(), *child.inherited]
            assert [each.long for each in flags if not each.help and not each.hidden] == [], f"{path} {name}"
            count += walk(child, f"{path} {name}") if isinstance(child, Group) else 1
        return count

    assert walk(make_root(), "wasme") >= 17
