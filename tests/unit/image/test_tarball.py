"""The packed layer: deterministic where it is written, suspicious where it is read."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.image.shelf import packed
from wasme.errors import UnsupportedImage, WasmeError
from wasme.image import tarball
from wasme.image.content import from_bytes

MODULE = b"\0asm\x01\0\0\0" + bytes(range(256)) * 5
CONFIG = b'{"type":"envoy_proxy"}'


def read(layer: bytes, **more: int) -> tuple[bytes, tarball.Plugin]:
    taken = bytearray()
    plugin = tarball.read(io.BytesIO(layer), taken.extend, **more)
    return bytes(taken), plugin


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_written_layer_is_the_same_always_and_standard() -> None:
    """Two writings give the same bytes; GNU-free tar tools and Python read both files from it, dated 1970."""
    first, second = io.BytesIO(), io.BytesIO()

    digest = tarball.write(from_bytes(MODULE)(0), len(MODULE), CONFIG, first)
    assert tarball.write(from_bytes(MODULE)(0), len(MODULE), CONFIG, second) == digest

    assert first.getvalue() == second.getvalue()
    assert digest == "sha256:" + hashlib.sha256(gzip.decompress(first.getvalue())).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(first.getvalue())) as archive:
        members = {info.name: (info.mtime, info.mode, info.uid, archive.extractfile(info).read()) for info in archive}  # type: ignore[union-attr]
    assert members == {"plugin.wasm": (0, 0o644, 0, MODULE), "runtime-config.json": (0, 0o644, 0, CONFIG)}


def test_written_layer_is_read_back() -> None:
    """What `write` wrote, `read` reads: module, digest, size and config."""
    layer = io.BytesIO()
    tarball.write(from_bytes(MODULE)(0), len(MODULE), CONFIG, layer)

    taken, plugin = read(layer.getvalue())

    assert taken == MODULE
    assert (plugin.module.digest, plugin.module.size) == ("sha256:" + hashlib.sha256(MODULE).hexdigest(), len(MODULE))
    assert plugin.config == CONFIG


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", "opt/", "long/" * 30, "ünï/" + "x" * 120 + "/"])
def test_any_tar_form_and_folder(form: int, folder: str) -> None:
    """The plugin is found by its base name in every form of tar, under names of any length."""
    name = f"{folder}plugin.wasm"
    assert read(packed(("README.md", b"#"), (name, MODULE), form=form))[0] == MODULE


def test_several_gzip_members_are_one_archive() -> None:
    """Parallel packers write many gzip members; what comes after the archive's end is not looked at."""
    archive = gzip.decompress(packed(("plugin.wasm", MODULE)))
    layer = b"".join(gzip.compress(archive[at : at + 700]) for at in range(0, len(archive), 700))

    assert read(layer)[0] == MODULE
    assert read(packed(("plugin.wasm", MODULE)) + b"\0" * 600)[0] == MODULE


