"""Measuring: whole processes by the operating system's own account, interleaved, medians.

A machine's speed drifts, so only figures taken in turn, A B A B …, are put beside each other, and what counts is the
ratio of the medians. One round goes before the counted ones, to warm caches.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Figures:
    """The runs of one contestant: seconds by the wall, peak memory in MB."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(self.seconds)

    @property
    def peak(self) -> float:
        return statistics.median(self.megabytes) if self.megabytes else 0.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: the job.
        ours: our median and peak.
        peer: the peer's name and median.
        limit: the largest allowed ratio, or None where the figure is only shown.
    """

    what: str
    ours: Figures
    peer_name: str
    peer: Figures
    limit: float | None = None
    memory_limit: float | None = None
    extra: float = 0.0

    @property
    def ratio(self) -> float:
        return self.ours.wall / self.peer.wall

    @property
    def held(self) -> bool:
        """Whether time and memory stay under their limits; ``extra`` seconds are allowed on top of the ratio."""
        in_time = self.limit is None or self.ours.wall <= self.peer.wall * self.limit + self.extra
        return in_time and (self.memory_limit is None or self.ours.peak <= self.memory_limit)

    def cells(self) -> list[str]:
        allowed = (
            "" if self.limit is None else f"{self.limit:g}x" + (f" + {self.extra * 1e3:.0f} ms" if self.extra else "")
        )
        memory = f"{self.ours.peak:.0f} MB" if self.ours.megabytes else ""
        if self.memory_limit:
            memory += f" (limit {self.memory_limit:g})"
        verdict = "" if self.limit is None and self.memory_limit is None else ("ok" if self.held else "MISSED")
        return [
            self.what, f"{self.ours.wall * 1e3:.1f} ms", self.peer_name, f"{self.peer.wall * 1e3:.1f} ms",
            f"{self.ratio:.2f}x", allowed, memory, verdict,
        ]  # fmt: skip


def process(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, cwd: Path | None = None
) -> tuple[float, float]:
    """Run a whole process.

    Returns:
        Seconds by the wall from spawn to reaped, and peak resident memory in MB.
    """
    begun = time.perf_counter()
    child = subprocess.Popen(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=environment, cwd=cwd,
    )  # fmt: skip
    assert child.stdout
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - begun
    child.stdout.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} exited {child.returncode}:\n{output.decode(errors='replace')}")
    scale = 1024 if os.uname().sysname == "Linux" else 1024 * 1024
    return seconds, usage.ru_maxrss / scale


def interleave(contestants: dict[str, Callable[[int], tuple[float, float]]], rounds: int) -> dict[str, Figures]:
    """Run the contestants in turn, ``rounds`` counted times after one that is not.

    Args:
        contestants: by name, a function of the round's number (0 is the warm-up) giving seconds and MB (0 = unknown).
    """
    figures = {name: Figures() for name in contestants}
    for turn in range(rounds + 1):
        for name, run in contestants.items():
            seconds, megabytes = run(turn)
            if turn:
                figures[name].seconds.append(seconds)
                if megabytes:
                    figures[name].megabytes.append(megabytes)
    return figures
