"""Building unchanged sources again, and looking into a large module, beside a bare Python of the same environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.filters import LANGUAGES, WASME, command, compiled
from bench.measure import Row, interleave, process

_LARGE = 3_000_000


def rows(folder: Path, rounds: int) -> list[Row]:
    """`wasme build` of each language's first example a second time; `wasme inspect` of 3 MB."""
    from tests.fixtures.modules import sized

    large = folder / "large.wasm"
    large.write_bytes(sized(_LARGE, seed=1))
    contestants = {
        "pass": lambda _: process([sys.executable, "-c", "pass"]),
        "inspect": lambda _: process([WASME, "inspect", large]),
    }
    for language in LANGUAGES:
        project = folder / language
        command("init", project, "--language", language, "--platform", "envoy", "--disable-prompt")
        compiled(folder, language, project)
        again = [WASME, "build", language, project, "-t", f"localhost/bench/{language}:v1", "--store", folder / "store"]
        contestants[language] = lambda _, argv=again: process(argv, {**os.environ})
    figures = interleave(contestants, rounds)
    bare = figures["pass"]
    built = [Row(f"build again, {each}", figures[each], "python -c pass", bare, limit=10) for each in LANGUAGES]
    return [*built, Row("inspect, 3 MB", figures["inspect"], "python -c pass", bare, limit=8)]