def test_neighbours_are_skipped() -> None:
    """Links, devices, folders and strange names beside the plugin are nobody's business."""
    layer = packed(
        special("../../etc/passwd", tarfile.SYMTYPE, "/etc/passwd"),
        special("plugin.wasm/", tarfile.DIRTYPE),
        special("null", tarfile.CHRTYPE),
        ("/absolute", b"x"),
        ("a/plugin.wasm", MODULE),
        special("hard", tarfile.LNKTYPE, "a/plugin.wasm"),
        ("../up", b"x" * 3000),
        ("runtime-config.json", CONFIG),
    )

    taken, plugin = read(layer)

    assert (taken, plugin.config) == (MODULE, CONFIG)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: packed(("other.wasm", MODULE)), r"holds no plugin\.wasm"),
        (packed, r"holds no plugin\.wasm"),
        (lambda: packed(special("plugin.wasm", tarfile.SYMTYPE, "/etc/passwd")), "not a regular file"),
        (lambda: packed(special("plugin.wasm", tarfile.LNKTYPE, "x")), "not a regular file"),
        (lambda: packed(special("plugin.wasm", tarfile.BLKTYPE)), "not a regular file"),
        (lambda: packed(special("plugin.wasm", tarfile.FIFOTYPE)), "not a regular file"),
        (lambda: packed(special("plugin.wasm", b"S")), "not a regular file"),
        (lambda: packed(special("runtime-config.json", tarfile.SYMTYPE, "x"), ("plugin.wasm", b"")), "runtime-config"),
        (lambda: packed(("/plugin.wasm", MODULE)), "unsafe name"),
        (lambda: packed(("../plugin.wasm", MODULE)), "unsafe name"),
        (lambda: packed(("a/../plugin.wasm", MODULE)), "unsafe name"),
        (lambda: packed(("plugin.wasm", MODULE), ("a/plugin.wasm", b"")), r"holds plugin\.wasm twice"),
        (lambda: packed(("plugin.wasm", MODULE), ("plugin.wasm", MODULE)), r"holds plugin\.wasm twice"),
        (lambda: packed(("plugin.wasm", b""), ("runtime-config.json", b" " * (1 << 21))), "the limit is 1048576"),
        (lambda: packed(*[("x", b"")] * 10_001), "more than 10000 files"),
        (lambda: b"", "ends in the middle"),
        (lambda: b"\0asm", "not gzip"),
        (lambda: gzip.compress(b"no tar" * 200), "not a tar archive"),
        (lambda: packed(("plugin.wasm", MODULE))[:200], "ends in the middle"),
        (lambda: gzip.compress(gzip.decompress(packed(("plugin.wasm", MODULE)))[:1000]), "ends in the middle"),
        (lambda: packed(("plugin.wasm", bytes(20 << 20))), "100 times its size"),
    ],
)
def test_refused(layer: Callable[[], bytes], words: str) -> None:
    """A layer that is no plugin, or a trap, is refused in words."""
    with pytest.raises(UnsupportedImage, match=words):
        read(layer())


