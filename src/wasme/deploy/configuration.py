"""A filter's configuration: from what a user typed to the exact bytes that the filter gets.

An EnvoyFilter, a Gloo Gateway and a bootstrap carry any text as it is, as a StringValue. A WasmPlugin and a
TrafficExtension carry an object, which istiod turns into text again, and that text is what the filter gets: compact
JSON, keys in order of their bytes, numbers as doubles, ``<``, ``>`` and ``&`` escaped as Go's encoder does it, and
nothing at all for an empty object. So what means something else after that way, or cannot go it, is told here.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

from wasme.deploy import go_json
from wasme.errors import InputError
from wasme.image.gojson import strings

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")


def read(given: str, flag: str = "--config") -> str:
    """The configuration that a flag gives: as it is, or with ``@`` the content of a file.

    Raises:
        InputError: the file cannot be read, or is no text.
    """
    if not given.startswith("@"):
        if any("\ud800" <= letter <= "\udfff" for letter in given):
            raise InputError(f"{flag} is not UTF-8 text", hint="a filter gets text, or JSON")
        return given
    path = Path(given[1:])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{flag}: cannot read {path}: {error.strerror or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: byte {error.start}") from None


def shown(text: str) -> str:
    """The exact bytes that a filter gets, on one line: control characters escaped, and how many bytes there are."""
    if not text:
        return "no configuration (0 bytes)"
    size = len(text.encode("utf-8", "surrogatepass"))
    printable = _UNPRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return f"{printable} ({size} byte{'s' if size != 1 else ''})"


def as_object(text: str) -> dict[str, Any] | None:
    """The configuration as a WasmPlugin carries it; None where there is none.

    Raises:
        InputError: it is no JSON object, or one that would reach the filter as something else.
    """
    if not text:
        return None
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_float=_number, parse_int=_number, parse_constant=_constant
        )
        text.encode()
        "".join(strings(found)).encode()
    except UnicodeError:
        raise _unfit("it is not Unicode text") from None
    except RecursionError:
        raise _unfit("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _unfit(f"it is no JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise _unfit(str(error)) from None
    if not isinstance(found, dict):
        raise _unfit("it is no JSON object")
    if not found:
        raise _unfit("an empty object reaches the filter as no configuration at all")
    return found


def as_istio_writes(value: dict[str, Any] | None) -> str:
    """The text that istiod makes of such an object, which is what the filter gets."""
    return "" if value is None else go_json.encode(value)


def _unfit(reason: str) -> InputError:
    return InputError(
        f"the configuration cannot be carried as an object: {reason}",
        hint="--as envoyfilter carries any text",
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        doubled = next(name for at, (name, _) in enumerate(pairs) if any(name == other for other, _ in pairs[:at]))
        raise ValueError(f"{go_json.encode(doubled)} is in one object twice")
    return found


def _number(word: str) -> int | float:
    """A number that is the same after it has been a double: written with the fewest digits that tell it apart."""
    number = float(word)
    written = Decimal(repr(number))
    if not math.isfinite(number) or written != Decimal(word):
        raise ValueError(f"{word[:40]} is no number that arrives as it is")
    # Whole numbers go as such: so goes -0, which an API server does not keep apart from 0 either.
    return int(written) if number.is_integer() and abs(number) < 1 << 63 else number


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
