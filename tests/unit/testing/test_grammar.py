"""The grammar of scenarios: what each form means, and that every mistake is one line with its place."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wasme.scaffold
from tests.unit.testing.test_document import complaint
from wasme.errors import InvalidScenario
from wasme.testing.grammar import parse
from wasme.testing.scenario import Answer, Arrival, Body, Request, Scenario, Step, Test, Text

SHARED = Path(wasme.scaffold.__file__).parent / "templates" / "shared"


def read(text: str) -> Scenario:
    return parse(text.encode(), "f.test.yaml")


def step(text: str) -> Step:
    """The one step of a test that holds ``text``, and expects something."""
    text = text if "expect" in text else f"{text}, expect: {{logs: [x]}}"
    return read(f"clusters: {{c: {{}}, d: {{}}}}\ntests: [{{name: t, {text}}}]").tests[0].steps[0]


def mistake(text: str) -> str:
    with pytest.raises(InvalidScenario) as caught:
        read(text)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("path", sorted(SHARED.glob("*/*.test.yaml")), ids=lambda path: path.parent.name)
def test_what_init_writes_is_read(path: Path) -> None:
    """The scenarios of the examples are in the grammar."""
    assert len(parse(path.read_bytes(), str(path)).tests) >= 3


class TestMeaning:
    def test_file_values_hold_for_all_tests(self) -> None:
        """A test's configuration goes before the file's, null is none; its clusters stand beside the file's."""
        found = read(
            "filter: a.wasm\nroot_id: r\nconfig: {a: [1, ä]}\nclusters: {c: {status: 201}, d: {body: x}}\n"
            "tests: [{name: one, request: GET /, expect: {status: 200}}, "
            "{name: two, config: own, clusters: {d: {refuse: true}}, request: GET /, expect: {status: 200}}, "
            "{name: three, config: null, request: GET /, expect: {status: 200}}]"
        )
        one, two, three = found.tests
        assert (found.filter, found.root_id) == ("a.wasm", "r")
        assert (one.config, two.config, three.config) == ('{"a":[1,"ä"]}', "own", "")
        assert one.clusters == {"c": Answer(201), "d": Answer(body=Body((b"x",)))}
        assert two.clusters == {"c": Answer(201), "d": Answer(refuse=True)}

    @pytest.mark.parametrize(
        ("text", "request_"),
        [
            ("GET /a?b=c", Request("GET", "/a?b=c")),
            ("purge /", Request("PURGE", "/")),
            ("{get: /, headers: {X-A: 1, x-b: [c, d]}}",
             Request("GET", "/", (("X-A", "1"), ("x-b", "c"), ("x-b", "d")))),
            ("{post: /, body: ab}", Request("POST", "/", (), Body((b"ab",)))),
            ("{post: /, body: {repeat: ab, times: 2}}", Request("POST", "/", (), Body((b"abab",)))),
            ("{post: /, json: {a: [1, null]}}",
             Request("POST", "/", (("content-type", "application/json"),), Body((b'{"a":[1,null]}',)))),
            ("{post: /, headers: {Content-Type: x}, json: 1}",
             Request("POST", "/", (("Content-Type", "x"),), Body((b"1",)))),
            ("{put: /, chunks: [a, {repeat: b, times: 2}, '']}",
             Request("PUT", "/", (), Body((b"a", b"bb"), chunked=True))),
            ("{method: LOCK, path: /p}", Request("LOCK", "/p")),
        ],
    )  # fmt: skip
    def test_requests(self, text: str, request_: Request) -> None:
        """Each form of a request."""
        assert step(f"request: {text}").request == request_

    def test_waiting(self) -> None:
        """Times are in milliseconds, seconds or minutes."""
        assert [step(f"after: {text}").after for text in ("500ms", "2.6s", "1m")] == [0.5, 2.6, 60]

    def test_null_and_absence_differ(self) -> None:
        """`upstream: null` says that nothing may arrive there; no `upstream` says nothing."""
        assert step("request: GET /, expect: {upstream: null}").expect.unreached
        silent = step("request: GET /, expect: {status: 200}").expect
        assert (silent.unreached, silent.upstream, silent.calls) == (False, None, None)
        assert step("request: GET /, expect: {upstream: {}}").expect.upstream == Arrival()
        assert step("request: GET /, expect: {calls: []}").expect.calls == ()

    def test_expected_texts(self) -> None:
        """A text between slashes is a pattern, in headers and bodies; a path begins with a slash and is none."""
        expect = step(
            r"request: GET /, expect: {headers: {X-A: /a+/, x-b: [b, 1], x-c: null, x-d: /, x-e: //}, "
            r"upstream: {path: /a/, body: /\d/}}"
        ).expect
        headers = dict(expect.headers)
        assert headers["x-a"] == (Text("/a+/", re.compile("a+", re.DOTALL)),)
        assert headers["x-b"] == (Text("b"), Text("1"))
        assert headers["x-c"] is None
        assert (headers["x-d"], headers["x-e"]) == ((Text("/"),), (Text("//"),))
        assert expect.upstream is not None
        assert expect.upstream.path == "/a/"
        assert expect.upstream.body is not None
        assert expect.upstream.body.fits("7")
        assert not expect.upstream.body.fits("77")

    @pytest.mark.parametrize(
        "text",
        ["request: GET /, expect: {upstream: {}}", "request: GET /, expect: {upstream: null}",
         "request: GET /, expect: {calls: []}", "expect: {refused: false}", "after: 1s, expect: {metrics: {a: 1}}",
         "steps: [{request: GET /}, {after: 1s, expect: {logs: [x]}}]"],
    )  # fmt: skip
    def test_one_expectation_is_enough(self, text: str) -> None:
        """Whatever can fail is an expectation, in whichever step."""
        assert read(f"tests: [{{name: t, {text}}}]").tests[0].steps

    def test_refusal(self) -> None:
        """A test that expects a refusal has no request."""
        test = read("tests: [{name: t, config: x, expect: {refused: true, logs: [no]}}]").tests[0]
        assert test.refused
        assert test.steps[0].request is None
        assert test.steps[0].expect.logs == (Text("no"),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "f.test.yaml: expected a mapping, got a list"),
        ("", "f.test.yaml: expected a mapping, got nothing"),
        ("filter: x", "f.test.yaml: has no tests"),
        ("tests: []", "f.test.yaml: tests: there are none"),
        ("tests: {}", "f.test.yaml: tests: expected a list, got a mapping"),
        ("test: []", "f.test.yaml: test: unknown field, did you mean tests?"),
        ("tests: [{request: GET /}]", "f.test.yaml: tests[0]: has no name"),
        ("tests: [{name: a, request: GET /, expect: {body: x}}, {name: a, request: GET /, expect: {body: x}}]",
         'f.test.yaml: tests[1].name ("a"): another test has this name too'),
        ("tests: [{name: 'a\tb', request: GET /}]", "f.test.yaml: tests[0].name: is no name: one line of text"),
        ("tests: [{name: a, request: GET /, expect: {body: x}}, {name: b}, {name: c, expect: {statuz: 200}}]",
         'f.test.yaml: tests[1] ("b"): has neither request nor expect'),
        ("tests: [{name: c, request: GET /, expect: {statuz: 200}}]",
         'f.test.yaml: tests[0].expect.statuz ("c"): unknown field, did you mean status?'),
        ("tests: [{name: c, request: GET /, expect: {foo: 200}}]",
         'f.test.yaml: tests[0].expect.foo ("c"): unknown field, known are status, body, headers, upstream, calls, '
         "logs, metrics, refused"),
        ("tests: [{name: c, request: GET /, expect: {status: ok}}]",
         'f.test.yaml: tests[0].expect.status ("c"): expected a whole number, got text'),
        ("tests: [{name: c, request: GET /, expect: {status: 99}}]",
         'f.test.yaml: tests[0].expect.status ("c"): 99 is not between 100 and 599'),
        ("tests: [{name: c, request: GET}]", "tests[0].request (\"c\"): 'GET' is no request"),
        ("tests: [{name: c, request: {get: x}}]", 'tests[0].request.get ("c"): is no path'),
        ("tests: [{name: c, request: {get: /, post: /}}]", "names the methods get and post"),
        ("tests: [{name: c, request: {headers: {}}}]", 'tests[0].request ("c"): names no method'),
        ("tests: [{name: c, request: {get: /, path: /}}]", "stands already behind get"),
        ("tests: [{name: c, request: {method: 'a b', path: /}}]", "'a b' is no method"),
        ("tests: [{name: c, request: {post: /, body: a, json: b}}]", "body and json are one too many"),
        ("tests: [{name: c, request: {post: /, body: {repeat: a}}}]", "body.times (\"c\"): expected a whole number"),
        ("tests: [{name: c, request: {post: /, body: {repeat: aaa, times: 60000000}}}]", "is larger than 67,108,864"),
        ("tests: [{name: c, request: {post: /, json: 1e999}}]", "holds a number that JSON has not"),
        ("tests: [{name: c, request: {get: /, headers: {'a b': c}}}]", "'a b' is no header's name"),
        ('tests: [{name: c, request: {get: /, headers: {a: "b\\r\\nc: d"}}}]', "a header's value is one line"),
        ("tests: [{name: c, request: {get: /, headers: {a: true}}}]", "expected text, got true or false"),
        ("tests: [{name: c, request: {get: /, headers: {a: 1.50}}}]", "expected text, got a number"),
        ("tests: [{name: c, request: GET /, expect: {headers: {a: b, A: c}}}]", "stands twice"),
        ("tests: [{name: c, request: GET /, expect: {body: /(/}}]", "is no regular expression"),
        ("tests: [{name: c, request: GET /, after: 5}]", "5 is no time"),
        ("tests: [{name: c, request: GET /, after: 11m}]", "is more than 600s"),
        ("tests: [{name: c, request: GET /, upstream: {status: 99}}]", "99 is not between 200 and 599"),
        ("tests: [{name: c, request: GET /, upstream: {refuse: true}}]", "refuse (\"c\"): unknown field"),
        ("tests: [{name: c, expect: {status: 200}}]", 'tests[0].expect.status ("c"): nothing is requested'),
        ("tests: [{name: c, upstream: {}, after: 1s}]", 'tests[0].upstream ("c"): nothing is requested'),
        ("tests: [{name: c, request: GET /, steps: []}]", 'tests[0].request ("c"): stands beside steps'),
        ("tests: [{name: c, steps: []}]", 'tests[0].steps ("c"): there are none'),
        ("tests: [{name: c, steps: [{name: d}]}]", 'tests[0].steps[0].name ("c"): unknown field'),
        ("tests: [{name: c, request: GET /, expect: {refused: true}}]", "gets no request"),
        ("tests: [{name: c, expect: {refused: true, status: 200}}]", "expect.status (\"c\"): unknown field"),
        ("tests: [{name: c, steps: [{request: GET /}, {expect: {refused: true}}]}]",
         'tests[0].steps[1].expect.refused ("c"): a configuration is refused before the first request'),
        ("tests: [{name: c, steps: [{expect: {refused: true}}, {request: GET /, expect: {status: 200}}]}]",
         'tests[0].steps[0].expect.refused ("c"): a configuration is refused before the first request'),
        ("clusters: {c: {refuse: true, body: x}}\ntests: []", "refuse and an answer do not go together"),
        ("clusters: {c: {refuse: 1}}\ntests: []", "clusters.c.refuse: expected true or false, got a number"),
        ("clusters: {d: {}}\ntests: [{name: c, request: GET /, expect: {calls: [{cluster: e}]}}]",
         "calls[0].cluster (\"c\"): there is no cluster 'e' (there are: d)"),
        ("clusters: {d: {refuse: true}}\ntests: [{name: c, request: GET /, expect: {calls: [{cluster: d}]}}]",
         "a cluster that refuses connections sees no call"),
        ("tests: [{name: c, request: GET /, expect: {metrics: {a: x}}}]", "metrics.a (\"c\"): expected a whole number"),
        ("tests: [{name: c, request: GET /, expect: {logs: x}}]", "logs (\"c\"): expected a list, got text"),
        *(
            (f"tests: [{{name: c, {words}}}]",
             'f.test.yaml: tests[0] ("c"): expects nothing, so any answer would do')
            for words in (
                "request: GET /", "request: GET /, expect: {}", "request: GET /, expect: {logs: [], metrics: {}}",
                "request: GET /, expect: {headers: {}}", "after: 1s", "expect: {}",
                "steps: [{request: GET /}, {request: GET /, expect: {}}]",
            )
        ),
        ("1: x\ntests: []", "the name 1 is not text"),
    ],
)  # fmt: skip
def test_mistakes(text: str, said: str) -> None:
    """Each mistake is told with the file, the path, the test's name, and what is wrong."""
    message = mistake(text)
    assert said in message
    assert message.startswith("f.test.yaml: ")


