"""``--store``, as every command that takes it reads it."""

from __future__ import annotations

from pathlib import Path

from wasme.errors import WasmeError
from wasme.image.store import Store, open_store


def opened(store: str) -> Store:
    """The store that ``--store`` names; "" is the user's own."""
    return open_store(Path(store) if store else None)


def names() -> list[str]:
    """The images of the user's own store, for a shell to offer; none where it cannot be read."""
    try:
        return sorted(f"{entry.name}:{entry.tag}" for entry in opened("").entries() if entry.tag)
    except WasmeError:
        return []
