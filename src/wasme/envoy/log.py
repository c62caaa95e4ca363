"""Envoy's log: its lines, and the one that says why it did not start."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

FORMAT = "[%Y-%m-%d %T.%e][%l][%n] %v"
"""For ``--log-format``: Envoy's own, without the thread and the place in its source."""

_LINE = re.compile(
    r"\[[^\]]*\](?:\[\d+\])?\[(trace|debug|info|warning|error|critical)\]\[(\w+)\] (?:\[[^\]]*:\d+\] )?(.*)", re.DOTALL
)
_WRAPPED = re.compile(r"error `(.*)` initializing config", re.DOTALL)
_BIND = re.compile(r"cannot bind '([^']*)': (.*)")
_VM = "Wasm VM failed "
_PARSE = re.compile(r"Unable to parse JSON as proto \(INVALID_ARGUMENT: (.*?)\): [{\[]", re.DOTALL)
_UNKNOWN = re.compile(r"Protobuf message \(type \S+ reason INVALID_ARGUMENT: (.*)\) has unknown fields", re.DOTALL)
_PLACE = re.compile(r"invalid JSON in \S+ @ (\S+): .*?near \d+:\d+ \(offset \d+\): (.*)")
_CONSTRAINT = re.compile(r"Proto constraint validation failed \((.*)\)", re.DOTALL)
_BROKEN = re.compile(r"(\w+)ValidationError\.([\w\[\]]+): (.*)")
_TOOLS_COMPLAINT = re.compile(r"(?:docker|podman|Error): (?:Error response from daemon: )?(.*)")
_TOOLS_POINTER = re.compile(r"(?:Run|See) '.* --help'")
_ARGUMENT = re.compile(r"-- .*\bargument|^PARSE ERROR")
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

    @property
    def is_filters(self) -> bool:
        """Whether the filter itself logged it."""
        return self.component == "wasm" and bool(_FILTERS_OWN.match(self.text))

    @property
    def is_tools_complaint(self) -> bool:
        """Whether docker or podman says why there is no container, or where to read on."""
        text = self.raw.strip()
        return not self.level and (not text or bool(_TOOLS_COMPLAINT.match(text) or _TOOLS_POINTER.match(text)))


def parse(raw: str) -> Line:
    """Take one line apart."""
    match = _LINE.match(raw)
    return Line(raw, match[1], match[2], match[3]) if match else Line(raw, "", "", raw)


Kind = Literal["", "bind", "configuration", "arguments", "container", "filter"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why Envoy ended.

    Attributes:
        text: the decisive line, without Envoy's frame around it; "" if it said nothing.
        filter_said: the filter's own last error before, or "".
        bind: the address that could not be bound, or "".
        kind: what it is about: an address that cannot be ``bind``, the ``configuration``, Envoy's ``arguments``, the
            ``container`` that was not to be had, the ``filter``; "" if ``text`` may not be all there is to know.
    """

    text: str
    filter_said: str = ""
    bind: str = ""
    kind: Kind = ""


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
            return Reason(f"cannot bind {bind[1]}: {bind[2].split('`')[0].strip()}", said, bind[1], "bind")
        whole = " ".join([line.text, *_continuation(lines[index + 1 :])])
        wrapped = _WRAPPED.search(whole)
        if wrapped:
            return Reason(_clean(_shortened(wrapped[1])), said, kind="configuration")
        text = _clean(line.text.removeprefix(_VM))
        return Reason(text, said, kind="filter" if "configure" in text else "")
    return _without_log([line.raw.strip() for line in lines if line.raw.strip() and not line.level], said)


def _without_log(rest: Sequence[str], said: str) -> Reason:
    """From what is no log: docker's complaint and where to read on; Envoy's usage, then its complaint."""
    for text in rest:
        complaint = _TOOLS_COMPLAINT.match(text)
        if complaint:
            return Reason(_clean(complaint[1]), said, kind="container")
    last = next((text for text in reversed(rest) if not _TOOLS_POINTER.match(text)), "")
    return Reason(_clean(last), said, kind="arguments" if _ARGUMENT.search(last) else "")


def _shortened(text: str) -> str:
    """Where in the configuration something is wrong, and what; Envoy quotes the whole of it around."""
    constraint = _CONSTRAINT.search(text)
    if constraint:
        broken = [_BROKEN.match(each) for each in constraint[1].split(" | caused by ")]
        steps = [each for each in broken if each]
        if not steps:
            return constraint[1]
        path = ".".join(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", each[2]).lower() for each in steps)
        message = steps[0][1]
        return f"{path}{'' if message == 'Bootstrap' else f' of {message}'}: {steps[-1][3]}"
    inner = _PARSE.search(text) or _UNKNOWN.search(text)
    flat = " ".join((inner[1] if inner else text).split())
    place = _PLACE.match(flat)
    return f"{place[1].removesuffix('.<any>')}: {place[2]}" if place else flat


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
