"""A filter in the original's log lines: Go's text form of a protocol buffer."""

from __future__ import annotations

import pytest

from wasme.deploy.istio.prototext import of_filter
from wasme.deploy.spec import FilterSpec


def test_the_users_line() -> None:
    """Fields in the message's order, quoted, each with a blank behind it; empty ones are not there."""
    spec = FilterSpec("test", "webassemblyhub.io/hxpmark/auth:0.01", "add_header")
    assert of_filter(spec, "inbound") == (
        'id:"test" image:"webassemblyhub.io/hxpmark/auth:0.01" rootID:"add_header" patchContext:"inbound" '
    )


@pytest.mark.parametrize(
    ("config", "value"),
    [
        ("world", r"\n\005world"),
        ('say "hi"\t\\', r"\n\nsay \"hi\"\t\\"),
        ("é", r"\n\002\303\251"),
        ("x" * 200, r"\n\310\001" + "x" * 200),
    ],
)
def test_a_configuration_is_a_string_value(config: str, value: str) -> None:
    """It is an Any of a StringValue: tag, varint length, bytes; what is no printable ASCII is escaped in octal."""
    shown = of_filter(FilterSpec("f", "i", "", config), "")
    assert shown == (
        f'id:"f" image:"i" config:<type_url:"type.googleapis.com/google.protobuf.StringValue" value:"{value}" > '
    )


def test_a_long_configuration_is_cut() -> None:
    """A megabyte of configuration does not make a megabyte of log for each workload."""
    shown = of_filter(FilterSpec("f", "i", "", "x" * 1_000_000), "")
    assert len(shown) < 3000
    assert "…(1000004 bytes)" in shown
