"""Log lines as scripts and people know them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys

import pytest

from wasme.cli import logs


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]):
    """Log one line in a format; give back what stderr got."""

    def say(form: str, message: str, level: int = logging.INFO, verbose: bool = False, **fields: object) -> str:
        logs.configure(verbose=verbose, log_format=form)
        logging.getLogger("wasme.test").log(level, message, extra={"fields": fields})
        return capsys.readouterr().err

    return say


def test_text_equals_the_users_captured_lines(said) -> None:
    """The transcript's line, byte for byte: padding to 44 columns, sorted fields, quotes around a colon."""
    fields = {"image": "quay.io/solo-io/wasme:0.0.33", "cache": "wasme-cache.wasme"}
    expected = (
        "INFO[0000] cache namespace already exists                "
        'cache=wasme-cache.wasme image="quay.io/solo-io/wasme:0.0.33"\n'
    )
    line = said("text", "cache namespace already exists", **fields)
    assert expected == re.sub(r"\[\d{4}\]", "[0000]", line)


def test_text_keeps_the_trailing_blanks_of_a_line_without_fields(said) -> None:
    """`Pushed …   ` ends with the padding, as captured."""
    line = said("text", "Pushed webassemblyhub.io/hxpmark/auth:0.01")
    assert re.sub(r"\d{4}", "0010", line, count=1) == "INFO[0010] Pushed webassemblyhub.io/hxpmark/auth:0.01   \n"


def test_logfmt_is_what_a_pipe_gets(said) -> None:
    """`time="…" level=info msg="…" key=value`, RFC 3339."""
    line = said("auto", "tagged image", digest="sha256:ab", image="a/b")
    assert re.fullmatch(
        r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)" level=info msg="tagged image" '
        r'digest="sha256:ab" image=a/b\n',
        line,
    )


def test_json_is_one_object_a_line(said) -> None:
    """Fields are keys beside time, level and msg."""
    line = json.loads(said("json", "two\nlines", level=logging.WARNING, code=7))
    assert (line["level"], line["msg"], line["code"]) == ("warning", "two\nlines", 7)


def test_debug_lines_only_with_verbose(said) -> None:
    """`-v` shows debug lines."""
    assert said("text", "quiet", level=logging.DEBUG) == ""
    assert said("text", "loud", level=logging.DEBUG, verbose=True).startswith("DEBU[")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a-b.c/d@e^f+g_1", "a-b.c/d@e^f+g_1"),
        ("a b", '"a b"'),
        ("", ""),
        ('q"\\', r'"q\"\\"'),
        ("é\n\x01", r'"é\n\x01"'),
    ],
)
def test_values_are_quoted_as_gos_q_does(said, value: str, shown: str) -> None:
    """Quoted only where a character is not one of the plain ones."""
    assert said("logfmt", "m", key=value).rstrip("\n").endswith(f" key={shown}")


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({}, False),
    ],
)
def test_colour_is_the_readers_choice(
    said, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    """NO_COLOR wins, FORCE_COLOR colours a pipe, a pipe is plain."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\033[36mINFO" in said("text", "hello", a=1)) is coloured


def test_a_closed_stderr_does_not_fail_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads any more: a log line is no reason to fail."""
    logs.configure(verbose=False, log_format="text")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        logging.getLogger("wasme.test").info("nobody hears this")
        with pytest.raises(BrokenPipeError):
            os.write(writer, b"x")
        with contextlib.suppress(BrokenPipeError):
            broken.close()
