"""Measuring: whole processes by the operating system's own account, interleaved, medians.

A machine's speed drifts, so only figures taken in turn, A B A B …, are put beside each other, and what counts is the
ratio of the medians. One round goes before the counted ones, to warm caches.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
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


@dataclass(frozen=True)
class Figure:
    """One line of the table that is no time of a process, such as a size.

    Attributes:
        what: the job.
        ours: our figure, and ``unit`` what it counts.
        peer_name: whose figure stands beside it; "" for nobody's.
        peer: that figure.
        limit: the largest that ours may be, or None where it is only shown.
    """

    what: str
    ours: float
    unit: str
    peer_name: str = ""
    peer: float = 0.0
    limit: float | None = None

    @property
    def held(self) -> bool:
        return self.limit is None or self.ours <= self.limit

    def cells(self) -> list[str]:
        ratio = f"{self.ours / self.peer:.2f}x" if self.peer > 0 else ""
        peer = self._said(self.peer) if self.peer_name else ""
        limit = "" if self.limit is None else self._said(self.limit)
        verdict = "" if self.limit is None else ("ok" if self.held else "MISSED")
        return [self.what, self._said(self.ours), self.peer_name, peer, ratio, limit, "", verdict]

    def _said(self, figure: float) -> str:
        return f"{figure:,.0f} {self.unit}" if self.unit == "B" else f"{figure:,.1f} {self.unit}"


_LAUNCHER = """
import os, sys, time
quiet = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
null = os.open(os.devnull, os.O_RDONLY)
actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, quiet, 1), (os.POSIX_SPAWN_DUP2, quiet, 2)]
begun = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - begun, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def process(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Run a whole process.

    A small process of its own starts it and takes the time: a child's peak memory begins with that of whoever forked
    it, so a large parent would be counted as the child's.

    Returns:
        Seconds by the wall from spawn to reaped, and peak resident memory in MB.
    """
    words = [str(word) for word in command]
    with tempfile.NamedTemporaryFile() as output:
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, output.name, *words]
        done = subprocess.run(launcher, env=environment, capture_output=True, text=True, check=True)
        seconds, peak, code = done.stdout.split()
        if code != "0":
            told = Path(output.name).read_text(errors="replace")
            raise SystemExit(f"{' '.join(words)} exited {code}:\n{told}")
    scale = 1024 if sys.platform == "linux" else 1024 * 1024
    return float(seconds), int(peak) / scale


def interleave(contestants: dict[str, Callable[[int], tuple[float, float]]], rounds: int) -> dict[str, Figures]:
    """Run the contestants in turn, ``rounds`` counted times after one that is not.

    Who begins changes from round to round: what one leaves behind (dirty pages above all) slows the next.

    Args:
        contestants: by name, a function of the round's number (0 is the warm-up) giving seconds and MB (0 = unknown).
    """
    figures = {name: Figures() for name in contestants}
    for turn in range(rounds + 1):
        order = list(contestants)
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            seconds, megabytes = contestants[name](turn)
            if turn:
                figures[name].seconds.append(seconds)
                if megabytes:
                    figures[name].megabytes.append(megabytes)
    return figures
