"""What a module puts into its memories and tables: data and element segments (core specification, 5.5)."""

from __future__ import annotations

from typing import NamedTuple

from wasme.wasm.facts import Data
from wasme.wasm.reader import Constant, Cursor

_I32_CONST, _END = 0x41, 0x0B
_NO_OFFSET = Constant("", 0)


class Element(NamedTuple):
    """An element segment.

    Attributes:
        table: which it fills when the module starts; None if none.
        offset: where it begins there.
        entries: how many it has.
        functions: the indexes of those entries that are functions.
    """

    table: int | None
    offset: Constant
    entries: int
    functions: tuple[int, ...]


def element(section: Cursor, most: int) -> Element:
    """Read an element segment of any of its eight forms, of at most ``most`` entries."""
    flags = section.unsigned()
    if flags > 7:
        raise section.fail(f"an unknown kind of element segment {flags}")
    table, offset = None, _NO_OFFSET
    if not flags & 1:
        table = section.unsigned() if flags & 2 else 0
        offset = section.constant()
    if flags & 3:
        if flags & 4:
            section.value_type()
        elif section.byte():
            raise section.fail("an unknown kind of element")
    count = section.count(most, "elements")
    if not flags & 4:
        return Element(table, offset, count, tuple(section.unsigned() for _ in range(count)))
    values = [section.constant() for _ in range(count)]
    return Element(table, offset, count, tuple(each.value for each in values if each.kind == "function"))


def plain_data(section: Cursor, count: int, segments: list[Data]) -> None:
    """Read short segments of the form every compiler writes (an ``i32.const`` address in memory 0) until one is not.

    Go writes forty thousand of them, which cost a tenth of a second one call at a time: hence one loop, without calls.
    Whatever is odd in any way is left for the caller, who reads it or says what is wrong.
    """
    raw, at, end = section.data, section.at, section.end
    append = segments.append
    try:
        for _ in range(count - len(segments)):
            flags, opcode, first, second, third = raw[at : at + 5]
            if flags or opcode != _I32_CONST:
                break
            # Addresses of two to four bytes below 2^27: the sign is plus.
            if second < 0x40 and first > 0x7F:
                address, here = first & 0x7F | second << 7, at + 4
            elif third < 0x40 and first > 0x7F and second > 0x7F:
                address, here = first & 0x7F | (second & 0x7F) << 7 | third << 14, at + 5
            elif (fourth := raw[at + 5]) < 0x40 and first > 0x7F and second > 0x7F and third > 0x7F:
                address, here = first & 0x7F | (second & 0x7F) << 7 | (third & 0x7F) << 14 | fourth << 21, at + 6
            else:
                break
            size = raw[here + 1]
            if raw[here] != _END:
                break
            if size < 0x80:
                here += 2
            elif raw[here + 2] < 0x80:
                size = size & 0x7F | raw[here + 2] << 7
                here += 3
            else:
                break
            if here + size > end:
                break
            at = here + size
            append((here, at, address))
    except (IndexError, ValueError):
        pass  # the module ends here
    section.at = at
