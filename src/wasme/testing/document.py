"""A scenario file as plain values: YAML 1.2's core schema, bounded, and each value knowing where it stands.

YAML 1.1, which PyYAML reads by itself, takes ``on`` for a truth, ``12:30`` for 750 and ``007`` for 7; here they stay
text, as whoever tests headers means them. Aliases are allowed, merge keys are not, and what a file stands for with
all its aliases written out is counted before anything looks at it.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from wasme.errors import InvalidScenario
from wasme.testing import mistakes

LARGEST = 4 * 1024 * 1024
_DEEPEST = 50
_MOST = 100_000
_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a file.

    Attributes:
        value: plain: None, bool, int, float, str, list, dict.
        file: the file's name.
        path: where in the file, such as ``tests[2].expect``; "" for the whole.
        test: the name of the test it belongs to, once that is known.
    """

    value: Any
    file: str
    path: str = ""
    test: str = ""

    def fail(self, problem: str, hint: str | None = None) -> InvalidScenario:
        """The error for this value."""
        place = self.path + (f' ("{self.test}")' if self.test else "")
        return InvalidScenario(": ".join(each for each in (self.file, place, problem) if each), hint=hint)

    def named(self, test: str) -> Node:
        """The same value as part of a test."""
        return replace(self, test=test)

    def field(self, name: str) -> Node:
        """A mapping's value; of None where there is none."""
        path = f"{self.path}.{name}" if self.path else name
        return replace(self, value=self.value.get(name) if isinstance(self.value, dict) else None, path=path)

    def has(self, name: str) -> bool:
        """Whether a mapping has the field, if only as null."""
        return isinstance(self.value, dict) and name in self.value

    def members(self, known: Iterable[str]) -> Node:
        """Itself, if it is a mapping of fields that are known."""
        names = list(known)
        for name, node in self.entries():
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                meant = f"did you mean {close[0]}?" if close else f"known are {', '.join(names)}"
                raise node.fail(f"unknown field, {meant}")
        return self

    def entries(self) -> Iterator[tuple[str, Node]]:
        """A mapping's names and values, whatever the names are."""
        if not isinstance(self.value, dict):
            raise self.wrong("a mapping")
        for name in self.value:
            if not isinstance(name, str):
                raise self.fail(f"the name {name!r} is not text", hint="put it in quotes")
            yield name, self.field(name)

    def items(self) -> list[Node]:
        """A list's values."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [replace(self, value=each, path=f"{self.path}[{index}]") for index, each in enumerate(self.value)]

    def text(self) -> str:
        """Text; a whole number is text too."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        raise self.wrong("text", hint="put it in quotes" if isinstance(self.value, bool | float) else None)

    def whole(self, least: int, most: int) -> int:
        """A whole number."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise self.wrong("a whole number")
        if not least <= self.value <= most:
            raise self.fail(f"{self.value} is not between {least} and {most}")
        return self.value

    def truth(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value

    def wrong(self, wanted: str, hint: str | None = None) -> InvalidScenario:
        """The error for a value of another kind."""
        return self.fail(f"expected {wanted}, got {_KINDS.get(type(self.value), 'nothing')}", hint=hint)


def load(content: bytes, file: str) -> Node:
    """Read YAML.

    Args:
        content: the file's bytes.
        file: what to call it in errors.

    Raises:
        InvalidScenario: it is no YAML, is too large or too deep, or stands for too much.
    """
    import yaml

    root = Node(None, file)
    if len(content) > LARGEST:
        raise root.fail(f"larger than {LARGEST:,} bytes")
    try:
        text = content.decode("utf-8-sig")
        _bound(text, root)
        value = yaml.load(text, Loader=_loader())  # noqa: S506 - a safe loader, with fewer types still
    except UnicodeDecodeError as error:
        raise root.fail(f"not UTF-8 text: byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(getattr(error, "problem", None) or error).partition("\n")[0]
        raise root.fail(f"no YAML: {where}{problem}", hint=mistakes.hint(error, text)) from None
    except (ValueError, RecursionError) as error:
        raise root.fail(f"no YAML: {str(error).partition(chr(10))[0]}") from None
    try:
        if _size(value, {}) > _MOST:
            raise root.fail(f"stands for more than {_MOST:,} values, with its aliases")
    except RecursionError:
        raise root.fail("holds itself, by an alias") from None
    return replace(root, value=value)


def _bound(text: str, root: Node) -> None:
    """Depth and number of values, read as a stream: the loader would recurse as deep as the text."""
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise root.fail("nested too deeply")
        if count > 3 * _MOST:
            raise root.fail(f"holds more than {_MOST:,} values")


def _size(value: Any, seen: dict[int, int]) -> int:
    """How many values it stands for, each alias written out."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in seen:
        parts = value.values() if isinstance(value, dict) else value
        seen[id(value)] = 1 + sum(_size(each, seen) for each in parts)
    return seen[id(value)]


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Mappings, lists, text, and of the scalars only what YAML 1.2 and JSON agree on."""

        yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - PyYAML's own way
        yaml_constructors = {  # noqa: RUF012
            f"tag:yaml.org,2002:{kind}": yaml.SafeLoader.yaml_constructors[f"tag:yaml.org,2002:{kind}"]
            for kind in ("null", "bool", "int", "float", "str", "seq")
        }

        def mapping(self, node: Any) -> Iterator[Any]:
            made: dict[Any, Any] = {}
            yield made
            for key_node, value_node in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str | int | float | None):
                    raise yaml.MarkedYAMLError(problem="a name that is no text", problem_mark=key_node.start_mark)
                if key in made:
                    raise yaml.MarkedYAMLError(problem=f"{key!r} stands twice", problem_mark=key_node.start_mark)
                made[key] = self.construct_object(value_node, deep=True)

        def unknown(self, node: Any) -> Any:
            raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not known here", problem_mark=node.start_mark)

    Loader.add_constructor("tag:yaml.org,2002:map", Loader.mapping)
    Loader.add_constructor(None, Loader.unknown)
    for kind, pattern, first in (
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
        ("int", r"0|-?[1-9][0-9]{0,17}", list("-0123456789")),
        ("float", r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)", list("-0123456789")),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(rf"(?:{pattern})\Z"), first)
    return Loader
