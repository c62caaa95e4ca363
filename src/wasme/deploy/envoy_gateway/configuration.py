"""A filter's configuration on its way through Envoy Gateway, which knows JSON only.

``--config`` becomes a JSON value in the policy; the API server stores it, and Envoy Gateway hands the filter that
value's bytes just as the API server serves them (``wasmConfig`` of its translator takes the raw JSON). So the filter
gets what Go's encoder makes of the value (``go_json``), with whole numbers beyond 64 bits as doubles. A bare text
cannot pass: it would arrive with quotes.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

from wasme.deploy.go_json import encode
from wasme.errors import InputError

_INT64 = range(-(2**63), 2**63)
_DEEPEST = 1000


class Configuration(NamedTuple):
    """A configuration that Envoy Gateway can pass on.

    Attributes:
        value: what stands in the policy.
        received: the exact bytes that the filter gets.
    """

    value: Any
    received: bytes


def parse(text: str, where: str = "--config") -> Configuration | None:
    """Read a configuration as typed; None where there is none.

    Args:
        text: the configuration.
        where: it was typed.

    Raises:
        InputError: it is no JSON, or JSON that would arrive as something else.
    """
    if not text:
        return None
    try:
        value = _tamed(json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant), 0)
        # What is served was stored before, and read again: 2e0 is 2 then, a whole number.
        value = _tamed(json.loads(encode(value)), 0)
        received = encode(value).encode()
    except _Unfit as error:
        raise _refused(where, str(error)) from None
    except RecursionError:
        raise _refused(where, "it is nested too deeply") from None
    except UnicodeEncodeError:
        raise _refused(where, "it holds half a character (a lone surrogate)") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where} is no JSON: {error.msg} at character {error.pos + 1}; Envoy Gateway passes JSON only",
            hint="a filter that reads a plain text cannot get one there; one that reads JSON takes '\"text\"'",
        ) from None
    if value is None:
        raise _refused(where, f"null is no configuration for it: leave {where} away")
    return Configuration(value, received)


class _Unfit(Exception):
    """JSON that would arrive as something else."""


def _refused(where: str, why: str) -> InputError:
    return InputError(f"{where} cannot pass through Envoy Gateway: {why}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Unfit(f"it holds {twice!r} twice in one object")
    return found


def _refuse_constant(word: str) -> Any:
    raise _Unfit(f"{word} is no JSON")


def _tamed(value: Any, depth: int) -> Any:
    """The value as the API server reads it: whole numbers have 64 bits, and others are doubles."""
    if depth > _DEEPEST:
        raise RecursionError
    if isinstance(value, dict):
        return {name: _tamed(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_tamed(each, depth + 1) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and value not in _INT64:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unfit("it holds a number that is too large")
    return value
