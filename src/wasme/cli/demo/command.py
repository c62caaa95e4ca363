"""``wasme demo``: the main job on real parts, shown as a user would type it."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

from wasme.cli.grammar import command, exactly, option


@command(
    "demo",
    use="demo [--keep]",
    args=exactly(0),
    help="""
    Run the main job on this machine: a hub of its own, a filter scaffolded, built, pushed, pulled and deployed to a
    real Envoy, then a filter that calls out to a service.

    Every command is printed as you would type it, with its output and time. It happens in a temporary folder with a
    HOME of its own, listens on 127.0.0.1 only, and leaves nothing behind.
    """,
)
@option("--keep", kind="bool", help="leave everything running and in place, and print where it is")
def demo(args: tuple[str, ...], keep: bool) -> None:  # noqa: ARG001
    """Set the stage, play, and clear up whatever happens."""
    from wasme.cli.demo.play import play
    from wasme.cli.demo.stage import Stage

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    stage = Stage(Path(tempfile.mkdtemp(prefix="wasme-demo-")), sys.stdout, keep=keep)
    try:
        play(stage)
    finally:
        stage.close()
    if not keep:
        print(f"\nThe main job ran in {time.monotonic() - begun:.1f} s, and nothing of it is left running.")
