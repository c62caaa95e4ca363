"""Layers whose headers are made to hang, to fill the memory or to break tarfile."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.errors import UnsupportedImage, WasmeError
from wasme.image import tarball


def read(layer: bytes) -> tuple[bytes, tarball.Plugin]:
    taken = bytearray()
    plugin = tarball.read(io.BytesIO(layer), taken.extend)
    return bytes(taken), plugin


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    return info


def numbered(kind: bytes, size: int, name: str = "x") -> bytes:
    """A header of a size that octal digits cannot tell."""
    info = special(name, kind)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "archive",
    [
        numbered(b"0", 1 << 80) + bytes(512),
        numbered(b"0", -(1 << 40)) + bytes(512),
        numbered(b"x", -(1 << 40)) + bytes(512),
        numbered(b"L", -512) + bytes(512),
        numbered(b"0", 1 << 80, "plugin.wasm") + bytes(512),
        numbered(b"0", -512, "plugin.wasm") + bytes(512),
        tarfile.TarInfo.create_pax_global_header({"size": "4096", "path": "plugin.wasm"})
        + numbered(b"0", 9)
        + bytes(8192),
        b"".join(numbered(b"x", 0) for _ in range(5000)),
    ],
    ids=["far", "back", "pax-back", "long-back", "far-plugin", "back-plugin", "size-of-all", "nested"],
)
def test_impossible_sizes_are_refused_at_once(archive: bytes) -> None:
    """A size beyond any file, before its start, or nested without end neither hangs nor goes round in circles."""
    with pytest.raises(UnsupportedImage) as refused:
        read(gzip.compress(archive))
    assert "ends in the middle" not in refused.value.message or archive[124] == 0o200, "gone back over, it would be"


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    """A header whose extension holds ``records``."""
    info = special("x", kind)
    info.size = len(records)
    return info.tobuf() + records + bytes(-len(records) % 512)


PLAIN = special("y", b"0").tobuf()
ENDLESS_MAP = tarfile.TarInfo("x")
ENDLESS_MAP.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
SPARSE = bytearray(special("x", tarfile.GNUTYPE_SPARSE).tobuf())
SPARSE[482] = 1  # more of the map follows
SPARSE[148:156] = b"%06o\0 " % (sum(SPARSE) - sum(SPARSE[148:156]) + 8 * 32)


@pytest.mark.parametrize(
    "archive",
    [
        pax(b"2 " * 30_000 + b"=\n"),
        pax(b"1" * 60_000),
        (pax(b"2 " * 3_500 + b"=\n") + PLAIN) * 20,
        b"".join(
            pax(b"".join(b"14 %09d=\n" % at for at in range(n, n + 500)), tarfile.XGLTYPE) + PLAIN
            for n in range(0, 250_000, 500)
        ),
        pax(b"".join(b"10 %05d=\n" % at for at in range(700)), tarfile.XGLTYPE) + PLAIN * 9_000,
        ENDLESS_MAP.tobuf(tarfile.PAX_FORMAT) + b"99999999\n" + b"1\n" * 1_000_000,
        ENDLESS_MAP.tobuf(tarfile.PAX_FORMAT) + b"99999999\n" + bytes(503),
        bytes(SPARSE) + b"\1" * 2_000_000,
        bytes(SPARSE) + bytes(100),
        numbered(b"L", -1024) + bytes(32 << 20),
        numbered(b"0", -1024) + bytes(32 << 20),
    ],
    ids=[
        "keys",
        "digits",
        "many",
        "many-of-all",
        "of-all",
        "map",
        "cut-map",
        "old-map",
        "cut-old-map",
        "pax-back",
        "back",
    ],
)
def test_hostile_headers_cost_little(archive: bytes) -> None:
    """Headers made to be kept, copied and searched again and again are refused, or read in little memory."""
    layer = gzip.compress(archive, 0)  # the proportion to the packed size is not what refuses it

    tracemalloc.start()
    with pytest.raises(UnsupportedImage):
        read(layer)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 32 << 20


def test_extended_headers_count_as_files() -> None:
    """Extended headers just below their bound are not free: a layer holds as many as would be ten thousand files."""
    with pytest.raises(UnsupportedImage, match="extended headers that count for as many"):
        read(gzip.compress((pax(bytes(7000)) + PLAIN) * 700, 0))


_KEYS = ["path", "size", "mtime", "linkpath", "hdrcharset", "comment", "GNU.sparse.major", "GNU.sparse.minor"]
_KEYS += ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.name", "GNU.sparse.offset"]
_VALUES = st.sampled_from(["", "0", "1", "9", "-9", "1,2", "x", "nan", "9" * 5000, "BINARY", "plugin.wasm"]) | st.text()


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"x", b"g", b"X", b"L", b"K", b"S", b"0", b"5"]),
            st.lists(st.tuples(st.sampled_from(_KEYS), _VALUES, st.integers(-2, 2)), max_size=4) | st.binary(),
            st.sampled_from(["x", "plugin.wasm"]),
        ),
        max_size=6,
    )
)
def test_any_extended_headers_read_or_are_refused(
    entries: list[tuple[bytes, list[tuple[str, str, int]] | bytes, str]],
) -> None:
    """Extended headers of any content, in any order, with lengths that are off, raise nothing but a WasmeError."""
    archive = b""
    for kind, told, name in entries:
        content = told if isinstance(told, bytes) else b""
        for key, value, off in told if isinstance(told, list) else []:
            record = f" {key}={value}\n".encode()
            content += b"%d" % (len(record) + 2 + off) + record
        info = special(name, kind)
        info.size = len(content)
        archive += info.tobuf() + content + bytes(-len(content) % 512)

    with contextlib.suppress(WasmeError):
        taken, plugin = read(gzip.compress(archive + bytes(1024), 1))
        assert plugin.module.size == len(taken)
