"""runtime-config.json: which root ids a filter offers and which ABI versions it was built for.

Read as proto3 JSON (field names in camelCase or, as in the .proto file, with underscores; null means absent) and
written in one form only, because the digest of that form is part of the image's digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wasme.errors import InvalidRuntimeConfig
from wasme.image import gojson

MAX_BYTES = 1 << 20
FILE_NAME = "runtime-config.json"
_TYPE_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """What a module says about how to run it.

    Attributes:
        type: the runtime, by convention ``envoy_proxy``; not checked, as in the original.
        abi_versions: ABI names, e.g. ``v0.2.1``.
        root_ids: the root ids that the module registers; the first is the default.
        has_config: whether ``config`` was there at all: an empty one is kept, since it changes the digest.
    """

    type: str = ""
    abi_versions: tuple[str, ...] = ()
    root_ids: tuple[str, ...] = ()
    has_config: bool = False

    def __post_init__(self) -> None:
        if self.root_ids and not self.has_config:
            object.__setattr__(self, "has_config", True)


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands in the text, doubled keys and all."""


def parse(content: bytes, where: str = FILE_NAME, *, strict: bool = True) -> RuntimeConfig:
    """Read a runtime config.

    Args:
        content: the file's bytes.
        where: what to call it in errors, e.g. its path.
        strict: whether an unknown key is an error, as it is for a file about to be built into an image. Images that
            others made are read leniently: unknown keys are skipped, and ``abi_version``, the specification's own
            example, counts as one ABI version.

    Raises:
        InvalidRuntimeConfig: with the path of the offending value.
    """
    import json

    if len(content) > MAX_BYTES:
        raise InvalidRuntimeConfig(f"{where} has {len(content)} bytes; a runtime config has at most {MAX_BYTES}")
    try:
        text = content.decode("utf-8-sig")
        document = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse_constant)
        text = "".join(gojson.strings(document))  # half a surrogate pair in any of them cannot be written again
        text.encode()
    except UnicodeError:
        raise InvalidRuntimeConfig(f"{where} is not UTF-8 text") from None
    except RecursionError:
        raise InvalidRuntimeConfig(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise InvalidRuntimeConfig(f"{where} is not JSON: {error}") from None
    return _Reader(where, strict).document(document)


def encode(config: RuntimeConfig) -> bytes:
    """The one form in which a runtime config is stored and pushed: compact, empty fields left out, Go's escapes."""
    return gojson.encode(_fields(config))


def _fields(config: RuntimeConfig) -> dict[str, gojson.Json]:
    fields: dict[str, gojson.Json] = {}
    if config.type:
        fields["type"] = config.type
    if config.abi_versions:
        fields["abiVersions"] = config.abi_versions
    if config.has_config:
        fields["config"] = {"rootIds": config.root_ids} if config.root_ids else {}
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns the parsed document into a RuntimeConfig, with the path of what is wrong."""

    where: str
    strict: bool

    def document(self, document: Any) -> RuntimeConfig:
        known = {"type": "type", "abiVersions": "abiVersions", "abi_versions": "abiVersions", "config": "config"}
        if not self.strict:
            known["abi_version"] = "abi_version"
        fields = self.fields(document, "", known)
        inner = fields.get("config")
        config = (
            self.fields(inner, "config", {"rootIds": "rootIds", "root_ids": "rootIds"}) if inner is not None else {}
        )
        versions = self.strings(fields.get("abiVersions"), "abiVersions")
        if not versions and fields.get("abi_version") is not None:
            versions = (self.string(fields["abi_version"], "abi_version"),)
        return RuntimeConfig(
            type=self.string(fields.get("type"), "type"),
            abi_versions=versions,
            root_ids=self.strings(config.get("rootIds"), "config.rootIds"),
            has_config=inner is not None,
        )

    def fields(self, value: Any, path: str, known: dict[str, str]) -> dict[str, Any]:
        """The known fields of an object, by their camelCase name."""
        if not isinstance(value, _Pairs):
            raise self.wrong(path, "an object", value)
        found: dict[str, Any] = {}
        for key, item in value:
            name = known.get(key)
            if name is None:
                if not self.strict:
                    continue
                raise self.unknown(key, path, known)
            if name in found:
                raise InvalidRuntimeConfig(f"{self.where}: {_join(path, name)} is given twice")
            found[name] = item
        return found

    def unknown(self, key: str, path: str, known: dict[str, str]) -> InvalidRuntimeConfig:
        import difflib

        close = difflib.get_close_matches(key, known, 1, 0.7)
        place = f"{self.where} at {path}" if path else self.where
        hint = (
            f"did you mean {known[close[0]]!r}?" if close else f"known here: {', '.join(dict.fromkeys(known.values()))}"
        )
        return InvalidRuntimeConfig(f"unknown field {gojson.encode(key[:100]).decode()} in {place}", hint=hint)

    def string(self, value: Any, path: str) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.wrong(path, "a string", value)
        return value

    def strings(self, value: Any, path: str) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or isinstance(value, _Pairs):
            raise self.wrong(path, "a list of strings", value)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self.wrong(f"{path}[{index}]", "a string", item)
        return tuple(value)

    def wrong(self, path: str, wanted: str, value: Any) -> InvalidRuntimeConfig:
        found = _TYPE_NAMES.get(dict if isinstance(value, _Pairs) else type(value), "null")
        place = f"{self.where}: {path}" if path else self.where
        return InvalidRuntimeConfig(f"{place} is {found}, not {wanted}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
