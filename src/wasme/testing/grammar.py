"""Reading scenarios: every mistake is one line that says where and what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from wasme.testing.document import Node, load
from wasme.testing.scenario import (
    Answer,
    Arrival,
    Body,
    Expectation,
    ExpectedHeaders,
    Headers,
    Request,
    Scenario,
    Step,
    Test,
    Text,
)

_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/\S*|\*)")
_TARGET = re.compile(r"/\S*|\*")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_REGEX = re.compile(r"/(.+)/", re.DOTALL)
_LARGEST_BODY = 64 * 1024 * 1024
_LONGEST_WAIT = 600.0
_OPEN = Answer()

_STEP = ("after", "request", "upstream", "expect")
_BODY = ("body", "json", "chunks")
_OUTCOME = ("status", "body", "headers", "upstream", "calls", "logs", "metrics")


def parse(content: bytes, file: str) -> Scenario:
    """Read a scenario file.

    Args:
        content: the file's bytes.
        file: what to call it in errors.

    Raises:
        InvalidScenario: the first mistake in it.
    """
    root = load(content, file).members(("filter", "root_id", "config", "clusters", "tests"))
    if not root.has("tests"):
        raise root.fail("has no tests", hint="tests: is a list of mappings with name, request and expect")
    clusters = _clusters(root.field("clusters"))
    config = _config(root.field("config"))
    tests: list[Test] = []
    for node in root.field("tests").items():
        test = _test(node, config, clusters)
        if any(test.name == other.name for other in tests):
            raise node.named(test.name).field("name").fail("another test has this name too")
        tests.append(test)
    if not tests:
        raise root.field("tests").fail("there are none")
    return Scenario(file, _optional(root.field("filter")), _optional(root.field("root_id")), tuple(tests))


def _optional(node: Node) -> str:
    return "" if node.value is None else node.text()


def _test(node: Node, config: str, clusters: Mapping[str, Answer]) -> Test:
    node.members(("name", "config", "clusters", "steps", *_STEP))
    if node.field("name").value is None:
        raise node.fail("has no name")
    name = node.field("name").text().strip()
    if not name or not name.isprintable():
        raise node.field("name").fail("is no name: one line of text")
    node = node.named(name)
    own = {**clusters, **_clusters(node.field("clusters"))}
    if node.has("config"):
        config = _config(node.field("config"))
    if not node.has("steps"):
        told = node.field("expect").has("refused")
        refused = told and _refused(node)
        step = _step(node, own, refused=refused)
        if not told:
            _expects(node, (step,))
        return Test(name, config, own, (step,), refused)
    for each in _STEP:
        if node.has(each):
            raise node.field(each).fail("stands beside steps", hint="put it into one of the steps")
    steps = tuple(_step(each.members(_STEP), own, refused=False, first=False) for each in node.field("steps").items())
    if not steps:
        raise node.field("steps").fail("there are none")
    _expects(node, steps)
    return Test(name, config, own, steps)


def _expects(node: Node, steps: tuple[Step, ...]) -> None:
    """A test that looks at nothing passes whatever the filter does."""
    if all(step.expect == Expectation() for step in steps):
        raise node.fail(
            "expects nothing, so any answer would do", hint="expect: {status: 200}, or what else must come of it"
        )


def _refused(node: Node) -> bool:
    if not node.field("expect").field("refused").truth():
        return False
    for name in ("request", "upstream", "after"):
        if node.has(name):
            raise node.field(name).fail("a filter that refuses its configuration gets no request")
    node.field("expect").members(("refused", "logs"))
    return True


def _step(node: Node, clusters: Mapping[str, Answer], *, refused: bool, first: bool = True) -> Step:
    request = _request(node.field("request")) if node.has("request") else None
    after = _duration(node.field("after")) if node.has("after") else 0.0
    upstream = _answer(node.field("upstream"), ("status", "headers", *_BODY)) if node.has("upstream") else _OPEN
    expect = _expectation(node.field("expect"), clusters, first=first) if node.has("expect") else Expectation()
    if request is None and not refused:
        for name in ("status", "body", "headers", "upstream"):
            if node.field("expect").has(name):
                raise node.field("expect").field(name).fail("nothing is requested", hint="request: GET /")
        if node.has("upstream"):
            raise node.field("upstream").fail("nothing is requested", hint="request: GET /")
        if not after and not node.has("expect"):
            raise node.fail("has neither request nor expect")
    return Step(request, upstream, expect, after)


def _config(node: Node) -> str:
    if node.value is None:
        return ""
    if isinstance(node.value, str):
        return node.value
    try:
        return json.dumps(node.value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise node.fail("holds a number that JSON has not") from None


def _clusters(node: Node) -> dict[str, Answer]:
    if node.value is None:
        return {}
    return {name: _cluster(each) for name, each in node.entries()}


def _cluster(node: Node) -> Answer:
    if node.value is None:
        return _OPEN
    node.members(("status", "headers", *_BODY, "refuse", "timeout"))
    for name in ("refuse", "timeout"):
        if node.has(name) and node.field(name).truth():
            if len(node.value) > 1:
                raise node.fail(f"{name} and an answer do not go together")
            return Answer(refuse=name == "refuse", timeout=name == "timeout")
    return _answer(node, ("status", "headers", *_BODY, "refuse", "timeout"))


def _answer(node: Node, known: tuple[str, ...]) -> Answer:
    node.members(known)
    headers = _headers(node.field("headers"))
    body, headers = _message_body(node, headers)
    status = node.field("status").whole(200, 599) if node.has("status") else 200
    return Answer(status, headers, body or Body())


def _request(node: Node) -> Request:
    if isinstance(node.value, str):
        line = _LINE.fullmatch(node.value)
        if not line:
            raise node.fail(f"{node.value!r} is no request", hint="such as: GET /path")
        return Request(line[1].upper(), line[2])
    node.members((*_METHODS, "method", "path", "headers", *_BODY))
    given = [name for name in (*_METHODS, "method") if node.has(name)]
    if len(given) != 1:
        raise node.fail("names no method" if not given else f"names the methods {' and '.join(given)}", hint="get: /")
    if given == ["method"]:
        method, path = node.field("method").text(), node.field("path")
        if not _TOKEN.fullmatch(method):
            raise node.field("method").fail(f"{method!r} is no method")
    else:
        method, path = given[0].upper(), node.field(given[0])
        if node.has("path"):
            raise node.field("path").fail(f"stands already behind {given[0]}")
    if not isinstance(path.value, str) or not _TARGET.fullmatch(path.value):
        raise path.fail("is no path, which begins with / and has no spaces")
    body, headers = _message_body(node, _headers(node.field("headers")))
    return Request(method, path.value, headers, body)


def _headers(node: Node) -> Headers:
    if node.value is None:
        return ()
    found: list[tuple[str, str]] = []
    for name, each in node.entries():
        if not _TOKEN.fullmatch(name):
            raise each.fail(f"{name!r} is no header's name")
        for value in each.items() if isinstance(each.value, list) else [each]:
            text = value.text()
            if re.search(r"[\r\n\0]", text):
                raise value.fail("a header's value is one line")
            found.append((name, text))
    return tuple(found)


def _message_body(node: Node, headers: Headers) -> tuple[Body | None, Headers]:
    given = [name for name in _BODY if node.has(name)]
    if not given:
        return None, headers
    if len(given) > 1:
        raise node.fail(f"{' and '.join(given)} are one too many")
    value = node.field(given[0])
    if given[0] == "chunks":
        return Body(tuple(piece for each in value.items() if (piece := _content(each))), chunked=True), headers
    if given[0] == "body":
        return Body((_content(value),)), headers
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("content-type", "application/json"))
    try:
        text = json.dumps(value.value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise value.fail("holds a number that JSON has not") from None
    return Body((text.encode(),)), headers


def _content(node: Node) -> bytes:
    return _repeated(node).encode("utf-8", "surrogatepass")


def _repeated(node: Node) -> str:
    if not isinstance(node.value, dict):
        return node.text()
    node.members(("repeat", "times"))
    text, times = node.field("repeat").text(), node.field("times").whole(0, _LARGEST_BODY)
    if len(text.encode("utf-8", "surrogatepass")) * times > _LARGEST_BODY:
        raise node.fail(f"is larger than {_LARGEST_BODY:,} bytes")
    return text * times


def _duration(node: Node) -> float:
    match = _DURATION.fullmatch(node.value) if isinstance(node.value, str) else None
    if not match:
        raise node.fail(f"{node.value!r} is no time", hint="such as 500ms or 2.6s")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _LONGEST_WAIT:
        raise node.fail(f"is more than {_LONGEST_WAIT:g}s")
    return seconds


def _expectation(node: Node, clusters: Mapping[str, Answer], *, first: bool) -> Expectation:
    if not first and node.has("refused"):
        raise node.field("refused").fail("a configuration is refused before the first request")
    node.members((*_OUTCOME, *(("refused",) if first else ())))
    upstream = node.field("upstream")
    return Expectation(
        status=node.field("status").whole(100, 599) if node.has("status") else None,
        body=_text(node.field("body")) if node.has("body") else None,
        headers=_expected_headers(node.field("headers")),
        upstream=_arrival(upstream, ()) if upstream.value is not None else None,
        unreached=node.has("upstream") and upstream.value is None,
        calls=_calls(node.field("calls"), clusters) if node.has("calls") else None,
        logs=tuple(_text(each) for each in node.field("logs").items()) if node.has("logs") else (),
        metrics=_metrics(node.field("metrics")) if node.has("metrics") else {},
    )


def _calls(node: Node, clusters: Mapping[str, Answer]) -> tuple[Arrival, ...]:
    found: list[Arrival] = []
    for each in node.items():
        call = _arrival(each, ("cluster",))
        place = each.field("cluster")
        if call.cluster not in clusters:
            known = ", ".join(sorted(clusters)) or "none"
            raise place.fail(f"there is no cluster {call.cluster!r} (there are: {known})")
        if clusters[call.cluster].refuse:
            raise place.fail("a cluster that refuses connections sees no call")
        found.append(call)
    return tuple(found)


def _arrival(node: Node, more: tuple[str, ...]) -> Arrival:
    node.members((*more, "method", "path", "authority", "headers", "body"))
    return Arrival(
        cluster=node.field("cluster").text() if more else "",
        method=node.field("method").text().upper() if node.has("method") else None,
        path=node.field("path").text() if node.has("path") else None,
        authority=node.field("authority").text() if node.has("authority") else None,
        headers=_expected_headers(node.field("headers")),
        body=_text(node.field("body")) if node.has("body") else None,
    )


def _expected_headers(node: Node) -> ExpectedHeaders:
    if node.value is None:
        return ()
    found: dict[str, tuple[Text, ...] | None] = {}
    for name, each in node.entries():
        if not _TOKEN.fullmatch(name):
            raise each.fail(f"{name!r} is no header's name")
        if name.lower() in found:
            raise each.fail("stands twice: a header's name is the same in small and in large letters")
        values = each.items() if isinstance(each.value, list) else [each]
        found[name.lower()] = None if each.value is None else tuple(_text(value) for value in values)
    return tuple(found.items())


def _text(node: Node) -> Text:
    text = _repeated(node)
    regex = _REGEX.fullmatch(text) if isinstance(node.value, str) else None
    if not regex:
        return Text(text)
    try:
        return Text(text, re.compile(regex[1], re.DOTALL))
    except (re.error, RecursionError, OverflowError) as error:
        raise node.fail(f"is no regular expression: {error}") from None


def _metrics(node: Node) -> dict[str, int]:
    return {name: each.whole(-(2**63), 2**64) for name, each in node.entries()}
