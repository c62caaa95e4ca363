"""Reading a module's sections."""

from __future__ import annotations

import contextlib
import random
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import filters
from tests.fixtures.modules import assemble, sized
from wasme.errors import ModuleError
from wasme.wasm.module import parse


def test_facts() -> None:
    """Imports and exports with their types, memories, start, data, custom sections and producers are all told."""
    module = parse(
        assemble(
            '(module (import "env" "f" (func (param i32 i64) (result f32))) (import "env" "t" (table 1 funcref))'
            ' (memory (export "m") 2 5) (global (export "g") f64 (f64.const 1)) (data (i32.const 100) "hello")'
            ' (func $s) (start $s) (func (export "x") (param v128 externref)) (data "passive"))'
        )
        + b"\0\x1f\x09producers\x01\x08language\x01\x04Rust\x041.86"
    )
    assert [(each.full_name, each.kind, str(each.type)) for each in module.imports] == [
        ("env.f", "function", "i32 i64 -> f32"),
        ("env.t", "table", "None"),
    ]
    assert [(each.name, each.kind, str(each.type), each.value_type) for each in module.exports] == [
        ("m", "memory", "None", ""),
        ("g", "global", "None", "f64"),
        ("x", "function", "v128 externref -> void", ""),
    ]
    assert [(each.minimum, each.maximum) for each in module.memories] == [(2, 5)]
    assert module.start == 1
    assert module.initial_memory(101, 3) == b"ell"
    assert module.initial_memory(101, 5) is None
    assert module.initial_memory(99, 2) is None
    assert module.data_holds(b"passive")
    assert module.producers == {"language": (("Rust", "1.86"),)}
    assert module.functions == 3


def test_runs_of_initial_memory() -> None:
    """Segments near each other are one run, with the zeros between them; a far one is a run of its own."""
    module = parse(
        assemble('(module (memory 2) (data (i32.const 9) "de") (data (i32.const 4) "ab") (data (i32.const 70000) "f"))')
    )
    assert [run.rstrip(b"\0") for run in module.initial_runs()] == [b"ab\0\0\0de", b"f"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "empty file"),
        (b"(module)", "text, not a binary"),
        (b"\n  (module)", "text, not a binary"),
        (b"<!doctype html>", "does not begin with"),
        (b"\0asm\x0d\0\1\0", "component"),
        (b"\0asm\2\0\0\0", "version is 2"),
        (b"\0asm\1", "ends inside its header"),
        (b"\0asm\1\0\0\0\1", "end too early"),
        (b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f", "end too early"),
        (b"\0asm\1\0\0\0\1\xff\xff\xff\xff\xff\xff\xff", "too long"),
        (b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x7f", "too large"),
        (b"\0asm\1\0\0\0\1\5\xff\xff\xff\xff\x0f", "more than there can be"),
        (b"\0asm\1\0\0\0\2\3\1\x7fa", "longer than what is left"),
        (b"\0asm\1\0\0\0\3\2\1\0", "unknown type 0"),
        (b"\0asm\1\0\0\0\7\5\1\1a\0\0", "unknown function 0"),
        (b"\0asm\1\0\0\0\x08\1\0", "start function"),
        (b"\0asm\1\0\0\0\1\2\0\0", "longer than its content"),
    ],
)
def test_bad_bytes(raw: bytes, words: str) -> None:
    """Whatever is wrong is told in one line of words."""
    with pytest.raises(ModuleError) as caught:
        parse(raw)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_after_the_header(content: bytes) -> None:
    """No bytes at all raise anything but ModuleError."""
    with contextlib.suppress(ModuleError):
        parse(b"\0asm\1\0\0\0" + content)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_modules(data: st.DataObject) -> None:
    """A real module, cut or with bytes exchanged, is read or refused by ModuleError."""
    raw = bytearray(data.draw(st.sampled_from([filters.adds_config(), filters.calls_out("c"), sized(500)])))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(8, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModuleError):
        parse(bytes(raw[: data.draw(st.integers(8, len(raw)))]))


@pytest.mark.parametrize(
    "section",
    [
        b"\1" + b"\x60\0\0" * 3_000_000,
        b"\2" + b"\0\0\0\0" * 3_000_000,
        b"\7" + b"\0\0\0" * 3_000_000,
        b"\1" + b"\x60" + b"\xe8\x07" + b"\x7f" * 9_000_000,
        b"\0" * 9_000_000,
    ],
    ids=["types", "imports", "exports", "parameters", "customs"],
)
def test_huge_sections_are_bounded(section: bytes) -> None:
    """Ten megabytes of the cheapest entries end within 3 s and 200 MB."""
    count = bytes([0xC0, 0x8D, 0xB7, 1])
    body = count + section[1:]
    size = bytes((len(body) >> 7 * i) & 0x7F | (0x80 if i < 4 else 0) for i in range(5))
    raw = b"\0asm\1\0\0\0" + (section[:1] + size + body if section[0] else b"\0\1\0" * 3_000_000)
    started = time.process_time()
    with pytest.raises(ModuleError):
        parse(raw)
    assert time.process_time() - started < 3


def test_memory_stays_near_the_size() -> None:
    """A large module with much code and data costs no copies of it."""
    raw = sized(20_000_000, seed=random.randrange(100))
    tracemalloc.start()
    try:
        parse(raw)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def _placing(address: int, size: int, pages: int) -> bytes:
    """A module of many short data segments and one of ``size`` bytes at ``address``."""
    words = "".join(f'(data (i32.const {at}) "{"x" * (1 + at % 200)}")' for at in (0, 63, 64, 200, 8191, 8192, 9000))
    return filters.module(f'{words}(data (i32.const {address}) "{"y" * size}")', memory=f"(memory {pages})")


@pytest.mark.parametrize("pages", [1, 2, 16, 17, 33, 100])
@pytest.mark.parametrize("size", [1, 127, 128, 16_383, 16_384])
def test_segments_at_the_end_of_memory(pages: int, size: int) -> None:
    """A segment that ends with the memory is inside, one byte later it is not, however its address is written."""
    end = pages * 65_536
    for address, outside in ((end - size, False), (end - size + 1, True), (0, False), (-1, True)):
        module = parse(_placing(address, size, pages))
        assert module.stray_data == outside
        assert len(module.data) == 8
        start, stop, placed = module.data[-1]
        assert (module.raw[start:stop], placed) == (b"y" * size, address & 0xFFFFFFFF)


def test_segments_are_told_as_they_are_passed() -> None:
    """What is passed quickly when a module is read is read again, one by one, when it is asked for."""
    draw = random.Random(4)
    wanted = [(draw.randrange(3_000_000), draw.randbytes(draw.choice((0, 1, 5, 130, 20_000)))) for _ in range(300)]
    text = "".join(f'(data (i32.const {at}) "{filters.quoted(content)}")' for at, content in wanted)
    module = parse(filters.module(text, memory="(memory 60)"))
    assert [(address, module.raw[start:end]) for start, end, address in module.data] == wanted
