"""What is explained and judged: a module, and the image around it, as bytes of bounded size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from wasme.errors import InputError
from wasme.wasm.finding import Finding, error

if TYPE_CHECKING:
    from typing import BinaryIO

    from wasme.image.layouts import FilterImage

LARGEST = 256 << 20
"""Bytes of a module that are read at the most: what meshes pull, too."""


class Subject(NamedTuple):
    """What is to be explained.

    Attributes:
        name: the image's full reference, or the file's path as it was typed.
        source: where it was found.
        module: the module's bytes; b"" where there are more than are read.
        size: how many there are; of a stream that goes on beyond ``LARGEST``, how many were seen.
        path: the module's file, where there is one that Envoy can load.
        image: the image around it; None for a file.
        platform: of an image chosen from an index, the (os, architecture) it stands there for.
    """

    name: str
    source: Literal["file", "stdin", "store", "folder", "registry"]
    module: bytes
    size: int
    path: Path | None = None
    image: FilterImage | None = None
    platform: tuple[str, str] = ("", "")

    @property
    def unread(self) -> Finding | None:
        """Why the module was not read, if it was not."""
        if self.size <= LARGEST:
            return None
        size = f"more than {LARGEST}" if self.source == "stdin" else str(self.size)
        return error(
            "too-large",
            f"the module has {size} bytes",
            f"no more than {LARGEST >> 20} MiB are read, and Istio and Envoy Gateway pull no more: build it for size, "
            "without debug information",
        )


def read(path: Path, shown: str) -> tuple[bytes, int]:
    """A file, whatever somebody put there: never waits for a pipe, never reads more than ``LARGEST``.

    Returns:
        Its content and size in bytes; the content is b"" where there is more than that.

    Raises:
        InputError: it is no file, or cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(
            f"there is no file {shown}", hint="name a module's file, or an image of `wasme list`"
        ) from None
    except (OSError, ValueError) as reason:
        raise InputError(f"cannot read {shown}: {getattr(reason, 'strerror', None) or reason}") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or a pipe"
            raise InputError(
                f"{shown} is a {kind}, no file", hint="name the .wasm file, or - for a module on standard input"
            )
        if status.st_size > LARGEST:
            return b"", status.st_size
        try:
            content = file.read(LARGEST + 1)
        except OSError as reason:
            raise InputError(f"cannot read {shown}: {reason.strerror or reason}") from None
    return content if len(content) <= LARGEST else b"", len(content)


def read_stream(stream: BinaryIO | None) -> Subject:
    """A module on standard input, of which no more than ``LARGEST`` bytes are held.

    Args:
        stream: standard input; None where there is none.

    Raises:
        InputError: a person sits there, or it cannot be read.
    """
    try:
        if stream is None or stream.isatty():
            raise InputError("no module comes on standard input", hint="give it one: wasme inspect - < filter.wasm")
        content = stream.read(LARGEST + 1)
    except (OSError, ValueError) as reason:
        raise InputError(f"cannot read standard input: {getattr(reason, 'strerror', None) or reason}") from None
    return Subject("-", "stdin", content if len(content) <= LARGEST else b"", len(content))
