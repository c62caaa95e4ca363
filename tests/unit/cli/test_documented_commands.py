"""What the hand-written pages type is what the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.conftest import Result
from wasme.cli.grammar import Command, Group
from wasme.cli.main import make_root

_ROOT = Path(__file__).resolve().parents[3]
_MADE = {"commands.md", "errors.md"}  # of the code, which another test holds
PAGES = [_ROOT / "README.md", *sorted(each for each in (_ROOT / "docs").glob("*.md") if each.name not in _MADE)]
_OTHERS = ("kubectl ", "helm ", "curl ", "docker ", "podman ", "envoy ", "istioctl ", "pip ", "make ", "kubelet")


def _blocks(page: Path) -> Iterator[tuple[str, str]]:
    yield from re.findall(r"^```(sh|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def _typed(page: Path) -> Iterator[str]:
    """Every command line of wasme's in a page's blocks, with its continuation lines."""
    for kind, block in _blocks(page):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.removeprefix("$ ") if kind == "console" and line.startswith("$ ") else line
            if command.startswith("wasme ") and (kind == "sh" or line != command):
                yield command


LINES = [(page.name, line) for page in PAGES for line in _typed(page)]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command line judges words as ever, and then does nothing; which commands it was about to run."""
    monkeypatch.chdir(tmp_path)
    for name in ("auth", "add-header"):
        (tmp_path / name).mkdir()  # folders that `wasme init` makes on these pages
    asked: list[str] = []

    def invoke(self: Command, ctx: click.Context) -> None:
        asked.append(ctx.command_path)

    monkeypatch.setattr(Command, "invoke", invoke)
    return asked


def _words(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return words[1 : next((at for at, word in enumerate(words) if word in ("&", "|", ">", "&&")), None)]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line[:60]}" for page, line in LINES])
def test_each_line_is_taken(run: Callable[..., Result], judged: list[str], page: str, line: str) -> None:
    """No unknown command, flag or value, and as many words as the command wants."""
    result = run(*_words(line), ok=False)
    assert (result.exit_code, result.stderr) == (0, ""), f"{page}: {line}"
    assert len(judged) == 1, f"{page}: {line} runs no command"


def test_every_page_is_looked_at() -> None:
    """The pages about clusters, the README and the walk-throughs are among those judged."""
    assert {"README.md", "auth.md", "gateways.md", "kubernetes.md", "node-cache.md", "hub.md"} <= {p for p, _ in LINES}


@pytest.mark.parametrize(
    "line",
    [
        "wasme deplyo istio x --id=a",
        "wasme deploy istio x --id=a --cache-mod=none",
        "wasme deploy istio x --id=a --cache-mode=nono",
        "wasme undeploy gloo --id",
    ],
)
def test_wrong_lines_are_not(run: Callable[..., Result], judged: list[str], line: str) -> None:
    """The judge of this test says no to an unknown command, flag and value."""
    assert run(*_words(line), ok=False).exit_code == 2
    assert judged == []


def _flags(command: Command | Group) -> Iterator[str]:
    yield from command.known()
    if isinstance(command, Group):
        ctx = click.Context(command, info_name=str(command.name))
        for name in command.table:
            child: Any = command.get_command(ctx, name)
            yield from _flags(child)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_flag_that_is_named_exists(page: Path) -> None:
    """A flag in a page's prose or tables is one of some command of wasme's."""
    known = set(_flags(make_root()))
    own = [each for each in _spans(page) if not each.startswith(_OTHERS)]
    named = {flag for each in own for flag in re.findall(r"(?<![\w-])--[a-z](?:-?[a-z0-9])*\b(?!-)", each)}
    assert named <= known, sorted(named - known)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_named_exists(page: Path) -> None:
    """`wasme cache status` in a page's prose is a command, word by word."""
    for span in _spans(page):
        at: Any = make_root()
        for word in span.split()[1:] if span.startswith("wasme ") else ():
            if not isinstance(at, Group) or not re.fullmatch("[a-z-]*[a-z]", word):
                break
            below = at.get_command(click.Context(at), word)
            assert below is not None, f"{page.name}: {span}"
            at = below


def _spans(page: Path) -> list[str]:
    """What stands in backquotes outside of blocks."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", prose)]
