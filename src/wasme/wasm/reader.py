"""A bounded cursor over WebAssembly bytes (core specification, chapter 5).

Whatever the bytes are, reading them ends: no read goes past the end it was given, no number is longer than its type,
and nothing is called again without having moved on. Everything that is wrong is one ``ModuleError``.
"""

from __future__ import annotations

from typing import NamedTuple

from wasme.errors import ModuleError

NUMBERS = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128"}
ABSTRACT_HEAPS = {
    0x70: "func",
    0x6F: "extern",
    0x6E: "any",
    0x6D: "eq",
    0x6C: "i31",
    0x6B: "struct",
    0x6A: "array",
    0x69: "exn",
    0x71: "none",
    0x72: "noextern",
    0x73: "nofunc",
    0x74: "noexn",
}
_CONSTANT_ENDS = 0x0B
_CONSTANT_WIDTHS = {0x43: ("f32", 4), 0x44: ("f64", 8)}
_ARITHMETIC = frozenset({0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E})
_MOST_STEPS = 10_000
_LONGEST_NAME = 100_000  # V8's limit


class Constant(NamedTuple):
    """A constant expression of one instruction.

    Attributes:
        kind: the type of a number; ``global`` or ``function`` for the value of that one; "" for all that is not told.
        value: an integer's value, or the index of the global or the function.
    """

    kind: str
    value: int


_UNTOLD = Constant("", 0)


class Cursor:
    """A place in ``data``, and the end that nothing reads past.

    Attributes:
        data: the bytes.
        at: where the next read begins.
        end: where reading ends.
    """

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def fail(self, what: str) -> ModuleError:
        """The error for what stands here."""
        return ModuleError(f"not a WebAssembly module: {what} at byte {self.at}")

    def byte(self) -> int:
        """The next byte."""
        if self.at >= self.end:
            raise self.fail("the bytes end too early")
        value = self.data[self.at]
        self.at += 1
        return value

    def skip(self, count: int) -> None:
        """Pass ``count`` bytes."""
        if count > self.end - self.at:
            raise self.fail("the bytes end too early")
        self.at += count

    def unsigned(self, bits: int = 32) -> int:
        """An unsigned LEB128 number of at most ``bits`` bits."""
        result = shift = 0
        while True:
            part = self.byte()
            result |= (part & 0x7F) << shift
            if part < 0x80:
                break
            shift += 7
            if shift >= bits:
                raise self.fail("a number too long for its type")
        if result >> bits:
            raise self.fail("a number too large for its type")
        return result

    def signed(self, bits: int) -> int:
        """A signed LEB128 number of at most ``bits`` bits."""
        result = shift = 0
        while True:
            part = self.byte()
            result |= (part & 0x7F) << shift
            shift += 7
            if part < 0x80:
                break
            if shift >= bits:
                raise self.fail("a number too long for its type")
        return result - (1 << shift) if part & 0x40 else result

    def count(self, most: int, what: str) -> int:
        """How many ``what`` follow; each takes a byte at least, so the end bounds them too."""
        value = self.unsigned()
        if value > min(most, self.end - self.at):
            raise self.fail(f"{value} {what}, more than there can be")
        return value

    def name(self) -> str:
        """A length and that many bytes of UTF-8."""
        size = self.unsigned()
        if size > min(_LONGEST_NAME, self.end - self.at):
            raise self.fail("a name longer than what is left")
        text = self.data[self.at : self.at + size]
        try:
            decoded = text.decode()
        except UnicodeDecodeError:
            raise self.fail("a name that is not UTF-8") from None
        self.at += size
        return decoded

    def part(self, size: int) -> Cursor:
        """A cursor over the next ``size`` bytes, which this one passes."""
        start = self.at
        self.skip(size)
        return Cursor(self.data, start, start + size)

    def value_type(self) -> str:
        """``i32`` … ``v128``, ``funcref``, ``externref``, or a reference as ``ref any`` or ``ref 3``."""
        code = self.byte()
        if code in NUMBERS:
            return NUMBERS[code]
        if code in (0x63, 0x64):
            return _reference(self.heap_type())
        if code in ABSTRACT_HEAPS:
            return _reference(ABSTRACT_HEAPS[code])
        raise self.fail(f"an unknown value type {code:#04x}")

    def heap_type(self) -> str:
        """An abstract heap type's name, or the index of a defined one."""
        index = self.signed(33)
        if index >= 0:
            return str(index)
        code = index & 0x7F
        if code not in ABSTRACT_HEAPS:
            raise self.fail(f"an unknown heap type {code:#04x}")
        return ABSTRACT_HEAPS[code]

    def constant(self) -> Constant:
        """Pass a constant expression; what it is, if it is one instruction."""
        found = _UNTOLD
        steps = 0
        while (code := self.byte()) != _CONSTANT_ENDS:
            steps += 1
            if steps > _MOST_STEPS:
                raise self.fail("a constant of more steps than any has")
            found = _UNTOLD
            if code in (0x41, 0x42):
                found = Constant("i32" if code == 0x41 else "i64", self.signed(32 if code == 0x41 else 64))
            elif code in _CONSTANT_WIDTHS:
                found = Constant(*_CONSTANT_WIDTHS[code])
                self.skip(found.value)
            elif code in (0x23, 0xD2):
                found = Constant("global" if code == 0x23 else "function", self.unsigned())
            elif code == 0xD0:
                self.heap_type()
            elif code == 0xFD and self.unsigned() == 12:
                self.skip(16)
                found = Constant("v128", 0)
            elif code == 0xFB:
                self._garbage_collected()
            elif code not in _ARITHMETIC:
                raise self.fail(f"an opcode {code:#04x} that no constant has")
        if not steps:
            raise self.fail("a constant without a value")
        return found if steps == 1 else _UNTOLD

    def _garbage_collected(self) -> None:
        """The immediates of the GC proposal's constant instructions."""
        code = self.unsigned()
        if code in (0x00, 0x01, 0x06, 0x07):
            self.unsigned()
        elif code == 0x08:
            self.unsigned()
            self.unsigned()
        elif code not in (0x1A, 0x1B, 0x1C):
            raise self.fail(f"an opcode 0xfb {code:#04x} that no constant has")


def _reference(heap: str) -> str:
    return f"{heap}ref" if heap in ("func", "extern") else f"ref {heap}"
