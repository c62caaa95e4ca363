"""A bootstrap as text: YAML or JSON in, changed as values, and out again with everything else as it was.

YAML is read into dictionaries and lists that remember which characters of the text each of their members came from.
When the document is written, only what has been put in, replaced or taken out is edited in the text. So comments,
order, quotes, anchors and blank lines of the user's survive to the byte, and Envoy reads every other value just as the
user wrote it, however its YAML parser takes ``on`` or ``012``.

The edited text is read once more and compared with the values meant. Where an edit cannot be made in the text (lists
begun inside lists on one line), the whole is written anew, without comments.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wasme.errors import InvalidBootstrap

log = logging.getLogger(__name__)

_DEEPEST = 100
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# A list's anchor and tag, blanks and comments may stand before a dash.
_TO_DASH = re.compile(r"(?:[&!]\S*+|\s++|#[^\n]*+)*+-")
_STRING_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True)
class Span:
    """Where a value stands: the indexes of its first character and of the one behind its last."""

    start: int
    end: int


@dataclass(slots=True)
class Place:
    """Of a mapping or list in the text, as it was read.

    Attributes:
        span: the whole of it.
        column: of its first key or dash.
        flow: whether it is written in braces or brackets.
        spans: of its values, by key or index.
        was: its values.
        dashes: where the items of a block list begin.
    """

    span: Span
    flow: bool
    column: int = 0
    spans: dict[Any, Span] = field(default_factory=dict)
    was: dict[Any, Any] = field(default_factory=dict)
    dashes: list[int] = field(default_factory=list)


class Map(dict[str, Any]):
    """A mapping that knows its place."""

    place: Place


class Seq(list[Any]):
    """A list that knows its place."""

    place: Place


@dataclass(frozen=True, slots=True)
class Document:
    """A bootstrap.

    Attributes:
        root: its mapping, to be changed in place.
        text: the YAML it was read from; None for JSON and for values of our own.
    """

    root: dict[str, Any]
    text: str | None = None


def parse(text: str, where: str) -> Document:
    """Read a bootstrap.

    Args:
        text: YAML or JSON.
        where: what to call it in an error.

    Raises:
        InvalidBootstrap: it is neither, or no mapping.
    """
    if text.lstrip()[:1] == "{":
        try:
            root = json.loads(text)
        except ValueError:
            pass  # a YAML flow mapping begins like JSON
        except RecursionError:
            raise InvalidBootstrap(f"{where} is nested too deeply") from None
        else:
            _check_depth(root, where)
            return Document(_mapping(root, where))
    return Document(_mapping(_read(text, where), where), text)


def to_yaml(document: Document) -> str:
    """The document as YAML: the text it came from with the changes in it, or all of it anew."""
    if document.text is not None:
        from wasme.envoy.edits import edited

        text = edited(document.text, document.root)
        try:
            if text is not None and _read(text, "") == document.root:
                return text
        except InvalidBootstrap:
            pass
        log.warning("the bootstrap is written anew: its layout does not let comments be kept")
    return dump(document.root)


def to_json(document: Document) -> str:
    """The document as JSON."""
    return json.dumps(document.root, indent=2) + "\n"


def dump(value: Any) -> str:
    """Any value as block YAML."""
    import yaml

    class Plain(yaml.SafeDumper):
        """Texts of several lines as blocks, and no aliases: people read it."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar(_STRING_TAG, value, style="|" if "\n" in value else None)

    Plain.add_representer(str, text)
    Plain.add_representer(Map, Plain.represent_dict)
    Plain.add_representer(Seq, Plain.represent_list)
    return yaml.dump(value, Dumper=Plain, sort_keys=False, width=4096, allow_unicode=True)


def _mapping(root: Any, where: str) -> dict[str, Any]:
    if isinstance(root, dict):
        return root
    what = "is empty" if root is None else "is not a mapping"
    raise InvalidBootstrap(f"{where} {what}", hint="an Envoy bootstrap has static_resources and more at its top")


def _check_depth(root: Any, where: str) -> None:
    level = [root]
    for _ in range(_DEEPEST):
        level = [each for node in level for each in (node.values() if isinstance(node, dict) else node)
                 if isinstance(each, dict | list)]  # fmt: skip
    if level:
        raise InvalidBootstrap(f"{where} is nested too deeply")


