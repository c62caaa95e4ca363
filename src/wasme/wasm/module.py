"""What a WebAssembly module says about itself, without running it.

``parse`` reads the sections that tell how a module meets its host: types, imports, memories, exports, start, data and
the custom sections. It never looks into function bodies; whether those are valid is for the engine that compiles them.
Time and memory grow with the size of the bytes, and counts are held to limits far above what compilers write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wasme.errors import ModuleError
from wasme.wasm import segments
from wasme.wasm.facts import PAGE, Custom, Export, FunctionType, Import, Limits, Module, Section
from wasme.wasm.reader import NUMBERS, Constant, Cursor

__all__ = [
    "MAGIC",
    "PAGE",
    "Custom",
    "Export",
    "FunctionType",
    "Import",
    "Limits",
    "Module",
    "Section",
    "parse",
]

MAGIC = b"\0asm"
_VERSION = b"\1\0\0\0"
_COMPONENT_LAYER = b"\1\0"
_MOST = 200_000
_MOST_FUNCTIONS = 1_000_000
_MOST_ELEMENTS = 1_000_000
_MOST_ENTRIES = 10_000_000  # V8's limit for a table at the start
_KINDS = ("function", "table", "memory", "global", "tag")
# The order the specification asks for; 13 (tags) and 12 (the number of data segments) came later.
_ORDER = {id_: rank for rank, id_ in enumerate((1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11))}
_FUNCTION, _STRUCT, _ARRAY = 0x60, 0x5F, 0x5E
_GROUP, _SUB, _SUB_FINAL = 0x4E, 0x50, 0x4F
_PACKED = (0x78, 0x77)


def parse(raw: bytes) -> Module:
    """Read a module.

    Args:
        raw: the whole module.

    Raises:
        ModuleError: the bytes are no core WebAssembly module; nothing else is ever raised.
    """
    _check_header(raw)
    reading = _Reading(raw)
    cursor = Cursor(raw, 8, len(raw))
    last = -1
    while cursor.at < cursor.end:
        id_ = cursor.byte()
        section = cursor.part(cursor.unsigned())
        reading.section(id_, section)
        if id_ == 0:
            reading.custom(section)
            continue
        if id_ not in _ORDER:
            raise section.fail(f"an unknown section {id_}")
        if _ORDER[id_] <= last:
            raise section.fail(f"section {id_} out of order or twice")
        last = _ORDER[id_]
        read = reading.readers.get(id_)
        if read is not None:
            read(section)
            if section.at != section.end:
                raise section.fail(f"section {id_} is longer than its content")
    return reading.result()


def _check_header(raw: bytes) -> None:
    if not raw:
        raise ModuleError("the module is an empty file")
    if raw[:4] != MAGIC:
        if raw.lstrip()[:1] == b"(":
            raise ModuleError("this is WebAssembly text, not a binary module", hint="assemble it first: wat2wasm")
        raise ModuleError("not a WebAssembly module: it does not begin with \\0asm")
    if len(raw) < 8:
        raise ModuleError("not a WebAssembly module: it ends inside its header")
    if raw[6:8] == _COMPONENT_LAYER:
        raise ModuleError(
            "this is a WebAssembly component, not a core module",
            hint="build a core module: the target wasm32-wasip1 or wasm32-unknown-unknown, not wasip2",
        )
    if raw[4:8] != _VERSION:
        raise ModuleError(f"not a WebAssembly module of version 1: its version is {int.from_bytes(raw[4:8], 'little')}")


class _Reading:
    """What has been read so far; one method for each section that tells something."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.types: list[FunctionType | None] = []
        self.imports: list[Import] = []
        self.exports: list[Export] = []
        self.function_types: list[int] = []
        self.tables: list[str] = []
        self.table_limits: list[Limits] = []
        self.memories: list[Limits] = []
        self.globals: list[str] = []
        self.start: int | None = None
        self.customs: list[Custom] = []
        self.segments = 0
        self.stray_data = False
        self.sections: list[Section] = []
        self.data_count: int | None = None
        self.stray_elements = False
        self.declared = self.bodies = self.tags = 0
        self.readers: dict[int, Callable[[Cursor], None]] = {
            1: self.type_section,
            2: self.import_section,
            3: self.function_section,
            4: self.table_section,
            5: self.memory_section,
            6: self.global_section,
            7: self.export_section,
            8: self.start_section,
            9: self.element_section,
            10: self.code_section,
            11: self.data_section,
            12: self.data_count_section,
            13: self.tag_section,
        }

    def result(self) -> Module:
        if self.declared != self.bodies:
            raise ModuleError(f"not a WebAssembly module: {self.declared} functions but {self.bodies} bodies")
        if self.data_count and not self.segments:
            raise ModuleError(
                f"not a WebAssembly module: {self.data_count} data segments are announced and none is there"
            )
        return Module(
            raw=self.raw,
            imports=tuple(self.imports),
            exports=tuple(self.exports),
            memories=tuple(self.memories),
            start=self.start,
            customs=tuple(self.customs),
            stray_data=self.stray_data,
            functions=len(self.function_types),
            producers=_producers(self.raw, self.customs),
            sections=tuple(self.sections),
            stray_elements=self.stray_elements,
        )

    def section(self, id_: int, section: Cursor) -> None:
        if len(self.sections) >= _MOST:
            raise section.fail("more custom sections than there can be")
        self.sections.append(Section(id_, section.at, section.end))

    def custom(self, section: Cursor) -> None:
        name = section.name()
        self.customs.append(Custom(name, section.at, section.end))

    def type_section(self, section: Cursor) -> None:
        for _ in range(section.count(_MOST, "types")):
            code = section.byte()
            if code == _GROUP:
                for _ in range(section.count(_MOST, "types")):
                    self._one_type(section, section.byte())
            else:
                self._one_type(section, code)

    def _one_type(self, section: Cursor, code: int) -> None:
        if len(self.types) >= _MOST:
            raise section.fail("more types than there can be")
        if code in (_SUB, _SUB_FINAL):
            for _ in range(section.count(100, "supertypes")):
                section.unsigned()
            code = section.byte()
        if code == _FUNCTION:
            parameters = _value_types(section, "parameters")
            self.types.append(FunctionType(parameters, _value_types(section, "results")))
            return
        if code not in (_STRUCT, _ARRAY):
            raise section.fail(f"an unknown type {code:#04x}")
        for _ in range(section.count(10_000, "fields") if code == _STRUCT else 1):
            if section.at < section.end and section.data[section.at] in _PACKED:
                section.byte()
            else:
                section.value_type()
            section.byte()
        self.types.append(None)

    def import_section(self, section: Cursor) -> None:
        for _ in range(section.count(_MOST, "imports")):
            module, name, code = section.name(), section.name(), section.byte()
            kind = _kind(section, code)
            type_: FunctionType | None = None
            value_type = ""
            limits: Limits | None = None
            if kind == "function":
                index = section.unsigned()
                type_ = self._type(section, index)
                self.function_types.append(index)
            elif kind == "table":
                value_type, limits = section.value_type(), _limits(section)
                self.tables.append(value_type)
                self.table_limits.append(limits)
            elif kind == "memory":
                limits = _limits(section)
                self.memories.append(limits)
            elif kind == "global":
                value_type = section.value_type()
                section.byte()
                self.globals.append(value_type)
            else:
                self._tag(section)
            self.imports.append(Import(module, name, kind, type_, value_type, limits))

    def function_section(self, section: Cursor) -> None:
        self.declared = section.count(_MOST_FUNCTIONS, "functions")
        known = len(self.types)
        for _ in range(self.declared):
            index = section.unsigned()
            if index >= known:
                raise section.fail(f"a function of the unknown type {index}")
            self.function_types.append(index)

    def table_section(self, section: Cursor) -> None:
        for _ in range(section.count(_MOST, "tables")):
            has_value = section.at < section.end and section.data[section.at] == 0x40
            if has_value:
                section.skip(2)
            self.tables.append(section.value_type())
            limits = _limits(section)
            if limits.minimum > _MOST_ENTRIES:
                raise section.fail(f"a table of {limits.minimum} entries, more than there can be")
            self.table_limits.append(limits)
            if has_value:
                section.constant()

    def memory_section(self, section: Cursor) -> None:
        self.memories += [_limits(section) for _ in range(section.count(_MOST, "memories"))]

    def global_section(self, section: Cursor) -> None:
        for _ in range(section.count(_MOST, "globals")):
            type_ = section.value_type()
            section.byte()
            self._expect(section, section.constant(), type_)
            self.globals.append(type_)

    def tag_section(self, section: Cursor) -> None:
        for _ in range(section.count(_MOST, "tags")):
            self._tag(section)

    def _tag(self, section: Cursor) -> None:
        section.byte()
        self._type(section, section.unsigned())
        self.tags += 1

    def export_section(self, section: Cursor) -> None:
        spaces = (self.function_types, self.tables, self.memories, self.globals)
        seen: set[str] = set()
        for _ in range(section.count(_MOST, "exports")):
            name, code, index = section.name(), section.byte(), section.unsigned()
            kind = _kind(section, code)
            if index >= (len(spaces[code]) if code < 4 else self.tags):
                raise section.fail(f"an export of the unknown {kind} {index}")
            if name in seen:
                raise section.fail(f"a second export named {name!r}")
            seen.add(name)
            type_ = self._type(section, self.function_types[index]) if kind == "function" else None
            value_type = {"table": self.tables, "global": self.globals}[kind][index] if code in (1, 3) else ""
            self.exports.append(Export(name, kind, type_, value_type))

    def start_section(self, section: Cursor) -> None:
        self.start = section.unsigned()
        if self.start >= len(self.function_types):
            raise section.fail(f"a start function {self.start} that is not there")
        type_ = self._type(section, self.function_types[self.start])
        if type_.parameters or type_.results:
            raise section.fail("a start function with parameters or results")

    def code_section(self, section: Cursor) -> None:
        self.bodies = section.count(_MOST_FUNCTIONS, "function bodies")
        for _ in range(self.bodies):
            section.skip(section.unsigned())

    def element_section(self, section: Cursor) -> None:
        left = _MOST_ELEMENTS
        for _ in range(section.count(_MOST, "element segments")):
            element = segments.element(section, left)
            left -= element.entries
            for index in element.functions:
                if index >= len(self.function_types):
                    raise section.fail(f"an element that is the unknown function {index}")
            if element.table is None:
                continue
            if element.table >= len(self.tables):
                raise section.fail(f"an element segment for the unknown table {element.table}")
            self._expect(section, element.offset, "i64" if self.table_limits[element.table].wide else "i32")
            if element.offset.kind in ("i32", "i64"):
                reach = (element.offset.value & 0xFFFFFFFF) + element.entries
                self.stray_elements = self.stray_elements or reach > self.table_limits[element.table].minimum

    def data_count_section(self, section: Cursor) -> None:
        self.data_count = section.unsigned()

    def data_section(self, section: Cursor) -> None:
        count = section.count(_MOST, "data segments")
        if count != (self.data_count if self.data_count is not None else count):
            raise section.fail(f"{count} data segments where {self.data_count} were announced")
        self.segments = 0
        while self.segments < count:
            if self.memories and not self.memories[0].wide:
                room = self.memories[0].minimum * PAGE
                self.segments += segments.pass_plain_data(section, count - self.segments, room)
            if self.segments < count:
                self._data_segment(section)
                self.segments += 1

    def _data_segment(self, section: Cursor) -> None:
        segment = segments.data(section)
        if segment.memory is None:
            return
        if segment.memory >= len(self.memories):
            raise section.fail(f"a data segment for the unknown memory {segment.memory}")
        self._expect(section, segment.offset, "i64" if self.memories[segment.memory].wide else "i32")
        if segment.offset.kind in ("i32", "i64") and segment.memory == 0:
            address = segment.offset.value & 0xFFFFFFFF
            room = self.memories[0].minimum * PAGE
            self.stray_data = self.stray_data or address + segment.end - segment.start > room

    def _expect(self, section: Cursor, found: Constant, wanted: str) -> None:
        """Refuse a constant that is certainly of another type, or names what is not there."""
        kind = found.kind
        if kind == "global":
            if found.value >= len(self.globals):
                raise section.fail(f"a constant from the unknown global {found.value}")
            kind = self.globals[found.value]
        elif kind == "function":
            if found.value >= len(self.function_types):
                raise section.fail(f"a constant from the unknown function {found.value}")
            kind = "ref func"
        numbers = NUMBERS.values()
        if kind and kind != wanted and (kind in numbers or wanted in numbers):
            raise section.fail(f"a constant of the type {kind} where {wanted} is wanted")

    def _type(self, section: Cursor, index: int) -> FunctionType:
        found = self.types[index] if index < len(self.types) else None
        if found is None:
            raise section.fail(f"the type {index} is no function's")
        return found


