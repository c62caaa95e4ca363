"""runtime-config.json: strict reading, and the one form it is written in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.errors import InvalidRuntimeConfig
from wasme.image import gojson
from wasme.image.runtime_config import MAX_BYTES, RuntimeConfig, encode, parse


@pytest.mark.parametrize(
    ("text", "config", "written"),
    [
        ("{}", RuntimeConfig(), b"{}"),
        ('{"type":"","abiVersions":[],"config":null}', RuntimeConfig(), b"{}"),
        ('{"type":null,"abiVersions":null}', RuntimeConfig(), b"{}"),
        ('{"config":{}}', RuntimeConfig(has_config=True), b'{"config":{}}'),
        ('{"config":{"rootIds":[]}}', RuntimeConfig(has_config=True), b'{"config":{}}'),
        (
            '{"config":{"rootIds":["r"]},\n "abiVersions":["a","b"], "type":"envoy_proxy"}',
            RuntimeConfig("envoy_proxy", ("a", "b"), ("r",)),
            b'{"type":"envoy_proxy","abiVersions":["a","b"],"config":{"rootIds":["r"]}}',
        ),
        (
            '{"abi_versions":["a"],"config":{"root_ids":["r"]}}',
            RuntimeConfig("", ("a",), ("r",)),
            b'{"abiVersions":["a"],"config":{"rootIds":["r"]}}',
        ),
        ('\ufeff{"type":"t"}', RuntimeConfig("t"), b'{"type":"t"}'),
        (
            '{"type":"<&>\\u2028\\u2029\\u00e9\\ud83d\\ude00\\b\\f\\n\\r\\t\\"\\\\\\u0001\x7f"}',
            RuntimeConfig('<&>\u2028\u2029é😀\b\f\n\r\t"\\\x01\x7f'),
            '{"type":"\\u003c\\u0026\\u003e\\u2028\\u2029é😀\\u0008\\u000c\\n\\r\\t\\"\\\\\\u0001\x7f"}'.encode(),
        ),
    ],
)
def test_read_and_written(text: str, config: RuntimeConfig, written: bytes) -> None:
    """Both spellings of the fields are read, null means absent, and writing is compact with Go's escapes."""
    assert parse(text.encode()) == config
    assert encode(config) == written
    assert parse(written) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"abi_version":"v0.2.1"}', 'unknown field "abi_version" in filter/runtime-config.json'),
        ('{"a\\nb\\u001b":1}', r'unknown field "a\\nb\\u001b" in'),
        ('{"config":{"root_id":["r"]}}', 'unknown field "root_id" in filter/runtime-config.json at config'),
        ('{"type":"a","type":"b"}', "type is given twice"),
        ('{"abiVersions":["a"],"abi_versions":["b"]}', "abiVersions is given twice"),
        ('{"config":{"rootIds":[],"rootIds":[]}}', "config.rootIds is given twice"),
        ('{"type":1}', "type is a number, not a string"),
        ('{"abiVersions":"v0.2.1"}', "abiVersions is a string, not a list of strings"),
        ('{"abiVersions":["a",null]}', r"abiVersions\[1\] is null, not a string"),
        ('{"abiVersions":{"a":1}}', "abiVersions is an object, not a list of strings"),
        ('{"config":["r"]}', "config is a list, not an object"),
        ("[]", "is a list, not an object"),
        ("null", "is null, not an object"),
        ("", "is not JSON"),
        ('{"type":NaN}', "is not JSON: NaN"),
        ('{"type":"\\ud800"}', "is not UTF-8"),
        ("[" * 200_000, "nested too deeply"),
        ('{"a":' * 150_000, "nested too deeply"),
        (" " * (MAX_BYTES + 1), "at most"),
    ],
)
def test_refused(text: str, words: str) -> None:
    """What is not a runtime config is refused, with the file and the path of what is wrong."""
    with pytest.raises(InvalidRuntimeConfig, match=words) as raised:
        parse(text.encode("utf-8", "surrogatepass"), "filter/runtime-config.json")

    assert "\n" not in raised.value.message


def test_unknown_key_gets_a_hint() -> None:
    """The specification's own example key is refused as by the original, and the hint says what is meant."""
    with pytest.raises(InvalidRuntimeConfig) as raised:
        parse(b'{"abi_version":"v0.2.1"}')

    assert raised.value.hint == "did you mean 'abiVersions'?"


def test_images_of_others_are_read_leniently() -> None:
    """An image made by the specification's text, or by a newer tool, is read; types are still checked."""
    content = b'{"type":"envoy_proxy","abi_version":"v0.2.1","config":{"root_ids":["r"],"new":1},"newer":[]}'

    assert parse(content, strict=False) == RuntimeConfig("envoy_proxy", ("v0.2.1",), ("r",))
    with pytest.raises(InvalidRuntimeConfig, match="abi_version is a number"):
        parse(b'{"abi_version":2}', strict=False)


@given(st.binary() | st.text().map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["type", "abiVersions", "config", "rootIds", "root_ids", "abi_versions", "x"]), inner
    ),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_parse_or_are_refused(content: bytes) -> None:
    """No bytes raise anything but InvalidRuntimeConfig, strictly or leniently; what parses can be written."""
    for strict in (True, False):
        try:
            config = parse(content, strict=strict)
        except InvalidRuntimeConfig:
            continue
        assert parse(encode(config)) == config


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.builds(RuntimeConfig, _TEXT, st.lists(_TEXT).map(tuple), st.lists(_TEXT).map(tuple), st.booleans()))
def test_written_is_read_back(config: RuntimeConfig) -> None:
    """Any config is read back from what was written, by us and by any JSON reader."""
    written = encode(config)

    assert parse(written) == config
    assert json.loads(written).get("type", "") == config.type


@given(_TEXT)
def test_strings_are_json_without_html(text: str) -> None:
    """A string in Go's form means the same, and holds none of the characters Go escapes."""
    written = gojson.encode(text).decode()

    assert json.loads(written) == text
    assert not set(written) & set("<>&\u2028\u2029") | {c for c in written if ord(c) < 32}
