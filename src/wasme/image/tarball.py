"""The layer of layout "compat": a gzipped tar holding ``plugin.wasm`` and, usually, ``runtime-config.json``.

Writing is deterministic: the same module and config give the same bytes (with the same zlib). Reading is for layers
that strangers made, so nothing is ever extracted by name. The archive is walked as a stream in constant memory:

* only the two files are taken, by their base name, as Istio does; everything else is skipped;
* one of them as a link or device, with an absolute name or with ``..``, or twice, is an error;
* what comes out is capped absolutely, and in proportion to what went in (a gzip bomb is neither);
* headers must carry their checksum; extended headers (long names) are bounded.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from wasme.errors import UnsupportedImage
from wasme.image import media_types, runtime_config
from wasme.image.content import Readable
from wasme.image.descriptor import Descriptor

if TYPE_CHECKING:
    import tarfile

PLUGIN = "plugin.wasm"
MAX_UNPACKED = 256 << 20
"""Istio's and Envoy Gateway's limit for a module; in bytes, for the whole unpacked layer."""
MAX_RATIO = 100
_RATIO_FROM = 16 << 20  # small layers may pack as well as they can
_MAX_ENTRIES = 10_000
_MAX_EXTENDED = 64 << 10  # bytes of one extended header
_BLOCK = 512
_CHUNK = 256 << 10

_REGULAR = frozenset(b"\x0007")
_WITHOUT_CONTENT = frozenset(b"123456")
_DIRECTORY, _SPARSE = ord("5"), ord("S")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = ord("L"), ord("K"), ord("x"), ord("g")


@dataclass(frozen=True, slots=True)
class Plugin:
    """What a layer holds: the module by digest and size, and the runtime config's bytes, or None."""

    module: Descriptor
    config: bytes | None


def write(module: AbstractContextManager[Readable], size: int, config: bytes, target: IO[bytes]) -> str:
    """Write the layer to ``target``, everything in it dated 1970.

    Returns:
        The digest of the archive before compression, which a container image's configuration names.
    """
    import gzip
    import hashlib
    import tarfile

    hashed = hashlib.sha256()
    # GzipFile writes the same header everywhere, which gzip.compress does not.
    with gzip.GzipFile("", "wb", 6, target, 0) as packed:
        tee = cast("IO[bytes]", _Tee(packed.write, hashed.update))
        with tarfile.open(mode="w|", fileobj=tee, format=tarfile.USTAR_FORMAT, bufsize=_CHUNK) as archive:
            with module as source:
                _add(archive, PLUGIN, size, source)
            _add(archive, runtime_config.FILE_NAME, len(config), io.BytesIO(config))
    return f"sha256:{hashed.hexdigest()}"


def _add(archive: tarfile.TarFile, name: str, size: int, source: Readable) -> None:
    import tarfile

    info = tarfile.TarInfo(name)  # mode 0644, owner 0, dated 1970
    info.size = size
    archive.addfile(info, cast("IO[bytes]", source))


def read(layer: Readable, sink: Callable[[bytes], object] | None = None, *, max_unpacked: int | None = None) -> Plugin:
    """Find the plugin in a layer.

    Args:
        layer: the gzipped tar, to be read once.
        sink: takes the module's bytes, in order, as they come.
        max_unpacked: bytes after which the layer counts as hostile; None is ``MAX_UNPACKED``.

    Raises:
        UnsupportedImage: the layer is not what the specification says, or is a trap.
    """
    archive = _Unpacked(layer, MAX_UNPACKED if max_unpacked is None else max_unpacked)
    found: dict[str, Plugin] = {}
    for name, kind, size in _entries(archive):
        base = name.rstrip("/").rpartition("/")[2]
        if kind == _DIRECTORY or base not in {PLUGIN, runtime_config.FILE_NAME}:
            archive.skip(_padded(size))
            continue
        _check(name, base, kind, found)
        found[base] = _take(archive, base, size, sink)
        archive.skip(_padded(size) - size)
    if PLUGIN not in found:
        raise UnsupportedImage(f"the image's last layer holds no {PLUGIN}", hint="is this an Envoy filter at all?")
    config = found.get(runtime_config.FILE_NAME)
    return Plugin(found[PLUGIN].module, config.config if config else None)


def _check(name: str, base: str, kind: int, found: dict[str, Plugin]) -> None:
    if kind not in _REGULAR:
        raise UnsupportedImage(f"{base} in the layer is not a regular file")
    if name.startswith("/") or ".." in name.split("/"):
        raise UnsupportedImage(f"{base} in the layer has an unsafe name: {name[:200]!r}")
    if base in found:
        raise UnsupportedImage(f"the layer holds {base} twice, so it is not clear which one is meant")


def _take(archive: _Unpacked, base: str, size: int, sink: Callable[[bytes], object] | None) -> Plugin:
    if base != PLUGIN and size > runtime_config.MAX_BYTES:
        raise UnsupportedImage(f"{base} in the layer has {size} bytes; the limit is {runtime_config.MAX_BYTES}")
    import hashlib

    hashed = hashlib.sha256()
    kept: list[bytes] = []
    missing = size
    while missing:
        part = archive.read(min(missing, _CHUNK))
        missing -= len(part)
        hashed.update(part)
        if base != PLUGIN:
            kept.append(part)
        elif sink:
            sink(part)
    digest = f"sha256:{hashed.hexdigest()}"
    return Plugin(Descriptor(media_type=media_types.WASM, digest=digest, size=size), b"".join(kept))


