"""JSON that is nested deeper than can be read: its depths are cut, and all else of it is read.

An API server takes objects of ten thousand levels where a schema leaves a field open, and JSON is decoded by
recursion here as everywhere. One such object must not hide all others of its kind. Nothing that means anything is so
deep: protobuf, which every configuration of a proxy goes through, refuses to read more than a hundred levels.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import msgspec

LEVELS = 200
"""What is nested deeper than this in one object is cut."""
CUT = f"cut-{secrets.token_hex(12)}"
"""What stands where something was cut. It is another in each process, so nobody's text is taken for it, and never
written to a cluster: see ``Cluster``."""
_LITERAL = msgspec.json.encode(CUT)
_IN_BYTES = CUT.encode()
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)


def decode(body: bytes | msgspec.Raw, around: int = 0) -> Any:
    """Any JSON value; where it is too deep to be read, with ``CUT`` in place of what is too deep.

    Args:
        body: the JSON.
        around: levels around the object that is meant.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        return msgspec.json.decode(cut(bytes(body), LEVELS + around))


def cut(body: bytes, levels: int = LEVELS) -> bytes:
    """JSON with ``CUT`` in place of each array and object that is deeper than so many levels.

    Raises:
        msgspec.DecodeError: it ends too soon.
    """
    kept: list[bytes] = []
    depth = start = 0
    for found in _TOKEN.finditer(body):
        token = body[found.start()]
        if token in b"[{":
            depth += 1
            if depth == levels + 1:
                kept += (body[start : found.start()], _LITERAL)
        elif token in b"]}":
            if depth == levels + 1:
                start = found.end()
            depth -= 1
    if depth:
        raise msgspec.DecodeError("JSON that ends too soon")
    return b"".join((*kept, body[start:]))


def shallow(value: Any) -> Any:
    """A decoded value as it is, or, where it is too deep to be walked through by recursion, a copy with ``CUT``."""
    level = [value]
    for _ in range(LEVELS):
        level = [each for one in level for each in _children(one) if isinstance(each, dict | list)]
        if not level:
            return value
    return _copy(value, LEVELS)


def was_cut(obj: Any) -> str:
    """The path of something that was cut, its first names, such as ``spec.filter.config``; "" for nothing."""
    level: list[tuple[tuple[str, ...], Any]] = [((), obj)]
    while level:
        deeper: list[tuple[tuple[str, ...], Any]] = []
        for path, value in level:
            if isinstance(value, str):
                if value == CUT:
                    return ".".join(path)
            elif isinstance(value, dict):
                deeper += [((*path, name) if len(path) < 3 else path, each) for name, each in value.items()]
            elif isinstance(value, list):
                deeper += [(path, each) for each in value]
        level = deeper
    return ""


def holds_cut(body: bytes) -> bool:
    """Whether something was cut from what is to be sent."""
    return _IN_BYTES in body


def _children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _copy(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return CUT
    if isinstance(value, dict):
        return {name: _copy(each, levels - 1) for name, each in value.items()}
    return [_copy(each, levels - 1) for each in value]
