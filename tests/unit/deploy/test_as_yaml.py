"""JSON that a YAML parser reads as a JSON parser does."""

from __future__ import annotations

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.as_yaml import as_yaml

_SPECIAL = st.sampled_from(["\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff", "\ufffe", "\uffff", "😀", "\n", "é"])


@given(st.dictionaries(st.text(_SPECIAL | st.characters(codec="utf-8"), max_size=5), st.text(_SPECIAL, max_size=5)))
def test_yaml_reads_it_as_json_does(value: dict[str, str]) -> None:
    """Whatever characters there are, both parsers read the same, and it stays JSON."""
    text = as_yaml(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert yaml.load(text, yaml.CSafeLoader) == value
