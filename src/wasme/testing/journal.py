"""One Envoy's log, sorted by the tests it speaks of.

Every plugin bears its test's number, so what a filter logs is known by its name. Envoy writes one line for each request
that is over, with the reason of its answer: ``wasm_fail_stream`` where the filter had trapped. The line that tells of
the trap itself names nobody: it belongs to whoever ran just then.
"""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

from wasme.envoy.log import Line

NAME = "wasme-{}"
ACCESS = "[wasme-access {}] %RESPONSE_CODE_DETAILS%\n"
_ACCESS = re.compile(r"\[wasme-access (\d+)\] (\S*)")
_SAID = re.compile(r"wasm log .*?\bwasme-(\d+): (.*)", re.DOTALL)
_BEGUN = re.compile(r"begin add/update listener: name=wasme-(\d+) ")
_REJECTED = re.compile(r"lds: listener 'wasme-(\d+)' config rejected: (.*)", re.DOTALL)
_TRAP = re.compile(r"Function: (\S+) failed: (?:Uncaught )?(.*)", re.DOTALL)
_FAILED = "wasm_fail_stream"
_VM = "Wasm VM failed "
_REFUSED = "Failed to configure base Wasm plugin"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why Envoy did not take a filter.

    Attributes:
        text: in words.
        by_filter: the filter itself refused its configuration.
    """

    text: str
    by_filter: bool


@dataclass(frozen=True, slots=True)
class Trap:
    """A filter that trapped: when (monotonic), in which callback, and the engine's words."""

    at: float
    callback: str
    words: str

    def __str__(self) -> str:
        return f"the filter trapped in {self.callback}: {self.words}"


class Journal:
    """Takes Envoy's lines, from a thread of their own; everything else asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[int, list[str]] = defaultdict(list)
        self._ended: dict[int, list[tuple[float, bool]]] = defaultdict(list)
        self._begun: list[int] = []
        self._rejections: dict[int, Rejection] = {}
        self._traps: list[Trap] = []
        self._block: list[str] = []
        self._last: list[str] | None = None

    def __call__(self, line: Line) -> None:
        """Take one line."""
        with self._lock:
            self._take(line)

    def said(self, number: int) -> tuple[str, ...]:
        """What a test's filter has logged so far."""
        with self._lock:
            return tuple(self._said[number])

    def ended(self, number: int) -> int:
        """How many of a test's requests are over."""
        with self._lock:
            return len(self._ended[number])

    def failed(self, number: int) -> bool:
        """Whether a request of a test was answered for a filter that had trapped."""
        with self._lock:
            return any(failed for _, failed in self._ended[number])

    def traps(self, since: float) -> list[Trap]:
        """Those since then, whosever they are."""
        with self._lock:
            return [trap for trap in self._traps if trap.at >= since]

    def claimed(self, since: float) -> int:
        """How many tests had their first failed request since then."""
        with self._lock:
            firsts = [next((at for at, failed in ended if failed), 0.0) for ended in self._ended.values()]
        return sum(first >= since for first in firsts)

    def begun(self) -> list[int]:
        """The tests whose filters Envoy has begun to load, in order."""
        with self._lock:
            return list(self._begun)

    def rejection(self, number: int) -> Rejection:
        """Why a test's filter was not taken."""
        with self._lock:
            return self._rejections.get(number, Rejection("Envoy did not take the filter and gave no reason", False))

    def _take(self, line: Line) -> None:
        access = _ACCESS.match(line.raw)
        if access:
            self._ended[int(access[1])].append((time.monotonic(), access[2] == _FAILED))
            return
        if not line.level:
            if self._last is not None:
                self._last[-1] += "\n" + line.raw
            return
        self._last = None
        rejected = _REJECTED.match(line.text)
        if rejected:
            self._rejections[int(rejected[1])] = _rejection(self._block, rejected[2])
            self._block = []
            return
        begun = _BEGUN.match(line.text)
        if begun:
            self._begun.append(int(begun[1]))
        if line.component != "wasm":
            return
        said = _SAID.match(line.text)
        if said:
            self._last = self._said[int(said[1])]
            self._last.append(said[2])
        elif line.level in ("error", "critical"):
            self._block.append(line.text)
            trap = _TRAP.match(line.text)
            if trap:
                self._traps.append(Trap(time.monotonic(), trap[1], trap[2]))


def _rejection(block: list[str], words: str) -> Rejection:
    """From Envoy's errors before it gave a listener up."""
    for text in block:
        trap = _TRAP.match(text)
        if trap:
            return Rejection(str(Trap(0, trap[1], trap[2])), by_filter=False)
    texts = [text.removeprefix(_VM) for text in block]
    if _REFUSED in texts:
        return Rejection("the filter refused its configuration", by_filter=True)
    return Rejection(f"Envoy refuses the filter: {texts[0] if texts else words}", by_filter=False)
