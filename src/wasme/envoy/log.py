"""Envoy's log: its lines, and the one that says why it did not start."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORMAT = "[%Y-%m-%d %T.%e][%l][%n] %v"
"""For ``--log-format``: Envoy's own, without the thread and the place in its source."""

_LINE = re.compile(
    r"\[[^\]]*\](?:\[\d+\])?\[(trace|debug|info|warning|error|critical)\]\[(\w+)\] (?:\[[^\]]*:\d+\] )?(.*)", re.DOTALL
)
_WRAPPED = re.compile(r"error `(.*)` initializing config", re.DOTALL)
_BIND = re.compile(r"cannot bind '([^']*)': (.*)")
_VM = "Wasm VM failed "
_FILTERS_OWN = re.compile(r"wasm log\b.*?: (.*)", re.DOTALL)
_NOISE = (
    "There is no configured limit to the number of allowed active downstream connections",
    "caught ENVOY_SIG",
)
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Line:
    """One line of Envoy's log.

    Attributes:
        raw: as Envoy wrote it, without its end.
        level: ``trace`` to ``critical``; "" for a line that goes on from the one before, or is of another form.
        component: such as ``wasm`` or ``main``.
        text: what it says.
    """

    raw: str
    level: str
    component: str
    text: str

    @property
    def is_noise(self) -> bool:
        """Whether Envoy says it at each start or stop and it means nothing here."""
        return self.text.startswith(_NOISE)

    @property
    def is_trace(self) -> bool:
        """Whether it is about Envoy's own workings."""
        return self.level in ("trace", "debug")


def parse(raw: str) -> Line:
    """Take one line apart."""
    match = _LINE.match(raw)
    return Line(raw, match[1], match[2], match[3]) if match else Line(raw, "", "", raw)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why Envoy ended.

    Attributes:
        text: the decisive line, without Envoy's frame around it; "" if it said nothing.
        filter_said: the filter's own last error before, or "".
        bind: the address that could not be bound, or "".
    """

    text: str
    filter_said: str = ""
    bind: str = ""


def decisive(lines: Sequence[Line]) -> Reason:
    """The line that says why Envoy ended: its first error that is not the filter's own."""
    said = ""
    for index, line in enumerate(lines):
        if line.level not in ("error", "critical"):
            if line.raw.startswith("# Fatal error"):
                return Reason(_clean(f"Envoy crashed: {' '.join(_following(lines[index:]))}"), said)
            continue
        own = _FILTERS_OWN.match(line.text) if line.component == "wasm" else None
        if own:
            said = _clean(own[1])
            continue
        bind = _BIND.search(line.text)
        if bind:
            return Reason(f"cannot bind {bind[1]}: {bind[2].split('`')[0].strip()}", said, bind[1])
        whole = " ".join([line.text, *_continuation(lines[index + 1 :])])
        wrapped = _WRAPPED.search(whole)
        return Reason(_clean(wrapped[1] if wrapped else line.text.removeprefix(_VM)), said)
    # An unknown argument: the usage, then the complaint.
    rest = [line.raw.strip() for line in lines if line.raw.strip() and not line.level]
    return Reason(_clean(rest[-1]) if rest else "", said)


def _following(lines: Iterable[Line]) -> list[str]:
    """The lines of a V8 crash report."""
    words = [line.raw.lstrip("# ").strip() for line in lines if line.raw.startswith("#")]
    return [word for word in words if word][:3]


def _continuation(lines: Iterable[Line]) -> list[str]:
    result = []
    for line in lines:
        if line.level:
            break
        result.append(line.raw.strip())
    return result


def _clean(text: str) -> str:
    """One line of bearable length."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[:_LONGEST] + "…"
