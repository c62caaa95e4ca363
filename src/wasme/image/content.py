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

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

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
