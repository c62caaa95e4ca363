"""Logs on stderr, in the original's two forms (logrus): for people on a terminal, logfmt in a pipe; and JSON.

A library says ``log.info("tagged image", extra={"fields": {"image": name}})``; how it looks is decided here.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wasme.cli.terminal import has_colour, is_terminal

if TYPE_CHECKING:
    from wasme.cli.grammar import Invocation

FORMATS = ("auto", "text", "logfmt", "json")
_STARTED = time.monotonic()
_COLOURS = {"INFO": 36, "WARN": 33, "ERRO": 31, "FATA": 31, "DEBU": 37}
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/@^+")
_LEVELS = {"WARNING": "warning", "CRITICAL": "fatal"}


def configure(*, verbose: bool, log_format: str) -> None:
    """Send wasme's logs to stderr.

    Args:
        verbose: debug lines too.
        log_format: one of ``FORMATS``; auto is text on a terminal and logfmt elsewhere.
    """
    chosen = log_format
    if chosen == "auto":
        chosen = "text" if is_terminal(sys.stderr) else "logfmt"
    handler = _Stderr()
    handler.setFormatter({"text": _Text, "logfmt": _Logfmt, "json": _Json}[chosen]())
    logger = logging.getLogger("wasme")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def as_daemon(invocation: Invocation, level: str) -> None:
    """For what runs in a cluster: JSON in a pipe, where nobody chose a form, and a level by its name.

    Args:
        invocation: the root's flags; ``--verbose`` is never less than debug.
        level: debug, info, warn or error.
    """
    if invocation.log_format == "auto" and not is_terminal(sys.stderr):
        invocation.log_format = "json"
    configure(verbose=invocation.verbose, log_format=invocation.log_format)
    if not invocation.verbose:
        logging.getLogger("wasme").setLevel({"warn": "WARNING"}.get(level, level.upper()))


def error(message: str, **fields: Any) -> None:
    """The line that a failed command ends with."""
    logging.getLogger("wasme").error(message, extra={"fields": fields})


class _Stderr(logging.Handler):
    """Whatever stderr is at the moment of writing."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody reads any more; a log line is no reason to fail
            return


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = record.__dict__.get("fields", {})
    return dict(sorted(fields.items()))


def _value(value: Any) -> str:
    """logrus: quoted where any character is outside the plain ones; empty stays empty."""
    text = str(value)
    return text if _PLAIN.issuperset(text) else go_quote(text)


def go_quote(text: str) -> str:
    """Go's ``%q``: double quotes, backslash escapes, printable Unicode as it is."""
    if text.isprintable():
        # Nearly always: a deployment to thousands of workloads writes two lines for each.
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    out = []
    for letter in text:
        code = ord(letter)
        if letter in '"\\':
            out.append("\\" + letter)
        elif letter in "\n\t\r\a\b\f\v":
            out.append(
                {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}[letter]
            )
        elif letter.isprintable():
            out.append(letter)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


class _Text(logging.Formatter):
    """``INFO[0000] message…  key=value``: the message padded to 44 columns and a blank."""

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname[:4]
        colour = _COLOURS.get(level, 37) if has_colour(sys.stderr) else None
        seconds = int(time.monotonic() - _STARTED)
        head = f"{level}[{seconds:04d}]"
        if colour:
            head = f"\033[{colour}m{level}\033[0m[{seconds:04d}]"
        pairs = [
            f" \033[{colour}m{key}\033[0m={_value(value)}" if colour else f" {key}={_value(value)}"
            for key, value in _fields(record).items()
        ]
        return f"{head} {record.getMessage():<44} {''.join(pairs)}"


def _stamp(record: logging.LogRecord) -> str:
    """RFC 3339 with the local zone, whole seconds."""
    local = time.localtime(record.created)
    zone = time.strftime("%z", local)
    return time.strftime("%Y-%m-%dT%H:%M:%S", local) + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


def _level(record: logging.LogRecord) -> str:
    return _LEVELS.get(record.levelname, record.levelname.lower())


class _Logfmt(logging.Formatter):
    """``time="…" level=info msg="…" key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f" {key}={_value(value)}" for key, value in _fields(record).items())
        return f'time="{_stamp(record)}" level={_level(record)} msg={_value(record.getMessage())}{pairs}'


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        line = {"time": _stamp(record), "level": _level(record), "msg": record.getMessage(), **_fields(record)}
        return json.dumps(line, default=str, ensure_ascii=False)
