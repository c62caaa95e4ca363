"""Merge patches, carried out."""

from __future__ import annotations

import copy
from typing import Any


def merged(target: Any, change: Any) -> Any:
    """RFC 7386, as the API server does it."""
    if not isinstance(change, dict):
        return copy.deepcopy(change)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    if not result.get("annotations", True):
        del result["annotations"]  # no API server stores an empty map of them
    return result
