"""Commands of the original's that this version does not have: old scripts get an answer, not a riddle."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.conftest import Result

Run = Callable[..., Result]
COMMANDS = {
    "operator": "has no operator; it comes with a later one",
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("istio", "localhost:5000/me/filter:v1", "--id=f", "--patch-context", "inbound", "--dry-run", "-n", "x"),
        (".", "-t", "localhost:5000/me/filter:v1", "-xyz", "--labels=a=b", "-l", "app=x", "--", "more"),
        ("--port", "9979", "--clear-cache", "-t"),
    ],
)
def test_old_command_lines_are_answered(run: Run, command: str, words: tuple[str, ...]) -> None:
    """Whatever flags follow, one line says what this version does instead and one what to do; exit code 1."""
    result = run(*command.split(), *words, ok=False)
    assert result.exit_code == 1
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error == f"Error: this version of wasme {COMMANDS[command]}"
    assert hint.startswith("Hint: ")


@pytest.mark.parametrize("words", [(), ("deploy",)])
def test_they_are_not_shown(run: Run, words: tuple[str, ...]) -> None:
    """Help lists what there is, and a typing error is not led to what there is not."""
    text = run(*words, "--help").stdout
    for command in COMMANDS:
        assert f"\n  {command.split()[-1]} " not in text
    assert "Did you mean" not in run(*words, "operatr", ok=False).stderr


def test_their_help_says_the_same(run: Run) -> None:
    """Asked for help, in either way, they say so too, with success."""
    text = run("operator", "--help").stdout
    assert text.startswith(f"This version of wasme {COMMANDS['operator']}.")
    assert run("help", "operator").stdout == text


def test_flags_of_the_root_are_read(run: Run) -> None:
    """--log-format holds for them as for every command, before or after the name."""
    for words in (("--log-format", "json", "operator", "--x=1"), ("operator", "--x", "1", "--log-format=json")):
        result = run(*words, ok=False)
        (line, *_) = result.stderr.splitlines()
        assert "no operator" in json.loads(line)["msg"]
