"""Which headers a C++ project may read, told without a compiler: whether all of them lie where changes are seen.

Conditions and macros are not evaluated, so more is looked at than a compiler reads; where a directive leaves open what
it names, the answer is no.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

# What may stand between the words of a directive: spaces, and comments; lines that go on are joined before.
_GAP = rb"(?:[ \t\v\f]|/\*.*?\*/)*"
_OPERAND = _GAP + rb'(?:"([^"\n]*)"|<([^>\n]*)>)?'
_READS = re.compile(
    rb"(?:(?:\#|%:)"
    + _GAP
    + rb"(?:include(?:_next)?|import|embed)\b|\b__has_(?:include(?:_next)?|embed)\s*\()"
    + _OPERAND,
    re.DOTALL,
)
_JOINED = re.compile(rb"\\[ \t]*\r?\n")
_ASSEMBLER_READS = b".incbin"
_PREFIX = re.compile(r"-(?:I|isystem|iquote|idirafter|include)")
_PATH_PARTS = re.compile(r"[/=,]")
_MOST_FILES = 5_000


def flags_stay_inside(flags: Iterable[str], skip: frozenset[str]) -> bool:
    """Whether the project's flags name no file but those that are looked at.

    Args:
        flags: one word each.
        skip: names of folders that are not looked into.
    """
    for flag in flags:
        known = _PREFIX.match(flag)
        rest = flag[known.end() :] if known else flag
        parts = _PATH_PARTS.split(rest.lower())
        if rest.startswith(("/", "@", "-i")) or "=/" in rest or ".." in parts or skip.intersection(parts):
            return False
    return True


def stay_inside(
    units: Iterable[Path], flags: Sequence[str], folders: Sequence[Path], roots: Sequence[Path], skip: frozenset[str]
) -> bool:
    """Whether all that these sources include lies where changes are seen, or comes with the compiler.

    Args:
        units: what is compiled.
        flags: the project's, for which ``flags_stay_inside`` holds.
        folders: where headers are looked for besides; the first is where the compiler runs.
        roots: the folders that are looked at.
        skip: names of folders in them that are not.
    """
    places = [os.fspath(each) for each in folders]
    waiting = [os.fspath(each) for each in units]
    named = [each for option in ("-I", "-iquote", "-isystem", "-idirafter") for each in _operands(flags, option)]
    places += [os.path.join(places[0], each) for each in named]  # noqa: PTH118
    forced = _operands(flags, "-include")
    waiting += [os.path.join(place, each) for place in places for each in forced]  # noqa: PTH118
    # Which of several folders comes first is not told here, so what lies in any of them is looked at.
    seen: set[str] = set()
    real_roots = [os.path.realpath(each) for each in roots]
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real in seen:
            continue
        seen.add(real)
        if len(seen) > _MOST_FILES or not _is_looked_at(real, real_roots, skip):
            return False
        try:
            text = Path(real).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue  # if ever it is there, that is seen
        except (OSError, ValueError):
            return False
        text = _JOINED.sub(b"", text)
        if _ASSEMBLER_READS in text:
            return False
        for directive in _READS.finditer(text):
            name = os.fsdecode(directive[1] or directive[2] or b"")
            if not name or name.startswith("/") or "\0" in name:
                return False
            here = os.path.join(os.path.dirname(path), name)  # noqa: PTH118, PTH120
            if os.path.isfile(here) and directive[1]:  # noqa: PTH113 - what is beside comes first
                waiting.append(here)
            else:
                waiting += [here, *(os.path.join(place, name) for place in places)]  # noqa: PTH118
    return True


def _operands(flags: Sequence[str], option: str) -> list[str]:
    """What an option names, in the same word or in the next."""
    found = [flag[len(option) :] for flag in flags if flag.startswith(option) and flag != option]
    return found + [after for flag, after in itertools.pairwise(flags) if flag == option]


def _is_looked_at(real: str, roots: Iterable[str], skip: frozenset[str]) -> bool:
    """Whether a change of this file would be seen; not all file systems tell ``Build`` from ``build``."""
    for root in roots:
        if real.startswith(root.rstrip("/") + "/") and not skip.intersection(real[len(root) :].lower().split("/")):
            return True
    return False
