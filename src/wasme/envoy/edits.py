"""Changes of a document's values, as edits of its text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wasme.envoy.document import Map, Seq, Span, dump


@dataclass(frozen=True, slots=True)
class Edit:
    """Put ``text`` where the characters from ``start`` to ``end`` stand."""

    start: int
    end: int
    text: str


def edited(text: str, root: Any) -> str | None:
    """The text with what has changed in ``root``; None if that cannot be written into the text."""
    editor = _Editor(text)
    try:
        editor.visit(root)
    except _NotInText:
        return None
    result: list[str] = []
    at = 0
    for edit in sorted(editor.edits, key=lambda each: (each.start, each.end)):
        if edit.start < at:
            return None
        result += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*result, text[at:]])


class _NotInText(Exception):
    """The text is laid out in a way that has no room for a change."""


class _End:
    """Stands behind the last item."""


class _Editor:
    def __init__(self, text: str) -> None:
        self.text = text
        self.edits: list[Edit] = []
        self._seen: set[int] = set()

    def visit(self, value: Any) -> None:
        """Compare a value with what was read, and note the edits."""
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if not isinstance(node, Map | Seq) or id(node) in self._seen:
                continue
            self._seen.add(id(node))
            if isinstance(node, Map):
                self._mapping(node)
                waiting.extend(node.values())
            else:
                self._list(node)
                waiting.extend(node)

    def _mapping(self, node: Map) -> None:
        place = node.place
        added = 0
        for key, value in node.items():
            if key in place.was:
                if value is not place.was[key]:
                    span = place.spans[key]
                    self._put(span, (" " if span.start == span.end else "") + json.dumps(value))
            elif isinstance(value, dict | list) and not isinstance(value, Map | Seq):
                self._add_key(node, key, value, first=not place.was and not added)
                added += 1
            elif "<<" not in place.was:
                raise _NotInText
        if any(key not in node for key in place.was if key != "<<"):
            raise _NotInText

    def _add_key(self, node: Map, key: str, value: Any, *, first: bool) -> None:
        place = node.place
        if place.flow:
            comma = "" if first else ", "
            self._put(Span(place.span.end - 1, place.span.end - 1), f"{comma}{json.dumps(key)}: {json.dumps(value)}")
            return
        block = _indented(dump({key: value}), place.column)
        at = self._line_end(place.span.end)
        self._put(Span(at, at), ("" if self._begins_line(at) else "\n") + block)

    def _list(self, node: Seq) -> None:
        """What is old keeps its place; what is new stands before the next old one, or replaces what has gone."""
        place = node.place
        kept = {id(each) for each in node}
        old = [(index, place.was[index]) for index in range(len(place.was))]
        gone = [index for index, each in old if id(each) not in kept]
        # An alias puts the same value into a list twice.
        positions: dict[int, list[int]] = {}
        for index, each in old:
            positions.setdefault(id(each), []).append(index)
        fresh: list[Any] = []
        done: set[int] = set()
        for number, each in enumerate([*node, _End()]):
            found = positions[id(each)].pop(0) if positions.get(id(each)) else None
            if number < len(node) and found is None:
                fresh.append(each)
                continue
            upto = len(old) if found is None else found
            for missing in [one for one in gone if one < upto and one not in done]:
                done.add(missing)
                self._replace(node, missing, fresh.pop(0) if fresh else None)
            if fresh:
                self._insert(node, found, fresh)
            fresh = []

    def _insert(self, node: Seq, before: int | None, values: list[Any]) -> None:
        place = node.place
        if place.flow:
            items = ", ".join(map(json.dumps, values))
            if before is not None:
                at = place.spans[before].start
                self._put(Span(at, at), f"{items}, ")
            else:
                at = place.span.end - 1
                self._put(Span(at, at), (", " if place.was else "") + items)
            return
        block = "".join(_item(value, place.column) for value in values)
        if before is None:
            at = self._line_end(place.span.end)
            self._put(Span(at, at), ("" if self._begins_line(at) else "\n") + block)
            return
        at = self._above_comments(self._dash_line(node, before), place.column)
        self._put(Span(at, at), block)

    def _replace(self, node: Seq, index: int, value: Any) -> None:
        span = node.place.spans[index]
        if value is not None:
            column = span.start - self.text.rfind("\n", 0, span.start) - 1
            block = json.dumps(value) if node.place.flow else _indented(dump(value), column).strip()
            self._put(span, block)
        elif node.place.flow:
            raise _NotInText
        else:
            self._put(Span(self._dash_line(node, index), self._line_end(span.end)), "")

    def _dash_line(self, node: Seq, index: int) -> int:
        """Where the line with an item's dash begins."""
        dash = node.place.dashes[index]
        begin = self.text.rfind("\n", 0, dash) + 1
        if self.text[begin:dash].strip():
            raise _NotInText
        return begin

    def _above_comments(self, at: int, column: int) -> int:
        """A comment right above an item belongs to it."""
        while at > 0:
            begin = self.text.rfind("\n", 0, at - 1) + 1
            line = self.text[begin:at]
            if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) != column:
                return at
            at = begin
        return at

    def _line_end(self, at: int) -> int:
        """Behind the end of the line, with the comment that may stand there."""
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def _begins_line(self, at: int) -> bool:
        return at == 0 or self.text[at - 1] == "\n"

    def _put(self, span: Span, text: str) -> None:
        self.edits.append(Edit(span.start, span.end, text))


def _item(value: Any, column: int) -> str:
    """One item of a block list, its dash in that column."""
    block = _indented(dump(value), column + 2)
    return " " * column + "- " + block[column + 2 :]


def _indented(block: str, column: int) -> str:
    return "".join(" " * column + line if line.strip() else line for line in block.splitlines(keepends=True))
