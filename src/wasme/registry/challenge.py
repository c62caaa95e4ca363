"""What a 401 asks for: the WWW-Authenticate header (RFC 9110 section 11.6.1), without any I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - the grammar's word, no secret
_COMMAS = r"[ \t,]*"
_BLANK = r"[ \t]*"
_SCHEME = rf"({_TOKEN})(?:[ \t]+|(?=,)|$)"
_PARAM = rf"({_TOKEN})[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s\",]+))"
_TOKEN68 = r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))"
_LONGEST = 16 * 1024


class Challenge(msgspec.Struct, frozen=True):
    """One challenge: its scheme and its parameters' names in lower case."""

    scheme: str
    parameters: dict[str, str] = {}


def parse(headers: Iterable[str]) -> list[Challenge]:
    """Every challenge of all WWW-Authenticate headers, in order; what cannot be read is left out."""
    found: list[Challenge] = []
    for header in headers:
        found.extend(_parse_one(header[:_LONGEST]))
    return found


def _parse_one(text: str) -> list[Challenge]:
    # Compiled here, since few commands ever see a challenge.
    commas, blank, scheme_of, param, token68 = map(re.compile, (_COMMAS, _BLANK, _SCHEME, _PARAM, _TOKEN68))
    found: list[Challenge] = []
    at = 0
    while True:
        at = commas.match(text, at).end()  # type: ignore[union-attr]
        if at >= len(text):
            return found
        # "name = value" belongs to the challenge before it; a word alone begins a new one.
        parameter = param.match(text, at) if found else None
        if parameter:
            quoted = parameter[2]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3]
            found[-1].parameters.setdefault(parameter[1].lower(), value)
            at = parameter.end()
            continue
        scheme = scheme_of.match(text, at)
        if not scheme:
            return found
        found.append(Challenge(scheme[1].lower(), {}))
        at = blank.match(text, scheme.end()).end()  # type: ignore[union-attr]
        if not param.match(text, at) and (blob := token68.match(text, at)):
            at = blob.end()
