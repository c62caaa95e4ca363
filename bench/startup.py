"""Start-up: `--help` and `list` beside a bare Python of the same environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.measure import Row, interleave, process

_IMAGES = 1000


def rows(folder: Path, rounds: int) -> list[Row]:
    """`wasme --help`, and `wasme list` with 1,000 images in the store."""
    environment = {**os.environ, "HOME": str(folder)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    _fill(folder / ".wasme" / "oci")
    wasme = Path(sys.executable).with_name("wasme")
    figures = interleave(
        {
            "pass": lambda _: process([sys.executable, "-c", "pass"], environment),
            "help": lambda _: process([wasme, "--help"], environment),
            "list": lambda _: process([wasme, "list"], environment),
        },
        rounds,
    )
    bare = figures["pass"]
    return [
        Row("wasme --help", figures["help"], "python -c pass", bare, limit=5),
        Row(f"wasme list, {_IMAGES} images", figures["list"], "python -c pass", bare, limit=8),
    ]


def _fill(store_path: Path) -> None:
    from tests.fixtures.modules import sized
    from wasme.image.layouts import build
    from wasme.image.reference import Reference
    from wasme.image.runtime_config import parse
    from wasme.image.store import open_store

    config = parse(b'{"type":"envoy_proxy","config":{"rootIds":["add_header"]}}', "bench")
    store = open_store(store_path)
    for number in range(_IMAGES):
        draft = build("oci", sized(1000, seed=number), config)
        store.add(Reference.parse(f"localhost:5000/bench/filter-{number:04d}:v1"), draft)