def test_the_path_holds_the_index() -> None:
    """The example of the grammar's promise: the third test's expectation is named."""
    tests = (
        "{name: a, expect: {logs: [x]}}, {name: b, expect: {logs: [x]}}, {name: c, request: GET /, expect: {statuz: 1}}"
    )
    assert mistake(f"tests: [{tests}]") == (
        'f.test.yaml: tests[2].expect.statuz ("c"): unknown field, did you mean status?'
    )


_WHOLE: dict[str, Any] = {
    "filter": "a.wasm", "root_id": "r", "config": {"a": 1}, "clusters": {"c": {"status": 200, "headers": {"a": "b"}}},
    "tests": [
        {"name": "one", "config": "x", "clusters": {"d": {"timeout": True}}, "after": "1s",
         "request": {"post": "/", "headers": {"a": ["b", "c"]}, "body": {"repeat": "x", "times": 3}},
         "upstream": {"status": 201, "headers": {"a": "b"}, "json": {"x": [1]}},
         "expect": {"status": 200, "body": "/x/", "headers": {"a": None, "b": ["c"]},
                    "upstream": {"method": "GET", "path": "/", "authority": "a", "headers": {"a": "b"}, "body": "x"},
                    "calls": [{"cluster": "c", "path": "/"}], "logs": ["a"], "metrics": {"m": 1}}},
        {"name": "two", "steps": [{"request": "GET /"}, {"after": "1ms", "expect": {"logs": ["b"]}}]},
        {"name": "three", "expect": {"refused": True}},
    ],
}  # fmt: skip
_ANY = st.sampled_from(
    [None, True, 0, -1, 10**17, 1.5, "", "x", "/", "/(/", "GET /", [], {}, [[]], [{}], {"x": None}, {"": {}}, [None]]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        found += [place for key in value for place in _places(value[key], (*path, key))]
    elif isinstance(value, list):
        found += [place for index in range(len(value)) for place in _places(value[index], (*path, index))]
    return found


def test_the_whole_is_read() -> None:
    """What the next test damages is in order before."""
    found = read(json.dumps(_WHOLE))
    assert [len(test.steps) for test in found.tests] == [1, 2, 1]
    assert isinstance(found.tests[0], Test)


@given(st.sampled_from(_places(_WHOLE)), _ANY)
@settings(max_examples=300)
def test_any_value_anywhere(place: tuple[Any, ...], value: Any) -> None:
    """Any value in any place is read, or refused in one line that begins with the file."""
    damaged = copy.deepcopy(_WHOLE)
    at = damaged
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    message = complaint(lambda: read(json.dumps(damaged)))
    assert not message or message.startswith("f.test.yaml: ")
    assert "\n" not in message
