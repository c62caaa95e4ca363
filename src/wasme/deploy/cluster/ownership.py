"""Who owns which field of an object, and whether an apply would change anything.

Server-side apply writes down, per manager, the fields of its last apply (``metadata.managedFields``, in the form
``fieldsV1``: https://kubernetes.io/docs/reference/using-api/server-side-apply/). So it can be told without asking the
server whether an apply would change an object: when every field that we want has our value and is ours, and no field
is ours that we do not want any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

# What an object is called is nobody's field, and what the server keeps for itself neither.
_NAMES = frozenset({"apiVersion", "kind"})
_NAMES_META = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"}
)

# What the server fills in inside a value that is owned as one (a fieldRef).
_FILLED_IN = {"apiVersion": "v1"}


def holds(live: Mapping[str, Any], wanted: Mapping[str, Any], manager: str = "wasme") -> bool:
    """Whether applying ``wanted`` would leave ``live`` as it is.

    Never true where an apply would change something. It may be false where an apply would change nothing: where the
    server writes a value in another form (``1000m`` as ``1``) or fills in defaults inside an atomic list.

    Args:
        live: the object as the server gives it, managedFields included.
        wanted: the object as it would be given to ``Cluster.apply``.
        manager: the field manager of that apply.
    """
    wanted_fields = {name: value for name, value in wanted.items() if name not in _NAMES}
    meta = {name: value for name, value in (wanted.get("metadata") or {}).items() if name not in _NAMES_META}
    if meta:
        wanted_fields["metadata"] = meta
    else:
        wanted_fields.pop("metadata", None)
    owned = owned_fields(live, manager, str(wanted.get("apiVersion", "")))
    if owned is None:
        # An apply of nothing but a name owns nothing, and is not written down.
        return not wanted_fields and owned_fields(live, manager) is None
    return _same(wanted_fields, live, owned)


def owned_fields(
    live: Mapping[str, Any], manager: str, api_version: str = "", *, operation: str = "Apply"
) -> dict[str, Any] | None:
    """The ``fieldsV1`` tree of a manager's applies (or its updates); None where it has none.

    With ``api_version`` only what was applied in that version counts: names differ between versions.
    """
    for entry in (live.get("metadata") or {}).get("managedFields") or []:
        if entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource"):
            if api_version and entry.get("apiVersion") != api_version:
                return None
            fields = entry.get("fieldsV1")
            return fields if isinstance(fields, dict) else {}
    return None


def _same(wanted: Any, live: Any, owned: Mapping[str, Any]) -> bool:
    below = [name for name in owned if name != "."]
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        if not below:
            # A map whose entries are others', or a value that is owned as one.
            return not wanted if "." in owned else _equal({**_FILLED_IN, **wanted}, {**_FILLED_IN, **live})
        if {f"f:{name}" for name in wanted} != set(below):
            return False
        return all(
            # The server keeps no empty map or list in most fields, though it writes down who owns it.
            _same(value, live[name], owned[f"f:{name}"]) if name in live else value in ({}, [])
            for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(live, list):
        if not below:
            return not wanted if "." in owned else _equal(wanted, live)
        return _same_list(wanted, live, {name: owned[name] for name in below})
    return not below and _equal(wanted, live)


def _same_list(wanted: list[Any], live: list[Any], owned: Mapping[str, Any]) -> bool:
    """Lists whose items have keys (``k:``), are a set (``v:``), or go by place (``i:``)."""
    if len(wanted) != len(owned):
        return False
    for name, fields in owned.items():
        sort, _, rest = name.partition(":")
        key = msgspec.json.decode(rest)
        if sort == "k":
            mine = [each for each in wanted if _keyed(each, key, missing=True)]
            theirs = [each for each in live if _keyed(each, key)]
            if len(mine) != 1 or len(theirs) != 1:
                return False
            # A key that was left out of what was applied has the server's default, and is not owned.
            if not _same(mine[0], theirs[0], fields):
                return False
        elif sort == "v":
            if not any(_equal(key, each) for each in wanted) or not any(_equal(key, each) for each in live):
                return False
        elif (
            not isinstance(key, int) or key >= min(len(wanted), len(live)) or not _same(wanted[key], live[key], fields)
        ):
            return False
    return True


def _keyed(item: Any, key: Mapping[str, Any], *, missing: bool = False) -> bool:
    if not isinstance(item, Mapping):
        return False
    return all(_equal(item[name], value) if name in item else missing for name, value in key.items())


def _equal(left: Any, right: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_equal(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)
