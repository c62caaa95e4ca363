"""JSON that reads the same as YAML, which is what an API server takes the body of an apply for."""

from __future__ import annotations

import re

_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def as_yaml(json_text: str) -> str:
    """JSON with those characters escaped that YAML takes for the end of a line, which it folds, or refuses.

    Args:
        json_text: JSON whose characters beyond 16 bits stand as they are: YAML refuses the escapes of their halves.
    """
    # None of them is part of JSON's own grammar, so they are all in strings.
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)
