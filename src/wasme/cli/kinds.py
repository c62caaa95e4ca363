"""The types of flag values, under the names that the original's help gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


@dataclass(frozen=True)
class Kind:
    """How a flag's words become its value.

    Attributes:
        name: as help shows it; a switch shows none.
        default: the value where the flag is absent.
        read: all the words given for the flag, in order, to one value; raises ValueError with Go's words.
        is_switch: whether it takes a value only with ``=``.
    """

    name: str
    default: Any
    read: Callable[[list[str]], Any]
    is_switch: bool = False

    @staticmethod
    def copy_default(value: Any) -> Any:
        """A default that the command may change without changing it for the next."""
        return value.copy() if isinstance(value, dict | list) else value


def boolean(words: list[str]) -> bool:
    """Go's strconv.ParseBool."""
    word = words[-1]
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{word}": invalid syntax')


def integer(words: list[str]) -> int:
    """A whole number."""
    try:
        return int(words[-1], 10)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{words[-1]}": invalid syntax') from None


def duration(words: list[str]) -> float:
    """Go's time.ParseDuration, in seconds: ``1m30s``, ``250ms``, ``0``."""
    word = words[-1]
    if word in ("0", "+0", "-0"):
        return 0.0
    if not _DURATION.fullmatch(word):
        raise ValueError(f'time: invalid duration "{word}" (such as 250ms, 30s, 1m30s)')
    total = sum(float(number) * _UNITS[unit] for number, unit in _DURATION_PART.findall(word))
    return -total if word.startswith("-") else total


def comma_list(words: list[str]) -> list[str]:
    """``a,b`` and repeated; a comma inside double quotes stays (Go reads it as CSV)."""
    import csv

    result: list[str] = []
    for word in words:
        if word:
            result.extend(next(csv.reader([word], strict=True)))
    return result


def string_map(words: list[str]) -> dict[str, str]:
    """``k=v,k2=v2`` and repeated; one pair alone may hold commas in its value, as with pflag."""
    result: dict[str, str] = {}
    for word in words:
        pairs = comma_list([word]) if word.count("=") > 1 else [word.strip('"')]
        for pair in pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise ValueError(f"{pair} must be formatted as key=value")
            result[key] = value
    return result


def dry_run(words: list[str]) -> str:
    """kubectl's: ``client``, ``server`` or ``none``, and the original's switch, where bare and true are ``client``.

    Returns:
        ``client``, ``server``, or "" for none.
    """
    word = words[-1]
    if word in ("client", "server"):
        return word
    if word in _TRUE:
        return "client"
    if word in _FALSE or word == "none":
        return ""
    raise ValueError("not one of client, server, none")


def steps(words: list[str]) -> str:
    """``--rollout``: bare, the usual steps; "" for none; else the steps as typed, which are read later."""
    word = words[-1]
    if word in _TRUE - {"1"}:  # one workload, and then the others, is a rollout too
        return ROLLOUT
    return "" if word in _FALSE else word


ROLLOUT = "1,25%,100%"
"""The steps of a rollout where none are named."""

KINDS = {
    "string": Kind("string", "", lambda words: words[-1]),
    "bool": Kind("", False, boolean, is_switch=True),
    "int": Kind("int", 0, integer),
    "duration": Kind("duration", 0.0, duration),
    "stringArray": Kind("stringArray", (), tuple),
    "strings": Kind("strings", [], comma_list),
    "dryRun": Kind('string[="client"]', "", dry_run, is_switch=True),
    "steps": Kind(f'string[="{ROLLOUT}"]', "", steps, is_switch=True),
    "stringToString": Kind("stringToString", {}, string_map),
}