class _Tee:
    """A file that hands what is written to two takers."""

    def __init__(self, *takers: Callable[[bytes], object]) -> None:
        self._takers = takers

    def write(self, content: bytes) -> int:
        for taker in self._takers:
            taker(content)
        return len(content)


@dataclass(slots=True)
class _Extended:
    """What an extended header says about the entry after it."""

    name: str | None = None
    size: int | None = None
    sparse: bool = False


def _entries(archive: _Unpacked) -> Iterator[tuple[str, int, int]]:
    """Name, kind and content size of each entry; whoever iterates reads or skips the padded content."""
    ahead = _Extended()
    for _ in range(_MAX_ENTRIES):
        header = archive.read_or_end(_BLOCK)
        if not header.strip(b"\0"):
            return  # the end: of zeros by the rule, or simply the end
        if len(header) != _BLOCK or not _sums_up(header):
            raise UnsupportedImage("the layer is not a tar archive, or is damaged")
        kind, size = header[156], _number(header[124:136])
        if kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL}:
            if size > _MAX_EXTENDED:
                raise UnsupportedImage(
                    f"the layer has an extended header of {size} bytes; the limit is {_MAX_EXTENDED}"
                )
            content = archive.read(_padded(size))[:size]
            if kind == _LONG_NAME:
                ahead.name = _string(content)
            elif kind == _PAX:
                _apply(content, ahead)
            continue  # global headers and long link names say nothing about the two files
        if ahead.size is not None:
            size = ahead.size
        name = ahead.name if ahead.name is not None else _name(header)
        yield name, _SPARSE if ahead.sparse else kind, 0 if kind in _WITHOUT_CONTENT else size
        ahead = _Extended()
    raise UnsupportedImage(f"the layer holds more than {_MAX_ENTRIES} files")


def _apply(records: bytes, ahead: _Extended) -> None:
    """Read pax records, ``LENGTH KEY=VALUE\\n`` one after another."""
    while records:
        digits, space, _ = records.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 7 else 0
        record = records[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not space or not equals or not value.endswith(b"\n") or length > len(records):
            raise UnsupportedImage("the layer has an extended header that cannot be read")
        value = value[:-1]
        if key == b"path":
            ahead.name = _string(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 15:
                raise UnsupportedImage("the layer has a file of no readable size")
            ahead.size = int(value)
        elif key.startswith(b"GNU.sparse"):
            ahead.sparse = True
        records = records[length:]


def _sums_up(header: bytes) -> bool:
    told = _number(header[148:156])
    rest = header[:148] + b" " * 8 + header[156:]
    return told in {sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest)}


def _number(field: bytes) -> int:
    """A tar number: octal text, or GNU's big-endian binary."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    if text.strip(b"01234567"):
        raise UnsupportedImage("the layer is not a tar archive, or is damaged")
    return int(text or b"0", 8)


def _name(header: bytes) -> str:
    name = _string(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:
        return f"{_string(header[345:500])}/{name}"
    return name


def _string(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


class _Unpacked:
    """The archive's bytes, counted on both sides of the decompressor."""

    def __init__(self, layer: Readable, limit: int) -> None:
        self._layer = layer
        self._limit = limit
        self._packed = 0
        self._unpacked = 0
        self._ahead = b""
        import zlib

        self._new_member = functools.partial(zlib.decompressobj, wbits=31)
        self._inflate = self._new_member()
        self._pending = b""  # compressed bytes not yet taken

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        content = self.read_or_end(size)
        if len(content) != size:
            raise UnsupportedImage("the layer's archive ends in the middle of a file")
        return content

    def skip(self, size: int) -> None:
        """Pass over ``size`` bytes."""
        while size:
            size -= len(self.read(min(size, _CHUNK)))

    def read_or_end(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the archive."""
        parts = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        missing = size - len(parts[0])
        while missing and (part := self._more()):
            parts.append(part[:missing])
            self._ahead = part[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        """Some unpacked bytes; b"" at the end. Several gzip members in a row are one stream."""
        import zlib

        try:
            while True:
                if self._inflate.eof:
                    self._pending = self._inflate.unused_data or self._fill()
                    if not self._pending:
                        return b""
                    self._inflate = self._new_member()
                if not self._pending:
                    self._pending = self._fill()
                    if not self._pending:
                        raise UnsupportedImage("the layer ends in the middle of its compressed data")
                part = self._inflate.decompress(self._pending, _CHUNK)
                self._pending = self._inflate.unconsumed_tail
                if part:
                    self._count(len(part))
                    return part
        except zlib.error as error:
            raise UnsupportedImage(f"the layer is not gzip: {error}") from None

    def _fill(self) -> bytes:
        part = self._layer.read(_CHUNK)
        self._packed += len(part)
        return part

    def _count(self, size: int) -> None:
        self._unpacked += size
        if self._unpacked > self._limit:
            raise UnsupportedImage(f"the layer unpacks to more than {self._limit} bytes")
        if self._unpacked > max(_RATIO_FROM, self._packed * MAX_RATIO):
            raise UnsupportedImage(f"the layer unpacks to more than {MAX_RATIO} times its size")
