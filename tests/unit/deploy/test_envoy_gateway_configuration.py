"""What a filter gets of its configuration through Envoy Gateway."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.envoy_gateway.configuration import parse
from wasme.errors import InputError

JSON = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("typed", "received"),
    [
        ('{"b": 1, "a": [true, null]}', '{"a":[true,null],"b":1}'),
        ('"wörld"', '"wörld"'),
        ('"<a href=\\"x\\">&\\u2028\\u0001\\u007f"', '"\\u003ca href=\\"x\\"\\u003e\\u0026\\u2028\\u0001\x7f"'),
        ("5", "5"),
        ("1.50", "1.5"),
        ("2.0", "2"),
        ("-0.0", "0"),
        ("1e20", "100000000000000000000"),
        ("1e21", "1e+21"),
        ("123456789e15", "1.23456789e+23"),
        ("0.000001", "0.000001"),
        ("0.0000001", "1e-7"),
        ("1.5e-10", "1.5e-10"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854776000"),
        ('{"é": 1, "z": 2, "😀": 3, "\\uffff": 4}', '{"z":2,"é":1,"\uffff":4,"😀":3}'),
    ],
)
def test_received(typed: str, received: str) -> None:
    """The bytes that the filter gets, as the API server serves them (held against it in tests/kubernetes)."""
    found = parse(typed)
    assert found is not None
    assert found.received.decode() == received


def _close(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return float(one) == float(other)
    return one == other


@given(JSON)
def test_received_says_the_same(value: object) -> None:
    """Whatever is typed, the filter gets JSON of the same meaning."""
    found = parse(json.dumps(value))
    assert found is not None
    again = parse(found.received.decode())
    assert again == found
    assert _close(json.loads(found.received), value)


def test_none() -> None:
    """No --config is no configuration."""
    assert parse("") is None


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("world", "no JSON"),
        ("{", "no JSON"),
        ("null", "null"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ("[NaN]", "NaN"),
        ("1e999", "too large"),
        ("1" + "0" * 400, "too large"),
        ('"\\ud800"', "surrogate"),
        ("[" * 5000 + "]" * 5000, "nested"),
        ("[" * 1500 + "]" * 1500, "nested"),
    ],
)
def test_refused(typed: str, why: str) -> None:
    """What would arrive as something else is refused before anything is sent."""
    with pytest.raises(InputError, match=why):
        parse(typed)
