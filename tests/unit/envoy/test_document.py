"""Bootstraps as text: comments, order, quotes and the text of scalars stay."""

from __future__ import annotations

import contextlib
import json
import re
import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wasme.envoy.address import Address
from wasme.envoy.config import WasmPlugin
from wasme.envoy.document import parse, put, to_json, to_yaml
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
    "comment above the first": _manager("http_filters:\n# r\n# s\n- name: envoy.router\n"),
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


# ruamel.yaml sets these anew: it has one way of dashes in a document, one of lists in brackets, of what stands around
# a document and of blank lines behind a text.
_SET_ANEW = {
    "indented", "dash alone", "wide dashes", "flow list", "flow list of one", "flow over lines", "marks",
    "block text before",
}  # fmt: skip


def _patched(text: str) -> tuple[dict[str, Any], str]:
    document = parse(text, "t")
    assert insert_filter(document.root, PLUGIN) == 1
    return document.values(), to_yaml(document)


@pytest.mark.parametrize("name", LAYOUTS)
def test_only_the_filter_is_added(name: str) -> None:
    """The text grows by the filter alone, and says what is meant; every comment survives."""
    text = LAYOUTS[name]
    values, patched = _patched(text)
    assert parse(patched, "t").values() == values
    before, after = text.splitlines(keepends=True), patched.splitlines(keepends=True)
    if name == "no end of line":
        before[-1] += "\n"
    assert re.findall("#.*", text) == re.findall("#.*", patched)
    if name not in _SET_ANEW:
        assert [line for line in after if line in before] == before
    assert "\t" not in patched


@pytest.mark.parametrize("name", LAYOUTS)
def test_again_changes_only_the_value(name: str) -> None:
    """The same id again replaces the filter in its place, in every layout."""
    _, once = _patched(LAYOUTS[name])
    document = parse(once, "t")
    insert_filter(document.root, WasmPlugin("i", "r", "another", "/f.wasm"))
    twice = to_yaml(document)
    assert parse(twice, "t").values() == document.values()
    assert twice.replace("another", "v") == once


SCALARS = """\
a: 012
b: 0x1F
c: 1e3
d: .5
e: on
f: ~
g:
h: null
i: True
j: 2001-1-1
k: 'it''s'
l: "a\\tb"
m: |
  a
   b
n: >-
  a b
  c
o: +5
p: 12:30:45
q: ''
r: &z 8080
s: *z
t: !!str 5
u: !!int "5"
v: !foo {a: 1}
w: 1_000
x: [~, on, 1, {a: b}]
y: {a: ~}
z: 0o17
!ignore anchors:
- &m {k: v}
merged:
  <<: *m
  l: yes
"""


def test_scalars_keep_their_text() -> None:
    """Whatever a scalar would mean to some YAML parser, Envoy gets it as it was written; also after `%YAML 1.1`."""
    document = parse(SCALARS, "t")
    assert to_yaml(document) == SCALARS
    assert to_yaml(parse("%YAML 1.1\n---\n" + SCALARS, "t")) == "---\n" + SCALARS


def test_scalars_in_json() -> None:
    """As JSON a scalar is what YAML 1.2 takes it for; merges are written out, what Envoy is to ignore is not."""
    values = parse(SCALARS, "t").values()
    assert "anchors" not in values
    assert values["merged"] == {"l": "yes", "k": "v"}
    told = {key: value for key, value in values.items() if key in "abcdefghijklopqrsxz"}
    assert told == {
        "a": 12, "b": 31, "c": 1000.0, "d": 0.5, "e": "on", "f": None, "g": None, "h": None, "i": True,
        "j": "2001-1-1", "k": "it's", "l": "a\tb", "o": 5, "p": "12:30:45", "q": "", "r": 8080, "s": 8080,
        "x": [None, "on", 1, {"a": "b"}], "z": 15,
    }  # fmt: skip
    assert json.loads(to_json(parse(SCALARS, "t"))) == values


@pytest.mark.parametrize("value", ["on", "012", "~", "", "1e3", "y", "0x1F", "12:30", "2001-01-01", "a\nb", "#", "1_0"])
def test_texts_of_ours_stay_texts(value: str) -> None:
    """A configuration that YAML 1.1 or 1.2 would take for something else is quoted."""
    document = parse(LAYOUTS["block"], "t")
    insert_filter(document.root, WasmPlugin("i", "", value, "/f.wasm"))
    manager = yaml.safe_load(to_yaml(document))["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    config = manager["typed_config"]["http_filters"][0]["typed_config"]["config"]
    assert config.get("configuration", {}).get("value", "") == value


@pytest.mark.parametrize("braces", ["{ a: 1, b: { c: 2 } }", "{a: 1, b: {c: 2}}"])
def test_braces_keep_their_blanks(braces: str) -> None:
    """`{ a: b }` and `{a: b}` are both common."""
    text = f"x: {braces}\ny: {{}}\nz: [{braces}]\n"
    assert to_yaml(parse(text, "t")) == text


def test_a_comment_above_the_router_stays_with_it() -> None:
    """The filter is put above a comment that belongs to the router, the first of the list too."""
    _, patched = _patched(LAYOUTS["comment above the first"])
    assert patched.endswith("          # r\n          # s\n          - name: envoy.router\n")
    _, patched = _patched(LAYOUTS["indented"])
    lines = [line.strip() for line in patched.splitlines()]
    at = lines.index("# two")
    assert lines[at : at + 3] == ["# two", "# lines", "- name: envoy.router     # r"]
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
    assert parse(patched, "t").values() == document.values()
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
        "static_resources: {}\n# nothing\n",
        "admin: {}\n",
    ],
)
def test_clusters_are_added_in_place(text: str) -> None:
    """Clusters join the list, or make one, wherever it stands; the user's comments stay."""
    document = parse(text, "t")
    add_clusters(document.root, {"b|c": Address("::1", 1), "d": Address("host", 2)})
    changed = to_yaml(document)
    assert parse(changed, "t").values() == document.values()
    for line in text.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in changed


def test_a_comment_that_would_break_the_text() -> None:
    """What ruamel.yaml would write wrongly is refused, never given to Envoy."""
    document = parse("a:\n?  b~\n#.", "t")
    assert document.values() == {"a": None, "b~": None}
    with pytest.raises(InvalidBootstrap, match="cannot be written with its comments"):
        to_yaml(document)


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
    if flow is False and indent == 2:
        assert to_yaml(document) == text
    places: list[Any] = []
    waiting: list[Any] = [document.root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict | list):
            places.append(node)
            waiting.extend(node.values() if isinstance(node, dict) else node)
    for _ in range(data.draw(st.integers(1, 3)) if places else 0):
        place = data.draw(st.sampled_from(places))
        fresh = {"new": [1, {"deep": "text"}]}
        if isinstance(place, dict):
            place[data.draw(st.sampled_from(["new", "other"]))] = fresh
        elif place and data.draw(st.booleans()):
            put(place, data.draw(st.integers(0, len(place) - 1)), fresh, instead=True)
        else:
            put(place, data.draw(st.integers(0, len(place))), fresh)
    assert parse(to_yaml(document), "t").values() == document.values()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@`, \n\t?<\\0.~", max_size=40))
def test_any_text(text: str) -> None:
    """No text gives anything but a document or one clear error."""
    with contextlib.suppress(InvalidBootstrap):
        document = parse(text, "t")
        assert json.loads(to_json(document)) == document.values()
        assert parse(to_yaml(document), "t").values() == document.values()
