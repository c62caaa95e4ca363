"""Bootstraps as text: what is not changed stays to the byte, whatever the layout."""

from __future__ import annotations

import contextlib
import logging
import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.envoy.address import Address
from wasme.envoy.config import WasmPlugin
from wasme.envoy.document import Map, Seq, parse, to_json, to_yaml
from wasme.envoy.patch import add_clusters, insert_filter
from wasme.errors import InvalidBootstrap

_MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_HEAD = f"""\
static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          '@type': {_MANAGER}
"""
PLUGIN = WasmPlugin("i", "r", "v", "/f.wasm")


def _manager(text: str) -> str:
    """A whole bootstrap around the fields of one manager."""
    return _HEAD + textwrap.indent(textwrap.dedent(text), " " * 10)


LAYOUTS = {
    "block": _manager("http_filters:\n- name: envoy.filters.http.router\n"),
    "indented": _manager(
        "http_filters:\n    - name: a  # one\n\n    # two\n    # lines\n    - name: envoy.router # r\n"
    ),
    "comment elsewhere": _manager("http_filters:\n- name: a\n      # deep\n# shallow\n- name: envoy.router\n"),
    "dash alone": _manager("http_filters:\n-\n  name: a\n-   # mine\n  name: envoy.router\n"),
    "wide dashes": _manager("http_filters:\n-    name: a\n     x: 1\n-    name: envoy.router\n"),
    "flow items": _manager("http_filters:\n- {name: a}\n- {name: envoy.router}  # r\n"),
    "flow list": _manager("http_filters: [{name: a}, {name: envoy.router}]  # r\n"),
    "flow list of one": _manager("http_filters: [ {name: envoy.router} ]\n"),
    "flow over lines": _manager("http_filters: [\n    {name: a},\n    {name: envoy.router},\n  ]\n"),
    "camel": _manager("httpFilters:\n- name: x\n  typedConfig: {'@type': " + _ROUTER + "}\n"),
    "by type": _manager("http_filters:\n- name: x\n  typed_config: {'@type': " + _ROUTER + "}\n"),
    "block text before": _manager(
        "x: |\n  - name\n\n  text\nhttp_filters:\n- name: a\n  y: >\n    z\n\n\n- name: envoy.router\n"
    ),
    "no end of line": _manager("http_filters:\n- name: envoy.router").rstrip(),
    "marks": "--- # one\n" + _manager("http_filters:\n- name: envoy.router\n") + "...\n",
    "unicode": "# Ä 漢 😀\n" + _manager('x: "😀"\nhttp_filters:\n- name: envoy.router\n'),
    "yaml 1.1 traps": _manager(
        "a: on\nb: 012\nc: 12:30:45\nd: 2001-01-01\ne: ~\nf: 0x1F\nhttp_filters:\n- name: envoy.router\n"
    ),
    "anchors": _manager("a: &x {k: v}\nb: *x\nhttp_filters:\n- &r\n  name: envoy.router\n- *r\n"),
    "merge": _manager("<<: {stat_prefix: s}\nstat_prefix: t\nhttp_filters:\n- <<: {name: x}\n  name: envoy.router\n"),
    "crlf": _manager("http_filters:\n- name: a\n- name: envoy.router # r\n").replace("\n", "\r\n"),
    "quoted keys": _manager('"http_filters":\n- \'name\': "envoy.router"\n'),
}


def _patched(text: str) -> tuple[dict[str, Any], str]:
    document = parse(text, "t")
    assert insert_filter(document.root, PLUGIN) == 1
    return document.root, to_yaml(document)


