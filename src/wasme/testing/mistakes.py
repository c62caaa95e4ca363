"""What to do about a mistake in YAML: the parser says what it met, which seldom says what was meant."""

from __future__ import annotations

from typing import Any

QUOTES = 'a text with one of [ ] { } , # or a colon in it stands in quotes: "/[12]/"'
INDENT = "the lines of one mapping or list begin in the same column"
_ESCAPES = "in double quotes a backslash is written twice; single quotes take it as it is: '/\\d+/'"
_STARTERS = "@`%*&!|>"


def hint(error: Any, text: str) -> str | None:
    """What to do about an error of the YAML parser's, judged by where it stopped too; None if nobody can tell.

    Args:
        error: a ``yaml.YAMLError``.
        text: what was parsed.
    """
    problem, context = (str(getattr(error, name, None) or "") for name in ("problem", "context"))
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return None
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    before, at = line[: mark.column], line[mark.column : mark.column + 1]
    if "stands twice" in problem:
        return "take one of them away: a name stands once in a mapping"
    if "escape" in problem:
        return _ESCAPES
    if "quoted scalar" in context:
        return "the closing quote is missing"
    if "another document" in problem:
        return "a file is one document: take the --- away"
    if at == "\t" or "\t" in before[: len(before) - len(before.lstrip())]:
        return "indent with spaces: YAML takes no tabs there"
    if at and at in _STARTERS:
        return f"a text that begins with {at} stands in quotes"
    return _of_structure(problem, context, before)


def _of_structure(problem: str, context: str, before: str) -> str | None:
    """Where all signs are known, and stand where they cannot."""
    if "flow" in context:
        return f"{QUOTES}; or a closing bracket is missing"
    if "mapping values" in problem:
        return QUOTES if ": " in before else INDENT
    if "expected ':'" in problem:
        return "each line of a mapping is NAME: VALUE"
    if "block" in context and "scalar" not in context:
        if not before.strip(" -"):
            return INDENT
        return "the quotes go around the whole text" if before.rstrip().endswith(('"', "'")) else QUOTES
    return None
