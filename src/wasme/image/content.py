"""How content moves: four protocols of one method each, and ``copy`` between any two places that have them.

A place is a local store, a remote repository, or an image held in memory. Content is opened at an offset, so whoever
already holds the first bytes of a blob (a cut-off download, an upload session) asks for the missing part only:

* ``Fetcher.fetch(descriptor, offset)`` opens the bytes from ``offset`` on;
* ``Pusher.push(descriptor, opener)`` takes what it lacks from ``opener(offset)`` and does nothing if it has it all;
* ``Resolver.resolve(reference)`` says which manifest a name stands for now;
* ``Tagger.tag(descriptor, reference)`` makes a name stand for a manifest.

Every Pusher verifies size and digest before the content can be seen under its name. A Fetcher promises nothing.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from wasme.errors import ContentMismatch

if TYPE_CHECKING:
    from pathlib import Path

    from wasme.image.descriptor import Descriptor
    from wasme.image.reference import Reference


class Readable(Protocol):
    """What ``fetch`` opens: ``read(n)`` gives at most n bytes, and b"" at the end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; b"" at the end."""
        ...


Opener = Callable[[int], AbstractContextManager[Readable]]
"""Opens one blob's content from an offset in bytes."""


class Fetcher(Protocol):
    """A place content comes from."""

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[Readable]:
        """Open the content from ``offset`` on."""
        ...


class Pusher(Protocol):
    """A place content goes to."""

    def push(self, descriptor: Descriptor, opener: Opener) -> None:
        """Hold the content, verified; what is there already is not asked for again."""
        ...


class Resolver(Protocol):
    """A place that knows names."""

    def resolve(self, reference: Reference) -> Descriptor:
        """The manifest that ``reference`` stands for now."""
        ...


class Tagger(Protocol):
    """A place that takes names."""

    def tag(self, descriptor: Descriptor, reference: Reference) -> None:
        """Make ``reference`` stand for the manifest, which is there already."""
        ...


class Source(Fetcher, Resolver, Protocol):
    """Where an image is copied from."""


class Target(Pusher, Tagger, Protocol):
    """Where an image is copied to."""


@runtime_checkable
class Leased(Protocol):
    """A place that frees what nothing names, and can be asked to wait with that."""

    def writing(self) -> AbstractContextManager[None]:
        """For as long as the block runs, blobs without a name are kept."""
        ...


def from_bytes(content: bytes) -> Opener:
    """Opens content that is in memory."""

    def open_at(offset: int) -> AbstractContextManager[Readable]:
        stream = io.BytesIO(content)
        stream.seek(offset)
        return stream

    return open_at


def from_file(path: Path) -> Opener:
    """Opens a file's content; OSError where it cannot."""

    def open_at(offset: int) -> AbstractContextManager[Readable]:
        stream = path.open("rb")
        stream.seek(offset)
        return stream

    return open_at


class Verified:
    """Reads through to the end of a blob and vouches for it: whoever got b"" from ``read`` has the promised content.

    Args:
        source: the blob, opened at its beginning.
        descriptor: what it must be.
    """

    def __init__(self, source: Readable, descriptor: Descriptor) -> None:
        import hashlib

        self._source = source
        self._descriptor = descriptor
        self._hashed = hashlib.new(descriptor.algorithm)
        self._size = 0

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes.

        Raises:
            ContentMismatch: more bytes than promised arrived, or at the end: fewer, or others.
        """
        part = self._source.read(size)
        self._size += len(part)
        self._hashed.update(part)
        promised = self._descriptor
        if self._size > promised.size:
            raise ContentMismatch(f"{promised.digest}: more than the promised {promised.size} bytes arrived")
        if not part and size:
            if self._size < promised.size:
                raise ContentMismatch(
                    f"{promised.digest}: {self._size} bytes arrived, {promised.size} were promised",
                )
            found = f"{promised.algorithm}:{self._hashed.hexdigest()}"
            if found != promised.digest:
                raise ContentMismatch(f"the content promised as {promised.digest} is {found}")
        return part

    def drain(self) -> None:
        """Read what is left, so that the whole is verified."""
        while self.read(256 << 10):
            pass
