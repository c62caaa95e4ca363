"""The layer of layout "compat": a gzipped tar holding ``plugin.wasm`` and, usually, ``runtime-config.json``.

Writing is deterministic: the same module and config give the same bytes (with the same zlib). Reading is for layers
that strangers made, so nothing is ever extracted by name. tarfile walks the archive, forward only, in constant memory:

* only the two files are taken, by their base name, as Istio does; everything else is skipped;
* one of them as a link or device, with an absolute name or with ``..``, or twice, is an error;
* what comes out is capped absolutely, and in proportion to what went in (a gzip bomb is neither);
* extended headers (long names) are bounded; a damaged header is not taken for the end.
"""

from __future__ import annotations

import contextlib
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
_MAX_ENTRIES = 10_000  # blocks of headers
_MAX_EXTENDED = 8 << 10
"""Bytes of one header with its extensions: the longest path, and some. Before 3.11.10 and 3.12.6, tarfile's time and
memory for an extended header grow with its size squared."""
_BLOCK = 512
_CHUNK = 256 << 10


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
    unpacked = _Unpacked(layer, MAX_UNPACKED if max_unpacked is None else max_unpacked)
    archive = _open(unpacked)
    found: dict[str, Plugin] = {}
    for member in _members(archive, unpacked):
        base = member.name.rpartition("/")[2]
        if base in {PLUGIN, runtime_config.FILE_NAME} and not member.isdir():
            _check(member, base, found)
            found[base] = _take(_content(archive, member, unpacked), base, member.size, sink)
    if PLUGIN not in found:
        raise UnsupportedImage(f"the image's last layer holds no {PLUGIN}", hint="is this an Envoy filter at all?")
    config = found.get(runtime_config.FILE_NAME)
    return Plugin(found[PLUGIN].module, config.config if config else None)


def _open(unpacked: _Unpacked) -> tarfile.TarFile:
    """Not as a stream ("r|"): tarfile would read ahead, and not stop at the end when it passes over a file."""
    import tarfile

    with unpacked.header():
        return tarfile.open(mode="r:", fileobj=cast("IO[bytes]", unpacked), encoding="utf-8")


def _members(archive: tarfile.TarFile, unpacked: _Unpacked) -> Iterator[tarfile.TarInfo]:
    blocks = unpacked.asked // _BLOCK
    while True:
        with unpacked.header():
            member = archive.next()
        if member is None:
            _require_end(unpacked)
            return
        blocks += unpacked.asked // _BLOCK
        if blocks > _MAX_ENTRIES:
            raise UnsupportedImage(
                f"the layer holds more than {_MAX_ENTRIES} files, or extended headers that count for as many"
            )
        archive.members.clear()  # type: ignore[attr-defined] # else it keeps all it met
        archive.pax_headers = {}  # else what is said of all files is copied into each of them
        yield member


def _require_end(unpacked: _Unpacked) -> None:
    """After the first file, tarfile takes a damaged header for the end; the end is zeros, or simply the end."""
    if unpacked.last.strip(b"\0"):
        raise unpacked.refusal()


def _check(member: tarfile.TarInfo, base: str, found: dict[str, Plugin]) -> None:
    sparse = member.issparse() or any(key.startswith("GNU.sparse") for key in member.pax_headers)
    if sparse or not member.isreg():
        raise UnsupportedImage(f"{base} in the layer is not a regular file")
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise UnsupportedImage(f"{base} in the layer has an unsafe name: {member.name[:200]!r}")
    if base in found:
        raise UnsupportedImage(f"the layer holds {base} twice, so it is not clear which one is meant")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, unpacked: _Unpacked) -> Iterator[bytes]:
    with unpacked.in_words():
        opened = cast("IO[bytes]", archive.extractfile(member))
    while True:
        with unpacked.in_words():
            part = opened.read(_CHUNK)
        if not part:
            return
        yield part


def _take(content: Iterator[bytes], base: str, size: int, sink: Callable[[bytes], object] | None) -> Plugin:
    if base != PLUGIN and size > runtime_config.MAX_BYTES:
        raise UnsupportedImage(f"{base} in the layer has {size} bytes; the limit is {runtime_config.MAX_BYTES}")
    import hashlib

    hashed = hashlib.sha256()
    kept: list[bytes] = []
    taken = 0
    for part in content:
        hashed.update(part)
        taken += len(part)
        if base != PLUGIN:
            kept.append(part)
        elif sink:
            sink(part)
    digest = f"sha256:{hashed.hexdigest()}"
    return Plugin(Descriptor(media_type=media_types.WASM, digest=digest, size=taken), b"".join(kept))


class _Tee:
    """A file that hands what is written to two takers."""

    def __init__(self, *takers: Callable[[bytes], object]) -> None:
        self._takers = takers

    def write(self, content: bytes) -> int:
        for taker in self._takers:
            taker(content)
        return len(content)


class _Unpacked:
    """The archive's bytes as a file that only goes forward, counted on both sides of the decompressor."""

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
        self._in_header = False
        self._ended = False
        self.asked = 0
        """Bytes that were asked for to read the last header, with its extensions."""
        self.last = b""
        """What was read last."""

    @contextlib.contextmanager
    def header(self) -> Iterator[None]:
        """What is read inside is one header, with its extensions, and bounded: tarfile would keep any size of it."""
        self._in_header, self.asked = True, 0
        with self.in_words():
            yield
        self._in_header = False

    @contextlib.contextmanager
    def in_words(self) -> Iterator[None]:
        """Make what tarfile raises for damaged archives a refusal."""
        import tarfile

        try:
            yield
        except (tarfile.TarError, ValueError, IndexError):
            raise self.refusal() from None

    def refusal(self) -> UnsupportedImage:
        """Why the archive cannot be read."""
        if self._ended:
            return UnsupportedImage("the layer's archive ends in the middle of a file")
        return UnsupportedImage("the layer is not a tar archive, or is damaged")

    def tell(self) -> int:
        """Where the next byte lies in the archive."""
        return self._unpacked - len(self._ahead)

    def seek(self, position: int) -> None:
        """Pass over the bytes before ``position``."""
        missing = position - self.tell()
        if missing < 0:
            raise self.refusal()
        while missing:
            part = self._read(min(missing, _CHUNK))
            if not part:
                raise self.refusal()
            missing -= len(part)

    def read(self, size: int) -> bytes:
        """``size`` bytes, or fewer at the end of the archive."""
        if size < 0:
            raise self.refusal()
        if self._in_header:
            self.asked += size
            if self.asked > _MAX_EXTENDED:
                raise UnsupportedImage(f"the layer has an extended header of more than {_MAX_EXTENDED} bytes")
        self.last = self._read(size)
        return self.last

    def _read(self, size: int) -> bytes:
        parts = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        missing = size - len(parts[0])
        while missing and (part := self._more()):
            parts.append(part[:missing])
            self._ahead = part[missing:]
            missing -= len(parts[-1])
        self._ended = bool(missing)
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