def _read(text: str, where: str) -> Any:
    """The one document of a YAML text; None if there is none."""
    import yaml

    try:
        return _Reading(text, where).all(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = str(getattr(error, "problem", None) or error).splitlines()[0]
        line = f"line {mark.line + 1}: " if mark is not None else ""
        raise InvalidBootstrap(f"{where} is neither YAML nor JSON: {line}{problem}") from None


def _index(mark: Any) -> int:
    index: int = mark.index
    return index


class _Reading:
    """Builds values of the parser's events, without recursion."""

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.anchors: dict[str, tuple[Any, Span]] = {}

    def all(self, events: Iterator[Any]) -> Any:
        """Read all events.

        Raises:
            InvalidBootstrap: more than one document, a doubled key, an alias to nothing, or too deep.
        """
        import yaml

        root: Any = None
        documents = 0
        # Of each open collection: itself, its place, the key that waits for its value, its anchor.
        stack: list[tuple[Map | Seq, Place, list[Any], str | None]] = []
        event: Any
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._wrong(event, "a second document")
                continue
            if isinstance(event, yaml.CollectionStartEvent):
                opened: Map | Seq = Map() if isinstance(event, yaml.MappingStartEvent) else Seq()
                start: Any = event.start_mark
                place = Place(Span(start.index, start.index), bool(event.flow_style))
                opened.place = place
                if event.anchor:
                    self.anchors[event.anchor] = (opened, place.span)
                stack.append((opened, place, [], event.anchor))
                if len(stack) > _DEEPEST:
                    raise self._wrong(event, "nested too deeply")
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                value, place, _, anchor = stack.pop()
                last = max((span.end for span in place.spans.values()), default=place.span.start)
                span = place.span = Span(place.span.start, _index(event.end_mark) if place.flow else last)
                if anchor:
                    self.anchors[anchor] = (value, span)
            elif isinstance(event, yaml.ScalarEvent):
                value, span = self._scalar(event), self._scalar_span(event)
                if event.anchor:
                    self.anchors[event.anchor] = (value, span)
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self.anchors:
                    raise self._wrong(event, f"an alias to the unknown anchor {event.anchor}")
                value, span = self.anchors[event.anchor][0], Span(_index(event.start_mark), _index(event.end_mark))
            else:
                continue
            if not stack:
                root = value
            else:
                self._put(event, stack[-1], value, span)
        return root

    def _put(self, event: Any, into: tuple[Map | Seq, Place, list[Any], str | None], value: Any, span: Span) -> None:
        target, place, waiting, _ = into
        if isinstance(target, Seq):
            if not place.flow:
                self._note_dash(place)
            place.spans[len(target)], place.was[len(target)] = span, value
            target.append(value)
        elif not waiting:
            if isinstance(value, dict | list):
                raise self._wrong(event, "a key that is no text")
            if not place.was:
                place.column = event.start_mark.column
            waiting.append(str(value) if value is not None else "null")
        else:
            key = waiting.pop()
            if key == "<<" and isinstance(value, Map | Seq):
                self._merge(target, value)
            elif key in place.was:
                raise self._wrong(event, f"the key {key} for the second time")
            # A merged value of the same name gives way.
            place.spans[key], place.was[key] = span, value
            if key != "<<":
                target[key] = value

    def _note_dash(self, place: Place) -> None:
        """Find the dash of the item that is to be put next: behind the one before, or where the list begins."""
        after = place.spans[len(place.was) - 1].end if place.was else place.span.start
        found = _TO_DASH.match(self.text, after)
        dash = found.end() - 1 if found else after
        place.dashes.append(dash)
        if len(place.dashes) == 1:
            place.column = dash - self.text.rfind("\n", 0, dash) - 1

    def _merge(self, target: Map, source: Map | Seq) -> None:
        for each in [source] if isinstance(source, Map) else source:
            if isinstance(each, Map):
                for key, value in each.items():
                    target.setdefault(key, value)

    def _scalar(self, event: Any) -> Any:
        """YAML 1.2's core schema."""
        text: str = event.value
        if event.tag is not None or event.style not in (None, ""):
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOLEAN.fullmatch(text):
            return text.lower() == "true"
        if _INTEGER.fullmatch(text) and len(text) < 400:
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _scalar_span(self, event: Any) -> Span:
        start, end = event.start_mark.index, event.end_mark.index
        if event.style in ("|", ">"):
            end = start + len(self.text[start:end].rstrip())
        return Span(start, end)

    def _wrong(self, event: Any, what: str) -> InvalidBootstrap:
        line = event.start_mark.line + 1
        return InvalidBootstrap(f"{self.where} cannot be read: line {line}: {what}")
