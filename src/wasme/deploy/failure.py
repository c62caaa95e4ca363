"""Why Envoy ended, told to somebody who deploys a filter: what is wrong, and which flag or file to change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from wasme.envoy.process import Ended, explain
from wasme.errors import EnvoyError

_INTERFACES = (
    "no network of this machine has that address: 127.0.0.1 is this machine alone, 0.0.0.0 all of its addresses"
)
_UNPLACED = re.compile(r"(?:unknown enum value:|could not find @type) '([^']*)'")
_WHOLE = "the same command with --out=- shows the whole configuration, with the filter in it"


def explained(ended: Ended, bootstrap: str | None, values: Any) -> EnvoyError:
    """The error for an Envoy that ended by itself.

    Args:
        bootstrap: the name of the user's bootstrap; None for the default one.
        values: the whole configuration.
    """
    reason = ended.reason
    if reason.kind == "bind":
        return EnvoyError(f"Envoy {reason.text}", hint=_of_an_address(reason.text, bootstrap))
    if reason.kind == "configuration":
        return EnvoyError(
            f"Envoy refuses {bootstrap or 'its configuration'}: {_placed(reason.text, values)}", hint=_WHOLE
        )
    if reason.kind == "container":
        return EnvoyError(f"{ended.how}: {reason.text}", hint=_of_a_container(reason.text))
    error = explain(ended)
    if reason.kind == "filter":
        error.hint = "the filter did not take its configuration: look at --config and --root-id"
    return error


def _placed(text: str, values: Any) -> str:
    """With the path to a value that Envoy only quotes, if it stands in one place."""
    quoted = _UNPLACED.fullmatch(text)
    found = list(_paths(values, quoted[1])) if quoted else []
    return f"{found[0]}: {text}" if len(found) == 1 else text


def _paths(node: Any, value: str, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, each in node.items():
            yield from _paths(each, value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, each in enumerate(node):
            yield from _paths(each, value, f"{path}[{index}]")
    elif node == value:
        yield path


def _of_an_address(text: str, bootstrap: str | None) -> str | None:
    if "in use" in text:
        change = f"change it in {bootstrap}" if bootstrap else "--listen and --admin take other ones"
        return f"another program has that port: {change}; port 0 takes any free one"
    if "assign" in text:
        return _INTERFACES
    if "denied" in text.lower():
        return "this user may not have that port: those from 1024 on are for everybody"
    return None


def _of_a_container(text: str) -> str | None:
    lower = text.lower()
    if "connect to" in lower:
        return "start it; --runtime native needs none: pip install 'wasme[envoy]'"
    if "container name" in lower and "in use" in lower:
        return "--id gives the container another name"
    if "already in use" in lower or "already allocated" in lower:
        return "another program or container has that port: --listen and --admin take other ones"
    return None
