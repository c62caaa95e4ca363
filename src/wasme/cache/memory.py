"""What the agent remembers beyond its end, in one small file of its folder.

It makes a restart cheap and silent: which module an image holds is not asked for again, what was announced is not
announced once more, and the time that nobody needs a file goes on. It is never needed for what is right: without it,
all of it is found again.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import msgspec

from wasme.image import durable

log = logging.getLogger(__name__)

FILE = ".wasme-cache.json"
_LARGEST = 16 << 20


class Memory(msgspec.Struct):
    """What is remembered.

    Attributes:
        modules: an image's manifest (or index), by digest → digest and size in bytes of its module.
        tags: a reference as typed → the digest that it stood for last.
        past: a reference as typed → modules that it stood for since it was listed.
        announced: a reference as typed → the modules that an Event has told of.
        unneeded: a module → since when nobody needs it, in seconds since 1970.
        boot: the node's start in which all markers were looked after; "" if that is not known.
        withheld: namespaces whose markers were taken away at a later start, until the list is read.
    """

    modules: dict[str, tuple[str, int]] = {}
    tags: dict[str, str] = {}
    past: dict[str, list[str]] = {}
    announced: dict[str, list[str]] = {}
    unneeded: dict[str, float] = {}
    boot: str = ""
    withheld: list[str] = []


def load(folder: Path) -> Memory:
    """What the last agent here left; an empty memory where there is nothing to be read."""
    file = folder / FILE
    try:
        raw = file.read_bytes()
        if len(raw) <= _LARGEST:
            return msgspec.json.decode(raw, type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        pass
    log.warning("what the cache remembered cannot be read and is found again", extra={"fields": {"file": str(file)}})
    return Memory()


def save(folder: Path, memory: Memory) -> None:
    """Keep it; a disk that does not take it is no reason to stop."""
    with contextlib.suppress(OSError):
        durable.replace(folder / FILE, msgspec.json.encode(memory), 0o600)


def forget(folder: Path) -> None:
    """Take the file away."""
    with contextlib.suppress(OSError):
        (folder / FILE).unlink()
