"""Fields of a stored object, each asked for with the type that it must have; an error names its path.

What was stored before our definition came was never validated, so nothing is taken for granted here. A field that is
null is a field that is not there, as in proto3's JSON, which the original read these objects with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wasme.errors import InputError

_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_PART}(?:\.{_PART})*")
_LABEL_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:(?=.{{1,253}}/){_PART}(?:\.{_PART})*/)?{_LABEL_NAME}")
_LABEL_VALUE = re.compile(rf"(?:{_LABEL_NAME})?")
_NAME = "of lower-case letters, digits, '-' and '.', with a letter or digit at both ends"
_SHOWN = 80


class Fields:
    """The fields of one object.

    Args:
        value: what is stored.
        path: where, such as ``spec.filter``.

    Raises:
        InputError: it is no object.
    """

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise InputError(f"{path}: must be an object, not {named(value)}")
        self._value = value
        self.path = path

    def error(self, name: str, text: str, hint: str | None = None) -> InputError:
        """An error of one field."""
        return InputError(f"{self.at(name)}: {text}", hint=hint)

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def raw(self, name: str) -> Any:
        """Whatever stands there; None for nothing."""
        return self._value.get(name)

    def has(self, name: str) -> bool:
        """Whether anything stands there."""
        return self.raw(name) is not None

    def section(self, name: str) -> Fields | None:
        """An object; None for none."""
        found = self.raw(name)
        return None if found is None else Fields(found, self.at(name))

    def text(self, name: str, default: str = "") -> str:
        """A string; where there is none or an empty one, ``default``."""
        found = self.raw(name)
        if found is None:
            return default
        if not isinstance(found, str):
            raise self.error(name, f"must be text, not {named(found)}")
        self._require_unicode(found)
        return found or default

    def name(self, name: str, default: str = "") -> str:
        """The name of an object of Kubernetes."""
        found = self.text(name, default)
        if found and not _SUBDOMAIN.fullmatch(found):
            raise self.error(name, f"{shown(found)} cannot name an object in Kubernetes", f"at most 253 {_NAME}")
        return found

    def flag(self, name: str) -> bool:
        """True or false; false for none."""
        found = self.raw(name)
        if found is None:
            return False
        if not isinstance(found, bool):
            raise self.error(name, f"must be true or false, not {named(found)}")
        return found

    def whole(self, name: str, low: int, high: int) -> int | None:
        """A whole number; None for none."""
        found = self.raw(name)
        return None if found is None else whole(found, self.at(name), low, high)

    def choice(self, name: str, *words: str, default: str = "") -> str:
        """One of some words, exactly so."""
        found = self.text(name, default)
        if found and found not in words:
            raise self.error(name, f"{shown(found)} is none of {', '.join(words)}")
        return found

    def labels(self, name: str) -> dict[str, str]:
        """Labels by key. They become a selector, in which a comma more would be a label more."""
        found = self.texts(name)
        for key, value in found.items():
            if not _LABEL_KEY.fullmatch(key):
                raise self.error(name, f"{shown(key)} is no label's name")
            if not _LABEL_VALUE.fullmatch(value):
                raise self.error(name, f"{shown(value)}, of {key}, is no label's value")
        return found

    def texts(self, name: str) -> dict[str, str]:
        """Text by name."""
        section = self.section(name)
        if section is None:
            return {}
        found: dict[str, str] = {}
        for key in section:
            if not isinstance(key, str):
                raise self.error(name, f"{shown(key)} is no name")
            section._require_unicode(key)
            if section.raw(key) is not None:
                found[key] = section.text(key)
        return found

    def items(self, name: str) -> list[tuple[str, Any]]:
        """The items of a list, each with its path; [] for none."""
        found = self.raw(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise self.error(name, f"must be a list, not {named(found)}")
        return [(f"{self.at(name)}[{index}]", each) for index, each in enumerate(found)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._value)

    def _require_unicode(self, text: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{self.path}: a text in it is not Unicode") from None
        if "\x00" in text:
            raise InputError(f"{self.path}: a text in it holds a NUL character")


def whole(value: Any, path: str, low: int, high: int) -> int:
    """A whole number within bounds.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{path}: must be a whole number, not {named(value)}")
    if not low <= value <= high:
        raise InputError(f"{path}: {shown(value)} is not between {low} and {high}")
    return value


def named(value: Any) -> str:
    """What kind of JSON value it is."""
    names: tuple[tuple[Callable[[Any], bool], str], ...] = (
        (lambda each: each is None, "null"),
        (lambda each: isinstance(each, bool), "true or false"),
        (lambda each: isinstance(each, int | float), "a number"),
        (lambda each: isinstance(each, str), "text"),
        (lambda each: isinstance(each, list), "a list"),
        (lambda each: isinstance(each, Mapping), "an object"),
    )
    return next((name for fits, name in names if fits(value)), "that")


def shown(value: Any) -> str:
    """A value within a message: quoted, and not the whole of a long one."""
    text = value if isinstance(value, str) else str(value)[: _SHOWN + 1]
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
