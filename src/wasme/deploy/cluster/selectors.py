"""Label selectors, as the API server takes them."""

from __future__ import annotations

from collections.abc import Mapping


def label_selector(labels: Mapping[str, str]) -> str:
    """That all of these labels are there, ``app=web,tier=a``; "" for no labels, which selects everything."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
