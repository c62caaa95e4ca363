"""YAML that keeps its comments: ruamel.yaml's round trip, with every plain scalar kept as the text it is.

Imported only where YAML of a user's is read or any is written.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.composer import Composer, ComposerError, MaxDepthExceededError
from ruamel.yaml.constructor import DuplicateKeyError, RoundTripConstructor
from ruamel.yaml.emitter import RoundTripEmitter
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.resolver import VersionedResolver, implicit_resolvers
from ruamel.yaml.scalarstring import PlainScalarString
from ruamel.yaml.tag import Tag
from ruamel.yaml.tokens import CommentToken

from wasme.envoy.layout import Layout
from wasme.errors import InvalidBootstrap

_STR = "tag:yaml.org,2002:str"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}")
_BASED = re.compile(r"0x[0-9a-fA-F]{1,400}|0o[0-7]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def load(text: str, where: str, deepest: int) -> tuple[Any, Layout]:
    """Read the one document of a YAML text; None if there is none.

    Raises:
        InvalidBootstrap: it is no YAML, has two documents, a doubled key, an alias to nothing, or is too deep.
    """
    yaml = _yaml()
    yaml.max_depth = deepest
    yaml.composer.warn_double_anchors = False
    try:
        root = yaml.load(text.replace("\r\n", "\n"))
    except MaxDepthExceededError as error:
        raise InvalidBootstrap(f"{where} cannot be read: {_place(error)}nested too deeply") from None
    except (ComposerError, DuplicateKeyError) as error:
        problem = str(error.problem).partition(" with value ")[0].removeprefix("but ")
        raise InvalidBootstrap(f"{where} cannot be read: {_place(error)}{problem}") from None
    except (YAMLError, ValueError) as error:
        problem = str(getattr(error, "problem", None) or error).partition("\n")[0]
        raise InvalidBootstrap(f"{where} is neither YAML nor JSON: {_place(error)}{problem}") from None
    return root, _layout(root, text)


def dump(root: Any, layout: Layout) -> str:
    """Write a document."""
    yaml = _yaml()
    yaml.explicit_start = layout.starts
    yaml.indent(mapping=layout.mapping, sequence=layout.dash + 2, offset=layout.dash)
    yaml.emitter.spaced = layout.spaced
    out = io.StringIO()
    yaml.dump(root, out)
    return out.getvalue().replace("\n", "\r\n") if layout.crlf else out.getvalue()


def plain(value: Any) -> Any:
    """A value as JSON knows it, by YAML 1.2's core schema; keys that Envoy is told to ignore are left out."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items() if str(getattr(key, "tag", "")) != "!ignore"}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.meant if isinstance(value, Scalar) else str(value) if isinstance(value, TaggedScalar) else value


class Scalar(PlainScalarString):
    """A scalar without quotes, as its text."""

    __slots__ = ()

    @property
    def meant(self) -> str | int | float | bool | None:
        """What it means by YAML 1.2's core schema."""
        text = str(self)
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        return float(text) if _FLOAT.fullmatch(text) else text


def put_commented(items: CommentedSeq, index: int, value: dict[str, Any], *, instead: bool) -> None:
    """Put a value into a list; the comments above an item stay above it."""
    made = _commented(value)
    above = _cut(items, index if instead else index - 1)
    if instead:
        items[index] = made
    else:
        if index == 0 and items.ca.comment and items.ca.comment[1]:
            above = "\n" + "".join(" " * each.column + each.value for each in items.ca.comment[1])
            items.ca.comment[1].clear()
        items.insert(index, made)
    _paste(items, index, above)


def drop_commented(items: CommentedSeq, index: int) -> None:
    """Take an item out; the comments below it stay."""
    below = _cut(items, index)
    del items[index]
    _paste(items, index - 1, below)


def _commented(value: Any) -> Any:
    if isinstance(value, dict):
        return CommentedMap({key: _commented(each) for key, each in value.items()})
    return CommentedSeq(map(_commented, value)) if isinstance(value, list) else value


def _last(items: CommentedSeq, index: int) -> tuple[dict[Any, Any], Any, int]:
    """Where ruamel.yaml keeps the comments behind an item: with its very last scalar. The table, the key, the slot."""
    node: Any = items
    key: Any = index
    while True:
        value = node[key]
        own = list(value.non_merged_items()) if isinstance(value, CommentedMap) else value
        if not isinstance(value, CommentedMap | CommentedSeq) or not own or value.fa.flow_style() or value.anchor.value:
            return node.ca.items, key, 0 if isinstance(node, CommentedSeq) else 2
        node, key = value, own[-1][0] if isinstance(value, CommentedMap) else len(value) - 1


