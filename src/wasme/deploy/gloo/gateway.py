"""A Gloo Gateway with and without a filter: values in, values out.

Of a Gateway only the list ``spec.httpGateway.options.wasm.filters`` is wasme's business, and in it only the entries of
one name. What stands around the list is made where it is missing; an annotation remembers that, so that taking the
last filter away leaves the Gateway as it was before the first one came, and empty values of the user's own stay.
"""

from __future__ import annotations

import copy
from typing import Any

from wasme.errors import ObjectRefused

Gateway = dict[str, Any]
Patch = dict[str, Any]

MADE = "wasme.io/made"
"""The annotation that names the outermost value that wasme has made, such as ``options.wasm``."""
_PATH = ("options", "wasm", "filters")


def is_http(gateway: Gateway) -> bool:
    """Whether it serves HTTP by ``spec.httpGateway``; TCP and hybrid Gateways have no place for filters of wasme."""
    return isinstance(_spec(gateway).get("httpGateway"), dict)


def shown(gateway: Gateway) -> str:
    """As messages and logs name it: ``namespace.name``, the original's way."""
    meta = gateway.get("metadata") or {}
    return f"{meta.get('namespace', '')}.{meta.get('name', '')}"


def filters(gateway: Gateway) -> list[dict[str, Any]]:
    """The entries of all filters, wasme's and others'.

    Raises:
        ObjectRefused: something else stands where the list should be.
    """
    found: Any = _spec(gateway).get("httpGateway")
    for name in _PATH:
        found = (found or {}).get(name)
        if found is not None and not isinstance(found, list if name == "filters" else dict):
            raise ObjectRefused(
                f"Gateway {shown(gateway)}: spec.httpGateway.{_upto(name)} is not what Gloo reads there"
            )
    return list(found or ())


def has(gateway: Gateway, filter_id: str) -> bool:
    """Whether a filter of that name is there."""
    return any(each.get("name") == filter_id for each in filters(gateway))


def with_filter(gateway: Gateway, entry: dict[str, Any]) -> Gateway:
    """The Gateway with the filter; the same value where it has just that.

    An entry of the same name is replaced where it stands; a new one goes to its place by name. In a sorted list that
    is what the original's sorting gave, but a list in another order keeps it: it may be the order of the chain.
    """
    present = filters(gateway)
    same = [index for index, each in enumerate(present) if each.get("name") == entry["name"]]
    if same:
        wanted = [entry if index == same[0] else each for index, each in enumerate(present) if index not in same[1:]]
    else:
        name = entry["name"]
        behind = (index for index, each in enumerate(present) if str(each.get("name", "")) > name)
        place = next(behind, len(present))
        wanted = [*present[:place], entry, *present[place:]]
    if wanted == present:
        return gateway
    changed = copy.deepcopy(gateway)
    node, made = changed["spec"]["httpGateway"], ""
    for name in _PATH:
        if node.get(name) is None:
            made = made or _upto(name)
            node[name] = [] if name == "filters" else {}
        if name != "filters":
            node = node[name]
    node["filters"] = copy.deepcopy(wanted)
    if made:
        changed["metadata"].setdefault("annotations", {})[MADE] = made
    return changed


def without_filter(gateway: Gateway, filter_id: str) -> Gateway:
    """The Gateway without every entry of that name; the same value where there is none."""
    present = filters(gateway)
    left = [each for each in present if each.get("name") != filter_id]
    if len(left) == len(present):
        return gateway
    changed = copy.deepcopy(gateway)
    changed["spec"]["httpGateway"]["options"]["wasm"]["filters"] = left
    if not left:
        _unmake(changed)
    return changed


def _unmake(gateway: Gateway) -> None:
    """Take away what wasme made, from the inside out, as far as it is empty."""
    annotations = gateway["metadata"].get("annotations") or {}
    made = annotations.pop(MADE, "")
    if not made:
        return
    if not annotations:
        del gateway["metadata"]["annotations"]
    for name in reversed(_PATH):
        node = gateway["spec"]["httpGateway"]
        for outer in _PATH[: _PATH.index(name)]:
            node = node[outer]
        if node[name] or len(_upto(name)) < len(made):
            return
        del node[name]


def patch(after: Gateway) -> Patch:
    """The merge patch (RFC 7386) that makes a Gateway so, guarded by the version that was read.

    It names nothing but the list, what wasme made around it, and the annotation.
    """
    made = (after["metadata"].get("annotations") or {}).get(MADE)
    meta: Patch = {"resourceVersion": after["metadata"]["resourceVersion"], "annotations": {MADE: made}}
    node: Any = after["spec"]["httpGateway"]
    inner: Patch = {}
    place = inner
    for name in _PATH:
        if name not in node:
            place[name] = None
            break
        node = node[name]
        place[name] = node if name == "filters" else {}
        place = place[name]
    return {"metadata": meta, "spec": {"httpGateway": inner}}


def _spec(gateway: Gateway) -> dict[str, Any]:
    found = gateway.get("spec")
    return found if isinstance(found, dict) else {}


def _upto(name: str) -> str:
    return ".".join(_PATH[: _PATH.index(name) + 1])
