"""``spec.filter.config``: a text, an object or a typed value; and the text that a filter gets of each."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from wasme.deploy import go_json
from wasme.errors import InputError
from wasme.operator.resources.fields import named, shown

_TYPE = "@type"
_TYPES = ("StringValue", "Struct", "BytesValue")
_PACKAGE = "google.protobuf."
_HINT = f"a text, an object, or {{'@type': type.googleapis.com/{_PACKAGE}StringValue, value: TEXT}}"


def read(value: Any, path: str) -> str:
    """The text that the filter gets.

    An object becomes the compact JSON that Go's encoder makes, which is what arrives by way of a WasmPlugin as well: so
    a filter gets the same bytes whatever carries it.

    Args:
        value: as stored: an object with ``@type`` is one of Envoy's typed configurations, as the original took them.
        path: for errors.

    Raises:
        InputError: it is something else, or no text.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return _unicode(value, path)
    if not isinstance(value, Mapping):
        raise InputError(f"{path}: must be text or an object, not {named(value)}", hint=_HINT)
    if _TYPE in value:
        return _typed(value, path)
    return _json(value, path)


def _typed(value: Mapping[str, Any], path: str) -> str:
    url = value[_TYPE]
    if not isinstance(url, str):
        raise InputError(f"{path}.{_TYPE}: must be text, not {named(url)}", hint=_HINT)
    name = url.rpartition("/")[2]
    kind = name.removeprefix(_PACKAGE) if name.startswith(_PACKAGE) else ""
    if kind not in _TYPES:
        raise InputError(
            f"{path}.{_TYPE}: {shown(url)} is no type that a filter gets its configuration in: "
            f"{', '.join(_PACKAGE + each for each in _TYPES)}",
            hint=_HINT,
        )
    more = [str(each) for each in value if each not in (_TYPE, "value")]
    if more:
        raise InputError(f"{path}: {shown(more[0])} stands beside value, which is all that {kind} has", hint=_HINT)
    given = value.get("value")
    if kind == "Struct":
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{path}.value: must be an object for Struct, not {named(given)}")
        return _json(given or {}, f"{path}.value")
    if given is not None and not isinstance(given, str):
        raise InputError(f"{path}.value: must be text for {kind}, not {named(given)}")
    text = _unicode(given or "", f"{path}.value")
    return text if kind == "StringValue" else _bytes(text, f"{path}.value")


def _bytes(text: str, path: str) -> str:
    """Of base64 with either alphabet, with or without padding, as proto3's JSON has bytes."""
    try:
        padded = text.rstrip("=")
        raw = base64.b64decode(padded + "=" * (-len(padded) % 4), altchars=b"-_" if set("-_") & set(text) else None,
                               validate=True)  # fmt: skip
    except (binascii.Error, ValueError):
        raise InputError(f"{path}: is not base64") from None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} of it is not UTF-8 text; a filter's configuration is carried as text",
            hint="let the filter decode base64 itself, and give it as text",
        ) from None


def _json(value: Mapping[str, Any], path: str) -> str:
    try:
        _require_finite(value)
        return _unicode(go_json.encode(dict(value)), path)
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    except (TypeError, ValueError, ArithmeticError):
        raise InputError(f"{path}: is no JSON") from None


def _require_finite(value: Any) -> None:
    if isinstance(value, Mapping):
        for each in value.values():
            _require_finite(each)
    elif isinstance(value, list):
        for each in value:
            _require_finite(each)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)


def _unicode(text: str, path: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{path}: is not Unicode text") from None
    return text
