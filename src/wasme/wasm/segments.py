"""What a module puts into its memories and tables: data and element segments (core specification, 5.5)."""

from __future__ import annotations

from typing import NamedTuple

from wasme.wasm.reader import Constant, Cursor

_I32_CONST, _END = 0x41, 0x0B
_BLOCK = 14  # bits of an address below its third byte, and more than the size of a short segment has
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


class DataSegment(NamedTuple):
    """A data segment.

    Attributes:
        memory: which it fills when the module starts; None if none.
        offset: where it begins there.
        start, end: where in the module its content lies.
    """

    memory: int | None
    offset: Constant
    start: int
    end: int


def data(section: Cursor) -> DataSegment:
    """Read a data segment of any of its three forms."""
    flags = section.unsigned()
    if flags > 2:
        raise section.fail(f"an unknown kind of data segment {flags}")
    memory = None if flags == 1 else section.unsigned() if flags else 0
    offset = _NO_OFFSET if memory is None else section.constant()
    size = section.unsigned()
    start = section.at
    section.skip(size)
    return DataSegment(memory, offset, start, section.at)


def pass_plain_data(section: Cursor, count: int, room: int) -> int:
    """Pass short data segments of the form every compiler writes: memory 0, and an ``i32.const`` of 2 to 4 bytes.

    Go writes forty thousand of them, which cost a tenth of a second one call at a time: hence one loop, without calls.
    Whatever is odd in any way, or near the end of the memory, is left for ``data``, which looks at it closely.

    Args:
        count: how many there are at the most.
        room: bytes of the memory.

    Returns:
        How many were passed.
    """
    raw, at, end = section.data, section.at, section.end
    safe = (room >> _BLOCK) - 2  # a segment that begins in this block of 16 KiB or an earlier one ends within the room
    done = 0
    try:
        while done < count:
            flags, opcode, first, second, third = raw[at : at + 5]
            if flags or opcode != _I32_CONST or first < 0x80:
                break
            # The address in blocks: each byte but the last carries 0x80; with 0x40 in the last it would be negative.
            if second > 0x7F:
                here, block = at + 5, third
                if third > 0x3F:
                    here, block = at + 6, third + (raw[at + 5] << 7) - 0x80
                    if third < 0x80 or raw[at + 5] > 0x3F:
                        break
            elif second < 0x40:
                here, block = at + 4, 0
            else:
                break
            if block > safe or raw[here] != _END:
                break
            size = raw[here + 1]
            if size < 0x80:
                here += size + 2
            elif raw[here + 2] < 0x80:
                here += size + (raw[here + 2] << 7) - 0x80 + 3
            else:
                break
            if here > end:
                break
            at = here
            done += 1
    except (IndexError, ValueError):
        pass  # the module ends here
    section.at = at
    return done
