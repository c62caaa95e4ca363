"""The facts of a module, as ``wasme.wasm.module.parse`` finds them.

Named tuples, here and in the modules around: they are made in a third of the time of dataclasses, and `inspect` is to
answer at once.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple

from wasme.wasm import segments
from wasme.wasm.reader import Cursor

_GAP = 64
_DATA = 11
_ROOT_ID = b"plugin_root_id"
PAGE = 65536
"""Bytes in a page of linear memory."""


class FunctionType(NamedTuple):
    """Parameters and results, by the names of their value types."""

    parameters: tuple[str, ...]
    results: tuple[str, ...]

    def __str__(self) -> str:
        return f"{' '.join(self.parameters) or 'void'} -> {' '.join(self.results) or 'void'}"


class Limits(NamedTuple):
    """Of a memory in pages, of a table in entries."""

    minimum: int
    maximum: int | None = None
    shared: bool = False
    wide: bool = False


class Import(NamedTuple):
    """Something the host must provide.

    Attributes:
        kind: ``function``, ``table``, ``memory``, ``global`` or ``tag``.
        type: a function's type; None for the other kinds.
        value_type: of a global or of a table's entries; "" for the others.
        limits: of a memory or a table; None for the others.
    """

    module: str
    name: str
    kind: str
    type: FunctionType | None = None
    value_type: str = ""
    limits: Limits | None = None

    @property
    def full_name(self) -> str:
        """``env.proxy_log``."""
        return f"{self.module}.{self.name}"


class Export(NamedTuple):
    """Something the module offers (attributes as for ``Import``)."""

    name: str
    kind: str
    type: FunctionType | None = None
    value_type: str = ""


class Custom(NamedTuple):
    """A custom section: its name, and where in the module its content lies."""

    name: str
    start: int
    end: int


class Section(NamedTuple):
    """One section of the module: its number in the format, and where its content lies."""

    id: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.end - self.start


Data = tuple[int, int, int | None]
"""A data segment: where in the module its content begins and ends, and its address in memory 0 (None if not constant).

A bare tuple, since Go's compiler writes forty thousand of them."""


def _is_placed(segment: segments.DataSegment) -> bool:
    return segment.memory == 0 and segment.offset.kind in ("i32", "i64")


@dataclass(frozen=True)
class Module:
    """The facts of one module.

    Attributes:
        raw: the module itself.
        functions: how many it has, imported ones too.
        stray_elements, stray_data: whether a segment certainly reaches outside its table, or memory 0.
    """

    raw: bytes = field(repr=False)
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    memories: tuple[Limits, ...]
    start: int | None
    customs: tuple[Custom, ...]
    functions: int
    producers: dict[str, tuple[tuple[str, str], ...]]
    sections: tuple[Section, ...]
    stray_elements: bool
    stray_data: bool

    @functools.cached_property
    def data(self) -> tuple[Data, ...]:
        """The data segments."""
        found = self.section(_DATA)
        if found is None:
            return ()
        cursor = Cursor(self.raw, found.start, found.end)
        read = [segments.data(cursor) for _ in range(cursor.unsigned())]
        return tuple(
            (each.start, each.end, each.offset.value & 0xFFFFFFFF if _is_placed(each) else None) for each in read
        )

    def section(self, id_: int) -> Section | None:
        """The section of that number; the first of custom ones."""
        return next((each for each in self.sections if each.id == id_), None)

    @property
    def size(self) -> int:
        """Bytes of the module."""
        return len(self.raw)

    def export(self, name: str, kind: str = "function") -> Export | None:
        """The export of that name and kind."""
        return next((each for each in self.exports if each.name == name and each.kind == kind), None)

    def imports_function(self, name: str) -> bool:
        """Whether any module's function ``name`` is imported."""
        return any(each.name == name and each.kind == "function" for each in self.imports)

    def initial_memory(self, address: int, size: int) -> bytes | None:
        """What the data segments put at ``address``; None where they do not reach."""
        for start, end, first in self.data:
            if first is not None and 0 <= address - first <= end - start - size:
                return self.raw[start + address - first : start + address - first + size]
        return None

    def initial_runs(self) -> list[bytes]:
        """What the data segments put into memory, as it will stand there.

        Optimisers leave zeros out, in the middle of wide strings too: short gaps are filled, and each run ends in some.
        """
        runs: list[bytearray] = []
        reached = 0
        placed = ((address, start, end) for start, end, address in self.data if address is not None)
        for address, start, end in sorted(placed):
            if not runs or not 0 <= address - reached <= _GAP:
                runs.append(bytearray())
            else:
                runs[-1] += bytes(address - reached)
            runs[-1] += self.raw[start:end]
            reached = address + end - start
        return [bytes(run) + bytes(_GAP) for run in runs]

    def data_holds(self, text: bytes) -> bool:
        """Whether the data contains ``text``. (Go writes forty thousand segments: they are searched as one.)"""
        found = self.section(_DATA)
        return found is not None and self.raw.find(text, found.start, found.end) >= 0

    @property
    def asks_root_id(self) -> bool:
        """Whether it asks the host which of its root ids it is to run as; the SDKs that keep a table of them do."""
        return self.imports_function("proxy_get_property") and (
            self.data_holds(_ROOT_ID) or self.data_holds(_ROOT_ID.decode().encode("utf-16-le"))
        )
