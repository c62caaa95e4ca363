"""What deploy and the cache's agents tell each other."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasme.deploy.cache import protocol
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.errors import CacheError

A = "sha256:" + "a" * 64
B = "sha256:" + "b" * 64
LINE = FilterLine("bookinfo", "test", "webassemblyhub.io/hxpmark/auth:0.01", A, B)


def test_a_filters_line_reads_back():
    """A line of `filters` is namespace/id, reference, manifest, module; reading what was written gives the same."""
    assert LINE.text == f"bookinfo/test webassemblyhub.io/hxpmark/auth:0.01 {A} {B}"
    assert protocol.parse_filter(LINE.text) == LINE
    pending = LINE._replace(pending=True)
    assert pending.text == f"{LINE.text} pending"
    assert protocol.parse_filter(pending.text) == pending
    assert pending.needed == LINE
    assert protocol.parse_filter("  " + LINE.text.replace(" ", "\t") + "\r") == LINE


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{LINE.text} soon", "5 fields instead of 4"),
        (f"{LINE.text} pending pending", "6 fields instead of 4"),
        ("bookinfo/test ref", "2 fields instead of 4"),
        (f"bookinfo ref {A} {B}", "'bookinfo' is not NAMESPACE/ID"),
        (f"/test ref {A} {B}", "'/test' is not NAMESPACE/ID"),
        (f"a/b/c ref {A} {B}", "'a/b/c' is not NAMESPACE/ID"),
        (f"a/b ref sha256:1 {B}", "the manifest's digest is 'sha256:1'"),
        (f"a/b ref {A} {B.upper()}", "the module's digest is 'SHA256:"),
    ],
)
def test_a_filters_line_that_is_none_is_named(line, why):
    """An unreadable line raises one line that says where and what."""
    with pytest.raises(CacheError) as caught:
        protocol.parse_filter(line, "filters, line 7")
    assert caught.value.message.startswith(f"filters, line 7: {why}")
    assert "\n" not in caught.value.message


def test_bad_lines_do_not_stop_good_ones():
    """The ConfigMap of the original, edited by hand, is read; what nobody can read is told by key and line."""
    data = {
        "images": "\n  a:1 \r\n# for Tuesday\ntwo words\na:1\nb:2",
        "filters": f"{LINE.text}\nrubbish\n{LINE.text}\n",
        "registryMap": "webassemblyhub.io hub",
    }
    wanted = protocol.parse_wanted(data)
    assert wanted.images == ("a:1", "b:2")
    assert wanted.filters == (LINE,)
    assert wanted.registry_map == {}
    assert [problem.split(":")[0] for problem in wanted.problems] == [
        "images, line 4",
        "filters, line 2",
        "registryMap, line 1",
    ]
    assert protocol.parse_wanted(None) == protocol.parse_wanted({}) == protocol.Wanted()


def test_registry_map_as_json_and_as_lines():
    """registryMap is the JSON that install writes or the YAML lines that people write; a port is no separator."""
    led = {"webassemblyhub.io": "http://hub.wasme.svc:8080/filters", "localhost:5000": "h:1"}
    assert protocol.parse_registry_map(protocol.format_registry_map(led)) == led
    text = "webassemblyhub.io: 'http://hub.wasme.svc:8080/filters'\n\"localhost:5000\": h:1\n"
    assert protocol.parse_registry_map(text) == led
    assert protocol.parse_registry_map("") == {}
    assert protocol.format_registry_map({}) == ""
    with pytest.raises(CacheError, match="registryMap is no JSON object of texts"):
        protocol.parse_registry_map('{"a": 1}')


def test_status_reads_back_and_is_the_same_text_for_the_same_facts():
    """The order in which an agent learnt its facts is not in status.json; unknown keys of later versions do no harm."""
    first = ImageStatus("a:1", A, B, 12, True)
    second = ImageStatus("b:1", error="401\n  unauthorized " + "x" * 5000, permanent=True)
    one = protocol.encode_status(NodeStatus("n1", "1.0", "77", ("b", "a"), (first, second)))
    assert one == protocol.encode_status(NodeStatus("n1", "1.0", "77", ("a", "b"), (second, first)))
    read = protocol.decode_status(one)
    assert read.images[0] == first
    assert read.images[1].error.startswith("401 unauthorized xxx")
    assert len(read.images[1].error) == protocol.LONGEST_ERROR
    assert read.ready == ("a", "b")
    assert read.holds(B)
    assert not read.holds(A)
    assert protocol.decode_status('{"node":"n","later":1,"images":[{"ref":"r","later":{}}]}').images[0].ref == "r"
    with pytest.raises(CacheError, match="wasme/wasme-cache-n1: "):
        protocol.decode_status("{", "wasme/wasme-cache-n1")


@given(st.text("abcdefghijklmnopqrstuvwxyz.-", min_size=1, max_size=253), st.text("abc.-", min_size=1, max_size=30))
def test_status_names_fit(node, cache):
    """Whatever the names, a node's ConfigMap has a name that the API server takes for its length and its end."""
    name = protocol.status_name(cache, node)
    assert len(name) <= 253
    if len(cache) + 1 + len(node) > 253:
        assert name[-17] == "-"
        assert name != protocol.status_name(cache, node[:-1] + ("a" if node[-1] != "a" else "b"))
    else:
        assert name == f"{cache}-{node}"


def test_event_is_the_originals():
    """Labels, annotation, reason, message and host are those that the original's readers look for."""
    event = protocol.event_object("wasme-cache", "wasme", "node-1", "filter/image:v1", module=B, now=0)
    # md5 of "filter/image:v1", from md5sum
    assert event["metadata"]["labels"] == {
        "cache.wasme.io/cache_event": "true",
        "cache.wasme.io/image_ref": "5cc78ad5f978379723d501da7effb974",
    }
    assert event["metadata"]["annotations"]["cache.wasme.io/image_ref"] == "filter/image:v1"
    assert event["metadata"]["annotations"]["cache.wasme.io/image_digest"] == B
    assert event["reason"] == "ImageAdded"
    assert event["message"] == "Image filter/image:v1 added successfully"
    assert event["source"] == {"component": "wasme-cache", "host": "node-1"}
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "wasme-cache",
        "namespace": "wasme",
    }
    assert event["firstTimestamp"] == "1970-01-01T00:00:00Z"
    failed = protocol.event_object("wasme-cache", "wasme", "node-1", "filter/image:v1", error="404")
    assert (failed["reason"], failed["message"], failed["type"]) == ("ImageError", "404", "Warning")


def test_protocol_stays_light():
    """An agent that imports the protocol loads msgspec and no other library, no client and no command line."""
    program = "import sys, wasme.deploy.cache.protocol; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("wasme")}
    assert ours == {"wasme", "wasme.errors", "wasme.deploy", "wasme.deploy.cache", "wasme.deploy.cache.protocol"}
    assert not {"httpx2", "urllib3", "click", "yaml", "ssl"} & set(loaded)