def _is_subsequence(part: str, whole: str) -> bool:
    rest = iter(whole)
    return all(letter in rest for letter in part)


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_the_filter_is_added(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """In every layout the text grows by the filter alone, and says what is meant."""
    caplog.set_level(logging.WARNING)
    text = LAYOUTS[name]
    root, patched = _patched(text)
    assert parse(patched, "t").root == root
    before, after = text.splitlines(), patched.splitlines()
    if "flow" in name and "items" not in name:
        assert _is_subsequence(text, patched)
        assert len(before) == len(after)
    else:
        kept = [line for line in after if line in before]
        assert kept == before
    assert not caplog.records
    assert "\t" not in patched


@pytest.mark.parametrize("name", LAYOUTS)
def test_again_changes_only_the_value(name: str) -> None:
    """The same id again replaces the filter in its place, in every layout."""
    _, once = _patched(LAYOUTS[name])
    document = parse(once, "t")
    insert_filter(document.root, WasmPlugin("i", "r", "another", "/f.wasm"))
    twice = to_yaml(document)
    assert parse(twice, "t").root == document.root
    assert twice.replace("another", "v") == once


def test_a_comment_above_the_router_stays_with_it() -> None:
    """The filter is put above a comment that belongs to the router."""
    _, patched = _patched(LAYOUTS["indented"])
    lines = [line.strip() for line in patched.splitlines()]
    at = lines.index("# two")
    assert lines[at : at + 3] == ["# two", "# lines", "- name: envoy.router # r"]
    assert lines.index("- name: envoy.filters.http.wasm") < at


def test_shared_filters_are_patched_once() -> None:
    """Two managers that share one list by an alias get one filter, where the list stands."""
    text = (
        _HEAD
        + "          http_filters: &shared\n          - name: envoy.router\n"
        + f"      - typed_config:\n          '@type': {_MANAGER}\n          http_filters: *shared\n"
    )
    document = parse(text, "t")
    assert insert_filter(document.root, PLUGIN) == 2
    patched = to_yaml(document)
    assert patched.count("/f.wasm") == 1
    assert patched.count("*shared") == 1


def test_doubles_are_taken_out() -> None:
    """Two filters of the same id become one."""
    one = "- name: w\n  typed_config:\n    '@type': type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm\n"
    one += "    config: {name: i}\n"
    document = parse(_manager(f"http_filters:\n{one}- name: a\n{one}# r\n- name: envoy.router\n"), "t")
    insert_filter(document.root, PLUGIN)
    patched = to_yaml(document)
    assert parse(patched, "t").root == document.root
    assert patched.count("Wasm") == 1
    assert "# r\n" in patched


@pytest.mark.parametrize(
    "text",
    [
        "static_resources:\n  listeners: []\n# end\n",
        "static_resources:\n  clusters:   # none yet\n  listeners: []\n",
        "static_resources:\n  clusters: []  # none yet\n",
        "static_resources:\n  clusters:\n  - name: a\n    type: STATIC   # a\n# end\n",
        "static_resources:\n  clusters:\n    - name: a\n      x: |\n        text\nadmin: {}",
        "static_resources: {clusters: [{name: a}], x: 1}\n",
        "static_resources: {}\n",
        "{}\n# nothing\n",
        "admin: {}\n",
    ],
)
def test_clusters_are_added_in_place(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Clusters join the list, or make one, wherever it stands; the user's comments stay."""
    document = parse(text, "t")
    add_clusters(document.root, {"b|c": Address("::1", 1), "d": Address("host", 2)})
    changed = to_yaml(document)
    assert parse(changed, "t").root == document.root
    for line in text.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in changed
    assert not caplog.records


def test_a_layout_without_room_is_written_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Where no edit of the text can be made, the values still arrive, and the loss of comments is told."""
    document = parse("static_resources:\n  clusters: [] # c\nx:\n- - a\n  - b\n", "t")
    document.root["x"][0].insert(0, "new")
    changed = to_yaml(document)
    assert yaml.safe_load(changed)["x"] == [["new", "a", "b"]]
    assert "written anew" in caplog.text


def test_json_stays_json() -> None:
    """A JSON bootstrap is read as JSON, tabs and escapes too; it can be written as either."""
    document = parse('{\t"a": "\\u00e4\\/",\n\t"b": [1, 2.5, null, true]}', "t")
    assert document.root == {"a": "ä/", "b": [1, 2.5, None, True]}
    assert yaml.safe_load(to_yaml(document)) == document.root
    assert parse(to_json(document), "t").root == document.root


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"]), max_size=8),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcxyz_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.text("abcxyz_", min_size=1, max_size=4), _VALUES, max_size=4),
    st.sampled_from([False, None, True]),
    st.integers(2, 6),
    st.data(),
)
def test_any_change_of_any_document(value: dict[str, Any], flow: bool | None, indent: int, data: st.DataObject) -> None:
    """Insertions, replacements and new keys anywhere in any YAML are what the text then says."""
    text = yaml.safe_dump(value, default_flow_style=flow, indent=indent, allow_unicode=True)
    document = parse(text, "t")
    if not flow:
        assert to_yaml(document) == text
    places: list[Map | Seq] = []
    waiting: list[Any] = [document.root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Map | Seq):
            places.append(node)
            waiting.extend(node.values() if isinstance(node, Map) else node)
    for _ in range(data.draw(st.integers(1, 3)) if places else 0):
        place = data.draw(st.sampled_from(places))
        fresh = {"new": [1, {"deep": "text"}]}
        if isinstance(place, Map):
            place[data.draw(st.sampled_from(["new", "other"]))] = fresh
        elif place and data.draw(st.booleans()):
            place[data.draw(st.integers(0, len(place) - 1))] = fresh
        else:
            place.insert(data.draw(st.integers(0, len(place))), fresh)
    assert parse(to_yaml(document), "t").root == document.root


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`, \n\t?<\\0.~", max_size=40))
def test_any_text(text: str) -> None:
    """No text gives anything but a document or one clear error."""
    with contextlib.suppress(InvalidBootstrap):
        to_yaml(parse(text, "t"))