@pytest.mark.parametrize(
    ("told", "content"),
    [
        (
            {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
            b"1\n0\n9\n".ljust(521, b"\0"),
        ),
        ({"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"}, b"x" * 9),
        ({"GNU.sparse.name": "plugin.wasm"}, b"x"),
    ],
)
def test_sparse_file_by_pax_is_refused(told: dict[str, str], content: bytes) -> None:
    """A plugin whose bytes a pax record would rearrange is no regular file."""
    info = tarfile.TarInfo("plugin.wasm")
    info.pax_headers, info.size = told, len(content)
    archive = info.tobuf(tarfile.PAX_FORMAT) + content + bytes(2048 - len(content))

    with pytest.raises(UnsupportedImage, match="not a regular file"):
        read(gzip.compress(archive))


def test_headers_must_sum_up() -> None:
    """A header whose checksum is wrong by one is refused, as every tar tool does."""
    archive = bytearray(gzip.decompress(packed(("plugin.wasm", MODULE))))
    archive[0:11] = b"plugin.wasn"

    with pytest.raises(UnsupportedImage, match="not a tar archive, or is damaged"):
        read(gzip.compress(bytes(archive)))


def test_damage_is_not_the_end() -> None:
    """What follows the plugin must be a header or the end; tarfile alone would take anything for the end."""
    archive = gzip.decompress(packed(("plugin.wasm", MODULE)))[: 512 + 1536]

    assert read(gzip.compress(archive))[0] == MODULE
    with pytest.raises(UnsupportedImage, match="not a tar archive, or is damaged"):
        read(gzip.compress(archive + b"x" * 512))
    with pytest.raises(UnsupportedImage, match="ends in the middle"):
        read(gzip.compress(archive + b"x"))


def test_layer_as_docker_and_gnu_tar_write_it() -> None:
    """Folders come first, names start with ``./``, pax tells times and attributes, git its commit of all files."""
    timed = tarfile.TarInfo("./opt/plugin.wasm")
    timed.size, timed.mtime = len(MODULE), 1700000000.123456789
    timed.pax_headers = {"SCHILY.xattr.security.capability": "\1\0\0\2", "LIBARCHIVE.creationtime": "1700000000"}
    folders = b"".join(special(name, tarfile.DIRTYPE).tobuf(tarfile.PAX_FORMAT) for name in ("./", "./opt/"))
    said_of_all = tarfile.TarInfo.create_pax_global_header({"comment": "0" * 40})

    layer = gzip.compress(said_of_all + folders + timed.tobuf(tarfile.PAX_FORMAT) + MODULE + bytes(2048))

    assert read(layer)[0] == MODULE


def test_huge_extended_header_is_refused_unread() -> None:
    """An extended header that promises a gigabyte is refused by its size; tarfile would read it into memory."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30

    with pytest.raises(UnsupportedImage, match="an extended header of more than 8192 bytes"):
        read(gzip.compress(info.tobuf()))


def test_limit_on_what_comes_out() -> None:
    """More than the limit is refused even where it packs badly."""
    layer = packed(("README", random.Random(1).randbytes(90_000)), ("plugin.wasm", MODULE))

    with pytest.raises(UnsupportedImage, match="more than 50000 bytes"):
        read(layer, max_unpacked=50_000)
    assert read(layer, max_unpacked=120_000)[0] == MODULE


def test_a_bomb_costs_no_memory() -> None:
    """A layer of 200 kB that would unpack to 200 MB is refused within a few megabytes."""
    target = io.BytesIO()
    with gzip.GzipFile(fileobj=target, mode="wb", compresslevel=1) as packing:
        info = tarfile.TarInfo("plugin.wasm")
        info.size = 200 << 20
        packing.write(info.tobuf())
        for _ in range(200):
            packing.write(bytes(1 << 20))
    layer = target.getvalue()
    assert len(layer) < 2 << 20

    tracemalloc.start()
    with pytest.raises(UnsupportedImage, match="100 times its size"):
        tarball.read(io.BytesIO(layer))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 << 20


@given(st.binary(max_size=2000), st.booleans())
def test_any_bytes_are_refused_in_words(content: bytes, as_gzip: bool) -> None:
    """Random bytes, packed or not, raise nothing but a WasmeError."""
    with pytest.raises(WasmeError):
        read(gzip.compress(content) if as_gzip else content)


@settings(max_examples=300)
@given(st.data())
def test_damaged_archives_read_or_are_refused(data: st.DataObject) -> None:
    """A real archive with some bytes changed is read, or refused in words; never anything else."""
    form = data.draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    name = data.draw(st.sampled_from(["plugin.wasm", "x/" * 60 + "plugin.wasm", "é" * 60 + "/plugin.wasm"]))
    archive = bytearray(gzip.decompress(packed((name, MODULE[:700]), ("runtime-config.json", CONFIG), form=form)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 4 * 512 - 1))
        archive[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        for start in range(0, 4 * 512, 512):  # make headers sum up again, so that their fields are looked at
            header = archive[start : start + 512]
            archive[start + 148 : start + 156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)

    try:
        taken, plugin = read(gzip.compress(bytes(archive), 1))
    except WasmeError:
        return
    assert plugin.module.size == len(taken)


_NAMES = st.sampled_from(["plugin.wasm", "a/plugin.wasm", "runtime-config.json", "README.md", "x" * 150])


@given(
    st.lists(
        st.tuples(_NAMES, st.binary(max_size=1500)), max_size=5, unique_by=lambda file: file[0].rpartition("/")[2]
    ),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_reads_what_pythons_tarfile_reads(files: list[tuple[str, bytes]], form: int) -> None:
    """Whatever files an honest archive holds, the plugin and config are those that Python's tarfile finds."""
    layer = packed(*files, form=form)
    found = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for info in archive:
            found[info.name.rpartition("/")[2]] = archive.extractfile(info).read()  # type: ignore[union-attr]

    if "plugin.wasm" not in found:
        with pytest.raises(UnsupportedImage):
            read(layer)
        return
    taken, plugin = read(layer)
    assert taken == found["plugin.wasm"]
    assert plugin.config == found.get("runtime-config.json")
