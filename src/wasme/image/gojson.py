"""JSON exactly as Go's ``encoding/json`` writes it, because digests are taken over these bytes.

Compact, keys in the order given; ``<``, ``>``, ``&`` and U+2028/9 are escaped, so are all control characters (newline,
carriage return and tab in their short form, the others as ``\\u00XX``), and everything else stands as UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

Json = str | int | Mapping[str, "Json"] | Sequence["Json"]


def encode(value: Json) -> bytes:
    """``value`` as compact JSON in Go's form, UTF-8.

    Raises:
        UnicodeEncodeError: a string holds half of a surrogate pair.
    """
    return _text(value).encode()


def strings(value: object) -> list[str]:
    """Every string in a JSON value, keys too; lists of pairs may stand for objects."""
    found: list[str] = []
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            pending.extend((*item, *item.values()))
        elif isinstance(item, list | tuple):
            pending.extend(item)
    return found


def _text(value: Json) -> str:
    if isinstance(value, str):
        return f'"{_ESCAPED.sub(_escape, value)}"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in value.items()) + "}"
    return "[" + ",".join(map(_text, value)) + "]"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT.get(character) or f"\\u{ord(character):04x}"