def _cut(items: CommentedSeq, index: int) -> str:
    """Take the comments below an item; what stands on its last line stays."""
    if index < 0:
        return ""
    table, key, slot = _last(items, index)
    token = (table.get(key) or [None] * 4)[slot]
    if token is None:
        return ""
    line, end, below = token.value.partition("\n")
    token.value = line + end
    if not line:
        table[key][slot] = None
    return end + below if below else ""


def _paste(items: CommentedSeq, index: int, below: str) -> None:
    """Put comments below an item."""
    if below and index >= 0:
        table, key, slot = _last(items, index)
        table.setdefault(key, [None] * 4)[slot] = CommentToken(below, CommentMark(0))


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""


def _layout(root: Any, text: str) -> Layout:
    """What most of the text does."""
    mappings: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, CommentedMap | CommentedSeq) or id(node) in seen:
            continue
        seen.add(id(node))
        for value in node.values() if isinstance(node, CommentedMap) else node:
            waiting.append(value)
            if isinstance(node, CommentedMap) and isinstance(value, CommentedMap | CommentedSeq) and value:
                step = value.lc.col - node.lc.col
                if not value.fa.flow_style() and step >= 0:
                    (mappings if isinstance(value, CommentedMap) else dashes)[step] += 1
    return Layout(
        mapping=max(1, mappings.most_common(1)[0][0]) if mappings else 2,
        dash=dashes.most_common(1)[0][0] if dashes else 0,
        spaced=text.count("{ ") * 2 > text.count("{"),
        starts=bool(re.search(r"^---(\s|$)", text, re.MULTILINE)),
        crlf="\r\n" in text,
    )


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.Resolver, yaml.Composer, yaml.Constructor = _Resolver, _Composer, _Constructor
    yaml.Representer, yaml.Emitter = _Representer, _Emitter
    yaml.preserve_quotes = True
    yaml.width = 1 << 20
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    return yaml


class _Resolver(VersionedResolver):
    """Takes every scalar for text, but a merge key."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode:
            return Tag(suffix="tag:yaml.org,2002:merge" if value == "<<" and implicit[0] else _STR)
        return super().resolve(kind, value, implicit)


class _Composer(Composer):
    """Refuses what is no tree of texts: keys that are collections, and a value inside itself."""

    def return_alias(self, a: Any) -> Any:
        if a.end_mark is None:
            raise ComposerError(None, None, f"{a.anchor!r} is an alias inside of itself", a.start_mark)
        return a

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise ComposerError(None, None, "a key that is no text", key.start_mark)
        return node


class _Constructor(RoundTripConstructor):
    """Keeps whatever has a tag of its own as it is."""

    yaml_constructors = {  # noqa: RUF012 - ruamel.yaml's own way
        tag: RoundTripConstructor.yaml_constructors[tag]
        for tag in (_STR, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", None)
    }

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        return Scalar(value, anchor=node.anchor) if type(value) in (str, PlainScalarString) else value


class _Representer(RoundTripRepresenter):
    """Writes values of our own so that no YAML parser, of 1.1 or 1.2, takes a text for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return type(data) in (dict, list) or bool(super().ignore_aliases(data))

    def represent_text(self, data: str) -> Any:
        taken = any(pattern.match(data) for _, _, pattern, _ in implicit_resolvers)
        return self.represent_scalar(_STR, data, style="|" if "\n" in data else "'" if taken else None)

    def represent_value(self, data: Any) -> Any:
        return self.represent_scalar(_STR, "null" if data is None else str(data).lower())


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(Scalar, RoundTripRepresenter.represent_plain_scalarstring)
for _kind in (type(None), bool, int, float):
    _Representer.add_representer(_kind, _Representer.represent_value)


class _Emitter(RoundTripEmitter):
    spaced = False

    def choose_scalar_style(self) -> Any:
        if self.flow_level and not self.event.value and not self.event.style:
            self.event.value, self.analysis = "null", None  # nothing at all would be read as ''
        return super().choose_scalar_style()

    def write_pre_comment(self, event: Any) -> bool:
        """Where all comments have been taken from, there is no line to begin."""
        return bool(event.comment and event.comment[1]) and bool(super().write_pre_comment(event))

    def write_indicator(self, indicator: Any, *args: Any, **named: Any) -> None:
        """Braces with blanks inside, if the user writes them so."""
        if self.spaced and indicator.endswith("{") and not self.check_empty_mapping():
            indicator += " "
        elif self.spaced and indicator == "}" and not self.whitespace:
            indicator = " }"
        super().write_indicator(indicator, *args, **named)