def _value_types(section: Cursor, what: str) -> tuple[str, ...]:
    return tuple(section.value_type() for _ in range(section.count(1000, what)))


def _kind(section: Cursor, code: int) -> str:
    if code >= len(_KINDS):
        raise section.fail(f"an unknown kind {code}")
    return _KINDS[code]


def _limits(section: Cursor) -> Limits:
    flags = section.byte()
    if flags > 7:
        raise section.fail(f"unknown limits {flags:#04x}")
    bits = 64 if flags & 4 else 32
    minimum = section.unsigned(bits)
    maximum = section.unsigned(bits) if flags & 1 else None
    if maximum is not None and maximum < minimum:
        raise section.fail(f"limits of {minimum} at the least and {maximum} at the most")
    return Limits(minimum, maximum, shared=bool(flags & 2), wide=bool(flags & 4))


def _producers(raw: bytes, customs: list[Custom]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The ``producers`` section (tool conventions): ``language``, ``processed-by``, ``sdk``; {} if absent or odd."""
    section = next((each for each in customs if each.name == "producers"), None)
    if section is None:
        return {}
    try:
        return dict(_producer_fields(Cursor(raw, section.start, section.end)))
    except ModuleError:
        return {}


def _producer_fields(cursor: Cursor) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    for _ in range(cursor.count(100, "fields")):
        name = cursor.name()
        yield name, tuple((cursor.name(), cursor.name()) for _ in range(cursor.count(1000, "values")))
