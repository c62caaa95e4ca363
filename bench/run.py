"""`make bench`: speed and memory beside named peers, one table.

Figures are medians of interleaved runs on this machine; only the ratios travel. Exits 1 where a limit is missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CHAPTERS = (
    *("startup", "transfer", "envoy_start", "rebuild", "sizes", "latency", "memory"),
    *("cluster", "agent", "operators"),
)


def main() -> int:
    """Measure the chapters asked for and print the table."""
    parser = argparse.ArgumentParser(description="Speed and memory beside named peers.")
    parser.add_argument(
        "chapters", nargs="*", metavar="CHAPTER", help=f"which of {', '.join(CHAPTERS)}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=15, help="counted runs of each contestant")
    arguments = parser.parse_args()
    unknown = set(arguments.chapters) - set(CHAPTERS)
    if unknown:
        parser.error(f"no chapter {', '.join(sorted(unknown))}")
    from wasme.cli.output import table

    rows = []
    for chapter in arguments.chapters or CHAPTERS:
        with tempfile.TemporaryDirectory(prefix=f"wasme-bench-{chapter}-") as folder:
            rows += importlib.import_module(f"bench.{chapter}").rows(Path(folder), arguments.rounds)
    heading = ["JOB", "WASME", "BESIDE", "PEER", "RATIO", "AT MOST", "MEMORY", ""]
    print(table([heading, *(row.cells() for row in rows)]))
    missed = [row.what for row in rows if not row.held]
    if missed:
        print(f"\nover the limit: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
