"""How a user lays YAML out, so that what is written looks like what was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """How a YAML text is laid out.

    Attributes:
        mapping, dash: columns by which a mapping stands in, and a list's dashes do.
        spaced: ``{ a: b }`` rather than ``{a: b}``.
        starts: it begins with ``---``.
        crlf: its lines end as on Windows.
    """

    mapping: int = 2
    dash: int = 0
    spaced: bool = False
    starts: bool = False
    crlf: bool = False
