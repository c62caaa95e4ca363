"""JSON as Go's ``encoding/json`` writes it, byte for byte: what an API server serves, and what controllers pass on.

No blanks, keys in the order of their bytes; ``<``, ``>``, ``&`` and two line separators as escapes; whole numbers as
they are, others as the shortest digits that read as the same double.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029]')


def encode(value: Any) -> str:
    """One value of ``json.loads`` as text; numbers must be finite."""
    if isinstance(value, str):
        return '"' + _ESCAPED.sub(lambda found: _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}", value) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode(name)}:{encode(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encode, value)) + "]"
    if isinstance(value, float):
        return double(value)
    return json.dumps(value)


def double(value: float) -> str:
    """A double: with an exponent below 1e-6 and from 1e21 on, as ECMAScript."""
    decimal = Decimal(repr(value)).normalize()
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        return f"{decimal:f}"
    digits, _, power = f"{decimal:e}".partition("e")
    return f"{digits}e{int(power):+d}"
