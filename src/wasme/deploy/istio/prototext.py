"""A filter as the original's lines print it: Go's text form of a protocol buffer, on one line."""

from __future__ import annotations

from wasme.deploy.spec import FilterSpec

LONGEST = 2048
"""Bytes of a configuration that are printed: the line comes twice for each workload."""
_TYPE = "type.googleapis.com/google.protobuf.StringValue"
_ESCAPES = {0x0A: "\\n", 0x0D: "\\r", 0x09: "\\t", 0x22: '\\"', 0x5C: "\\\\"}


def of_filter(spec: FilterSpec, patch_context: str) -> str:
    """``id:"test" image:"…" rootID:"add_header" patchContext:"inbound" ``, with a blank after each field.

    Fields that are empty are left out; of a long configuration there is only the beginning.
    """
    parts = [("id", spec.id), ("image", spec.image), ("config", spec.config), ("rootID", spec.root_id),
             ("patchContext", patch_context)]  # fmt: skip
    text = ""
    for name, value in parts:
        if not value:
            continue
        if name == "config":
            content = _string_value(value.encode())
            cut = "" if len(content) <= LONGEST else f"…({len(content)} bytes)"
            text += f"config:<type_url:{_quoted(_TYPE.encode())} value:{_quoted(content[:LONGEST])}{cut} > "
        else:
            text += f"{name}:{_quoted(value.encode())} "
    return text


def _string_value(content: bytes) -> bytes:
    """A google.protobuf.StringValue on the wire: field 1, length, bytes."""
    size, varint = len(content), bytearray()
    while True:
        size, low = size >> 7, size & 0x7F
        varint.append(low | 0x80 if size else low)
        if not size:
            return b"\n" + bytes(varint) + content


def _quoted(content: bytes) -> str:
    """Everything but printable ASCII is escaped, in octal where it has no letter."""
    return '"' + "".join(_ESCAPES.get(each) or _plain(each) for each in content) + '"'


def _plain(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
