"""``--store``, as every command that takes it reads it."""

from __future__ import annotations

from pathlib import Path

from wasme.image.store import Store, open_store


def opened(store: str) -> Store:
    """The store that ``--store`` names; "" is the user's own."""
    return open_store(Path(store) if store else None)
