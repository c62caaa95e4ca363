"""A bootstrap as text: YAML or JSON in, changed as values, and out again.

What came as YAML keeps its comments, order, quotes, anchors and the very text of its scalars, so that Envoy reads each
just as the user wrote it, however its YAML parser takes ``on`` or ``012``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wasme.envoy.layout import Layout
from wasme.errors import InvalidBootstrap

_DEEPEST = 100
_LARGEST = 1_000_000
_ODD_HINT = "move comments out of brackets and complex keys, or write JSON with --out FILE.json"


@dataclass(frozen=True, slots=True)
class Document:
    """A bootstrap.

    Attributes:
        root: its mapping, to be changed in place.
        layout: of the YAML it was read from; None for JSON and for values of our own.
    """

    root: dict[str, Any]
    layout: Layout | None = None

    def values(self) -> dict[str, Any]:
        """The root as plain values, fit for JSON."""
        if self.layout is None:
            return self.root
        from wasme.envoy.roundtrip import plain

        values: dict[str, Any] = plain(self.root)
        return values


def parse(text: str, where: str) -> Document:
    """Read a bootstrap.

    Args:
        text: YAML or JSON.
        where: what to call it in an error.

    Raises:
        InvalidBootstrap: it is neither, no mapping, too deep, or stands for too much.
    """
    root, layout = _read(text, where)
    if not isinstance(root, dict):
        what = "is empty" if root is None else "is not a mapping"
        raise InvalidBootstrap(f"{where} {what}", hint="an Envoy bootstrap has static_resources and more at its top")
    try:
        depth, count = _measure(root, {})
    except RecursionError:
        depth, count = _DEEPEST + 1, 0
    if depth > _DEEPEST:
        raise InvalidBootstrap(f"{where} is nested too deeply")
    if count > _LARGEST:
        raise InvalidBootstrap(f"{where} stands for more than {_LARGEST:,} values, with its aliases")
    return Document(root, layout)


def to_yaml(document: Document) -> str:
    """The document as YAML.

    Raises:
        InvalidBootstrap: the text would not say what is meant, for a comment in an odd place.
    """
    from wasme.envoy import roundtrip

    text = roundtrip.dump(document.root, document.layout or Layout())
    if document.layout is not None and not _says(text, document):
        raise InvalidBootstrap("the bootstrap cannot be written with its comments", hint=_ODD_HINT)
    return text


def to_json(document: Document) -> str:
    """The document as JSON."""
    return json.dumps(document.values(), indent=2) + "\n"


def put(items: Any, index: int, value: dict[str, Any], *, instead: bool = False) -> None:
    """Put ``value`` into a list of a document: before or instead of an item; comments stay with their items."""
    if type(items) is not list:
        from wasme.envoy.roundtrip import put_commented

        put_commented(items, index, value, instead=instead)
    elif instead:
        items[index] = value
    else:
        items.insert(index, value)


def drop(items: Any, index: int) -> None:
    """Take an item out of a list of a document; the comments around it stay."""
    if type(items) is not list:
        from wasme.envoy.roundtrip import drop_commented

        drop_commented(items, index)
    else:
        del items[index]


def meant(value: Any) -> Any:
    """What a value of a document means: a plain scalar of YAML is kept as its text."""
    return getattr(value, "meant", value)


def _says(text: str, document: Document) -> bool:
    try:
        return parse(text, "").values() == document.values()
    except InvalidBootstrap:
        return False


def _read(text: str, where: str) -> tuple[Any, Layout | None]:
    if text.lstrip()[:1] == "{":
        try:
            return json.loads(text), None
        except ValueError:
            pass  # a YAML flow mapping begins like JSON
        except RecursionError:
            raise InvalidBootstrap(f"{where} is nested too deeply") from None
    from wasme.envoy import roundtrip

    return roundtrip.load(text, where, _DEEPEST)


def _measure(value: Any, seen: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How deep a value is, and how many it holds with every alias written out."""
    if not isinstance(value, dict | list):
        return 0, 1
    if id(value) not in seen:
        found = [_measure(each, seen) for each in (value.values() if isinstance(value, dict) else value)]
        seen[id(value)] = (
            1 + max((depth for depth, _ in found), default=0),
            1 + sum(count for _, count in found),
        )
    return seen[id(value)]
