"""A bootstrap as text: YAML or JSON in, and out again with the user's comments, order and quotes as they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from wasme.errors import InvalidBootstrap


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed bootstrap.

    Attributes:
        root: its mapping, to be changed in place.
        layout: how the YAML it came from was indented; None for JSON and for values of our own.
    """

    root: dict[str, Any]
    layout: Layout | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns per level of a mapping and of a list, and whether the document began with ``---``."""

    mapping: int
    sequence: int
    offset: int
    starts: bool


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
            return _checked(json.loads(text), None, where)
        except ValueError:
            pass  # a YAML flow mapping begins like JSON
        except RecursionError:
            raise InvalidBootstrap(f"{where} is nested too deeply") from None
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    loader = YAML(typ="rt")
    loader.preserve_quotes = True
    try:
        root = loader.load(text)
    except YAMLError as error:
        raise InvalidBootstrap(f"{where} is neither YAML nor JSON: {_one_line(error)}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidBootstrap(f"{where} is neither YAML nor JSON: {error}") from None
    return _checked(root, text, where)


def to_yaml(document: Document) -> str:
    """The document as YAML; one that came from YAML keeps its comments, order and quotes."""
    if document.layout is None:
        import yaml

        return yaml.dump(document.root, Dumper=_dumper(), sort_keys=False, width=4096, allow_unicode=True)
    import io

    from ruamel.yaml import YAML

    dumper = YAML(typ="rt")
    dumper.preserve_quotes = True
    dumper.width = 1 << 20
    dumper.explicit_start = document.layout.starts
    dumper.indent(document.layout.mapping, document.layout.sequence, document.layout.offset)
    out = io.StringIO()
    dumper.dump(document.root, out)
    return out.getvalue()


def to_json(document: Document) -> str:
    """The document as JSON."""
    return json.dumps(document.root, indent=2, default=str) + "\n"


def _checked(root: Any, text: str | None, where: str) -> Document:
    if not isinstance(root, dict):
        what = "is empty" if root is None else "is not a mapping"
        raise InvalidBootstrap(f"{where} {what}", hint="an Envoy bootstrap has static_resources and more at its top")
    return Document(root, None if text is None else _layout(root, text))


def _layout(root: Any, text: str) -> Layout:
    """Take the indentation from the first nested mapping and the first list of mappings."""
    mapping = offset = None
    waiting = [root]
    while waiting and (mapping is None or offset is None):
        node = waiting.pop(0)
        entries = node.values() if isinstance(node, dict) else node
        for value in entries:
            if not isinstance(value, dict | list) or value.fa.flow_style():  # type: ignore[union-attr]
                continue
            waiting.append(value)
            if isinstance(node, dict):
                step = value.lc.col - node.lc.col  # type: ignore[attr-defined,union-attr]
                if isinstance(value, dict) and mapping is None and step > 0:
                    mapping = step
                elif isinstance(value, list) and offset is None and value:
                    offset = max(step, 0)
    mapping, offset = mapping or 2, offset or 0
    return Layout(mapping, offset + 2, offset, any(line.rstrip() == "---" for line in text.splitlines()))


def _one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or error).splitlines()[0]
    return f"line {mark.line + 1}: {problem}" if mark is not None else problem


def _dumper() -> Any:
    import yaml

    class Plain(yaml.SafeDumper):
        """Texts of several lines as blocks, and no aliases: Envoy's YAML is read by people."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: Any, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Plain.add_representer(str, text)
    return Plain
