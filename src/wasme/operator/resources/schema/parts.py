"""What schemas are made of: a structural schema (apiextensions.k8s.io/v1) as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]

DNS_NAME = 253
"""Characters of a DNS subdomain (RFC 1123), which names of Kubernetes are."""
LABEL = 63
"""Characters of a label's value, and of a namespace's name."""
SECTION = 256
"""Characters that leave every name, and every text with a grammar, its place; CEL is priced by them."""


def rule(expression: str, message: str, field: str = "") -> dict[str, str]:
    """One rule in CEL with what a person is told where it does not hold.

    Args:
        expression: true where all is well; ``self`` is the value.
        message: what to do.
        field: the field that the message is about, such as ``.filter``; "" for the value itself.
    """
    made = {"rule": expression, "message": message}
    return {**made, "fieldPath": field} if field else made


def text(description: str, *, longest: int | None = None, **more: Any) -> Schema:
    """A string."""
    limit = {} if longest is None else {"maxLength": longest}
    return {"description": description, "type": "string", **limit, **more}


def choice(description: str, *words: str) -> Schema:
    """One of some words."""
    return {"description": description, "type": "string", "enum": list(words)}


def flag(description: str) -> Schema:
    """True or false."""
    return {"description": description, "type": "boolean"}


def whole(description: str, low: int, high: int, **more: Any) -> Schema:
    """A whole number."""
    size = "int32" if high < 1 << 31 else "int64"
    return {"description": description, "type": "integer", "format": size, "minimum": low, "maximum": high, **more}


def mapping(description: str, *, most: int | None = None) -> Schema:
    """Text by name."""
    limit = {} if most is None else {"maxProperties": most}
    return {"description": description, "type": "object", "additionalProperties": {"type": "string"}, **limit}


def section(
    description: str,
    properties: Mapping[str, Schema],
    *,
    required: Sequence[str] = (),
    rules: Sequence[Mapping[str, str]] = (),
) -> Schema:
    """An object with fields."""
    made: Schema = {"description": description, "type": "object", "properties": dict(properties)}
    if required:
        made["required"] = list(required)
    if rules:
        made["x-kubernetes-validations"] = [dict(each) for each in rules]
    return made


def sequence(
    description: str,
    items: Schema,
    *,
    most: int | None = None,
    least: int = 0,
    keys: Sequence[str] = (),
    rules: Sequence[Mapping[str, str]] = (),
) -> Schema:
    """A list; with ``keys`` its items are told apart by these fields."""
    made: Schema = {"description": description, "type": "array", "items": items}
    if most is not None:
        made["maxItems"] = most
    if least:
        made["minItems"] = least
    made["x-kubernetes-list-type"] = "map" if keys else "atomic"
    if keys:
        made["x-kubernetes-list-map-keys"] = list(keys)
    if rules:
        made["x-kubernetes-validations"] = [dict(each) for each in rules]
    return made
