"""Bytes that mean harm: everything here must end, soon and small, in facts or in one clear finding."""

from __future__ import annotations

import contextlib
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import filters
from wasme.errors import ModuleError
from wasme.wasm import proxies, purpose
from wasme.wasm.check import examine
from wasme.wasm.module import parse
from wasme.wasm.origin import origin

SEEDS = sorted({case.make() for case in filters.CORPUS}, key=lambda raw: (len(raw), raw))


def examined(raw: bytes) -> list[str]:
    """Every reader of modules over these bytes; the errors' codes."""
    findings, facts = examine(raw)
    for each in findings:
        assert each.text
        assert each.hint
        assert "\n" not in each.text + each.hint
    if facts is not None:
        proxies.needs(facts)
        purpose.host_calls(facts)
        purpose.callbacks(facts)
        origin(facts)
        facts.initial_runs()
        assert sum(each.size for each in facts.sections) <= len(raw)
    with contextlib.suppress(ModuleError):
        assert parse(raw).size == len(raw)
    return [each.code for each in findings if each.severity == "error"]


@pytest.mark.parametrize("raw", [filters.adds_config(), filters.calls_out("auth"), filters.module()])
def test_cut_at_every_byte(raw: bytes) -> None:
    """A module cut inside a section is refused, with one finding."""
    whole = {each.end for each in parse(raw).sections}
    for end in range(len(raw)):
        if end not in whole:
            assert len(examined(raw[:end])) == 1, end
    assert examined(raw) == []


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_mutations(data: st.DataObject) -> None:
    """Good and broken modules with bytes changed, taken out, doubled or put in are examined without an exception."""
    raw = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(raw)))
        end = min(len(raw), at + data.draw(st.integers(0, 8)))
        piece = data.draw(st.sampled_from((b"", b"\xff" * 5, b"\x80\x80\x80\x80\x00", bytes(raw[at:end]) * 2)))
        raw[at:end] = data.draw(st.one_of(st.just(piece), st.binary(max_size=4)))
    examined(bytes(raw))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 14), st.binary(max_size=40)), max_size=8))
def test_sections_of_anything(sections: list[tuple[int, bytes]]) -> None:
    """Sections of any number with any content, in any order, are examined without an exception."""
    body = b"".join(bytes([id_, len(content)]) + content for id_, content in sections)
    examined(b"\0asm\1\0\0\0" + body)


def leb(value: int) -> bytes:
    """An unsigned LEB128 number of five bytes."""
    return bytes((value >> 7 * i) & 0x7F | (0x80 if i < 4 else 0) for i in range(5))


def section(id_: int, content: bytes) -> bytes:
    return bytes([id_]) + leb(len(content)) + content


@pytest.mark.parametrize(
    "body",
    [
        section(9, leb(200_000) + b"\1\0\0" * 200_000),
        section(9, leb(1) + b"\1\0" + leb(1_000_000) + bytes(1_000_000)),
        section(6, leb(200_000) + b"\x7f\0\x41\0\x0b" * 200_000),
        section(6, leb(1) + b"\x7f\0" + b"\x41\0" * 1_000_000 + b"\x0b"),
        section(5, leb(200_000) + b"\0\0" * 200_000),
        section(4, leb(200_000) + b"\x70\0\0" * 200_000),
        section(5, b"\1\0\1") + section(11, leb(200_000) + b"\0\x41\0\x0b\0" * 200_000),
        section(1, leb(1) + b"\x4e" + leb(200_000) + b"\x60\0\0" * 200_000),
        section(0, b"\x09producers" + leb(100) + (b"\1a" + leb(1000) + b"\1b\1c" * 1000) * 100),
        section(0, b"\4name" + (b"\1" + leb(10_005) + leb(5_000) + b"\0\0" * 5_000) * 100),
    ],
    ids=[
        "segments", "elements", "globals", "one global", "memories", "tables", "data", "types", "producers", "names"
    ],
)  # fmt: skip
def test_the_most_of_everything(body: bytes) -> None:
    """The most that each section may hold, and more, is read within 3 s, in 100 bytes of memory for each byte of it."""
    raw = b"\0asm\1\0\0\0" + body
    started = time.process_time()
    examine(raw)
    assert time.process_time() - started < 3
    tracemalloc.start()
    try:
        examine(raw)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(raw)
    finally:
        tracemalloc.stop()


def test_more_names_than_anyone_needs() -> None:
    """Fifteen million names are not all read, though Envoy would."""
    raw = b"\0asm\1\0\0\0" + section(0, b"\4name\1" + leb(30_000_005) + leb(15_000_000) + bytes(30_000_000))
    started = time.process_time()
    examine(raw)
    assert time.process_time() - started < 3


def test_names_of_one_letter_in_many_imports() -> None:
    """A hundred thousand imports that Envoy does not know: each is a finding, and it takes no longer than it should."""
    entry = b"\1a\1b\0\0"
    raw = b"\0asm\1\0\0\0" + section(1, b"\1\x60\0\0") + section(2, leb(100_000) + entry * 100_000)
    raw += section(3, leb(1) + b"\0")
    raw += section(7, b"\1\x17proxy_abi_version_0_2_1\0" + leb(100_000)) + section(10, leb(1) + b"\2\0\x0b")
    started = time.process_time()
    findings, _ = examine(raw)
    assert time.process_time() - started < 4
    assert sum(each.code == "import-missing" for each in findings) == 100_000
