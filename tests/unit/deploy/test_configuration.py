"""A filter's configuration: the bytes that istiod makes of an object, and texts that cannot go that way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy import configuration
from wasme.errors import InputError


@pytest.mark.parametrize(
    ("given", "received"),
    [
        # Compared with istiod's own encoder (golang/protobuf 1.5.4, jsonpb on a Struct).
        ('{"b": 1, "a": [true, null, "x"]}', '{"a":[true,null,"x"],"b":1}'),
        ('{"B":1,"a":2,"é":3,"_":4}', '{"B":1,"_":4,"a":2,"é":3}'),
        ('{"x":"<a href=\'/\'>&"}', '{"x":"\\u003ca href=\'/\'\\u003e\\u0026"}'),
        ('{"x":"\\u2028\\u007f\\b\\f\\u0001"}', '{"x":"\\u2028\x7f\\b\\f\\u0001"}'),
        ('{"x":"\\ud83d\\ude00"}', '{"x":"😀"}'),
        ('{"x":1.0,"y":1e2,"z":-0}', '{"x":1,"y":100,"z":0}'),
        ('{"x":1e21,"y":100000000000000000000}', '{"x":1e+21,"y":100000000000000000000}'),
        ('{"x":0.000001,"y":0.0000001}', '{"x":0.000001,"y":1e-7}'),
        ('{"x":1.5e300,"y":5e-324}', '{"x":1.5e+300,"y":5e-324}'),
        ('{"x":9007199254740992}', '{"x":9007199254740992}'),
        ('{"x":4.346171854424075e+16}', '{"x":43461718544240750}'),
        ('{"x":{}}', '{"x":{}}'),
    ],
)
def test_what_istiod_makes_of_it(given: str, received: str) -> None:
    """A WasmPlugin's object reaches the filter as istiod's JSON: compact, keys in order, Go's escapes and numbers."""
    assert configuration.as_istio_writes(configuration.as_object(given)) == received


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("world", "it is no JSON: Expecting value at character 0"),
        ('"world"', "it is no JSON object"),
        ("[1]", "it is no JSON object"),
        ("{}", "an empty object reaches the filter as no configuration at all"),
        ('{"id":9007199254740993}', "9007199254740993 is no number that arrives as it is"),
        # The double nearest to it is this number, but what is written for it is 43461718544240750.
        ('{"x":43461718544240752}', "43461718544240752 is no number"),
        ('{"x":0.1000000000000000055}', "0.1000000000000000055 is no number"),
        ('{"x":1e999}', "1e999 is no number"),
        ('{"x":NaN}', "NaN is no JSON"),
        ('{"x":1,"x":2}', '"x" is in one object twice'),
        ('{"x":"\\ud800"}', "it is not Unicode text"),
        ('{"x":[["\\ud800"]]}', "it is not Unicode text"),
        ('{"\\udc00":1}', "it is not Unicode text"),
        ('{"x":' + "[" * 100_000, "it is nested too deeply"),
    ],
)
def test_what_an_object_cannot_carry(given: str, reason: str) -> None:
    """What would arrive as something else is refused, in one line, with the way that carries any text."""
    with pytest.raises(InputError) as caught:
        configuration.as_object(given)
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert "--as envoyfilter" in str(caught.value.hint)


def test_nothing() -> None:
    """No configuration is no object, and no bytes."""
    assert configuration.as_object("") is None
    assert configuration.as_istio_writes(None) == ""
    assert configuration.shown("") == "no configuration (0 bytes)"


@given(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        min_size=1,
    )
)  # fmt: skip
def test_any_object_keeps_its_meaning(value: dict[str, Any]) -> None:
    """Whatever is carried means the same to a filter that reads JSON, whose numbers are doubles."""
    given = json.dumps(value)
    received = configuration.as_istio_writes(configuration.as_object(given))
    assert json.loads(received, parse_int=float) == json.loads(given, parse_int=float)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("world", "world (5 bytes)"),
        ("x", "x (1 byte)"),
        ('{"a": 1}\n', '{"a": 1}\\n (9 bytes)'),
        ("é", "é (2 bytes)"),
        ("\ufeff\x00\u2028", "\\ufeff\\u0000\\u2028 (7 bytes)"),
    ],
)
def test_shown(text: str, shown: str) -> None:
    """The user sees what the filter gets on one line, nothing hidden, with the number of bytes."""
    assert configuration.shown(text) == shown


def test_read(tmp_path: Path) -> None:
    """--config is a text, or with @ a file's content without its byte-order mark; else one clear line."""
    file = tmp_path / "config.json"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert configuration.read("wörld") == "wörld"
    assert configuration.read(f"@{file}") == '{"a": 1}\n'
    with pytest.raises(InputError, match=r"--config: cannot read .*missing: No such file"):
        configuration.read(f"@{tmp_path}/missing")
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not UTF-8 text: byte 0"):
        configuration.read(f"@{file}")
    with pytest.raises(InputError, match="--config is not UTF-8 text"):
        configuration.read(os.fsdecode(b"caf\xe9"))
