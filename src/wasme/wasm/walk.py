"""Envoy's own walk over a module's bytes, before V8 sees them.

It looks for the version marker among the exports and for the names of functions, knows nothing else of the format, and
is the first to complain. Its leniencies are kept: what it lets pass is left for V8 to refuse, in other words.
"""

from __future__ import annotations

from wasme.errors import ModuleError
from wasme.wasm import abi
from wasme.wasm.module import MAGIC
from wasme.wasm.reader import Cursor

_MOST_NAMES = 2_000_000


def marker_of(raw: bytes) -> bool | None:
    """What Envoy finds in the bytes that are no module: None: corrupt; else whether a known marker is exported."""
    if len(raw) < 8:
        return False  # Envoy skips its header check for so few bytes, and finds nothing in them
    if raw[:4] != MAGIC:
        return None
    marked: bool | None = None
    named = False
    cursor = Cursor(raw, 8, len(raw))
    try:
        while cursor.at < cursor.end:
            id_ = cursor.byte()
            section = cursor.part(_short(cursor))
            if id_ == 7 and marked is None:
                marked = _has_marker(section)
                if not marked:
                    return False
            if id_ == 0:
                name = section.part(_short(section))
                if raw[name.at : name.end] == b"name" and not named:
                    named = True
                    if not names_readable(section):
                        return None
    except ModuleError:
        # The marker is looked for first: without one, nothing behind the exports matters.
        return None
    return bool(marked)


def _has_marker(section: Cursor) -> bool:
    count = section.count(0xFFFFFFFF, "exports")
    rest = Cursor(section.data, section.at, len(section.data))
    for _ in range(count):
        name = Cursor(section.data, rest.at, section.end)
        name = name.part(_short(name))
        rest.at = name.end
        # Envoy lets these two reach behind the section's end.
        if rest.byte() == 0 and section.data[name.at : name.end].decode("latin-1") in abi.MARKERS:
            return True
        _short(rest)
    return False


def _short(cursor: Cursor) -> int:
    """A length as Envoy's walk reads it: below 2^30."""
    value = cursor.unsigned()
    if value >> 30:
        raise cursor.fail("a length of more than 1 GiB")
    return value


def names_readable(cursor: Cursor) -> bool:
    """Whether the content of the first ``name`` section is well formed: Envoy reads it, V8 does not mind.

    After two million names, a hundred times what compilers write, the rest is taken for well formed.
    """
    left = _MOST_NAMES
    try:
        while cursor.at < cursor.end:
            id_ = cursor.byte()
            part = cursor.part(_short(cursor))
            if id_ != 1:
                continue
            for _ in range(_short(part)):
                left -= 1
                if left < 0:
                    return True
                _short(part)
                part.skip(_short(part))
            if part.at != part.end:
                return False
    except ModuleError:
        return False
    return True
