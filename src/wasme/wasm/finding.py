"""One thing about a module or an image: how bad it is, in Envoy's words where they are known, and what to do."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Finding(NamedTuple):
    """One thing about a module.

    Attributes:
        severity: ``error``: Envoy does not load it; ``warning``: it loads, and will probably not do what it should;
            ``note``: worth knowing.
        code: a short name that stays the same, for programs.
        text: for an error the decisive line of Envoy's log, else what is so.
        hint: what to do about it, in plain words.
    """

    severity: Severity
    code: str
    text: str
    hint: str


def error(code: str, text: str, hint: str) -> Finding:
    """Something that keeps Envoy from loading the module."""
    return Finding("error", code, text, hint)


def warning(code: str, text: str, hint: str) -> Finding:
    """Something that loads, and will probably not do what it should."""
    return Finding("warning", code, text, hint)


def note(code: str, text: str, hint: str) -> Finding:
    """Something worth knowing."""
    return Finding("note", code, text, hint)
