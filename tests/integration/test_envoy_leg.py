"""The runner on the real Envoy: every kind of expectation fails when it should, and no filter spoils another's test."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures import behaviours, filters
from tests.fixtures.envoys import WASME, ask
from wasme.testing.envoy_leg import EnvoyLeg
from wasme.testing.envoy_session import Limits
from wasme.testing.grammar import parse
from wasme.testing.runner import Case, Filter, Result

Make = Callable[[bytes], Filter]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory, envoy_binary: Path) -> Make:
    """A filter of a module's bytes."""
    folder = tmp_path_factory.mktemp("filters")

    def made(content: bytes) -> Filter:
        path = folder / f"{abs(hash(content))}.wasm"
        path.write_bytes(content)
        return Filter(path.stem, path)

    return made


def cases(filter_: Filter, text: str) -> list[Case]:
    """The tests of a scenario on a filter."""
    return [Case(filter_, test, "f.test.yaml") for test in parse(text.encode(), "f.test.yaml").tests]


def run(found: list[Case], limits: Limits | None = None) -> list[Result]:
    return EnvoyLeg(limits or Limits(answer=3, late=0.5)).run(found)


def problems(filter_: Filter, text: str, limits: Limits | None = None) -> list[tuple[str, ...]]:
    return [result.problems for result in run(cases(filter_, text), limits)]


GOOD = """{name: %s, config: world, clusters: {authz: {body: ok}},
  request: {post: /p, headers: {x-a: "1", x-b: [c, d]}, chunks: [ab, cd]},
  upstream: {status: 201, headers: {x-own: kept}, body: fine},
  expect: {status: 201, body: fine, headers: {hello: world, x-own: kept, x-none: null},
    upstream: {method: POST, path: /p, authority: localhost, body: abcd,
      headers: {x-a: "1", x-b: [c, d], hello: world}},
    calls: [], logs: [hello]}}"""

# What is changed in a test that passes -> the one problem that is then told.
FAILURES = [
    ("expect: {status: 201", "expect: {status: 200", "status: expected 200, got 201"),
    ("body: fine, headers", "body: fin, headers", 'body: expected "fin", got "fine"'),
    ("body: fine, headers", "body: /fin/, headers", 'body: expected /fin/, got "fine"'),
    ("{hello: world, x-own", "{hello: mars, x-own", 'header hello: expected "mars", got "world"'),
    ("x-own: kept, x-none", "x-own: null, x-none", 'header x-own: expected none, got "kept"'),
    ("x-none: null", "x-none: x", 'header x-none: expected "x", got none'),
    ("{method: POST", "{method: PUT", 'upstream.method: expected "PUT", got "POST"'),
    ("path: /p, authority", "path: /q, authority", 'upstream.path: expected "/q", got "/p"'),
    ("authority: localhost", "authority: other", 'upstream.authority: expected "other", got "localhost"'),
    ('{x-a: "1", x-b: [c, d], hello', '{x-a: "2", x-b: [c, d], hello', 'upstream header x-a: expected "2", got "1"'),
    ("[c, d], hello", "[c], hello", 'upstream header x-b: expected "c", got "c" and "d"'),
    ("body: abcd", "body: abc", 'upstream.body: expected "abc", got "abcd"'),
    ("calls: []", "calls: [{cluster: authz}]", "calls: expected 1, got none"),
    ("logs: [hello]", "logs: [hello, bye]", 'logs: no line has "bye"; the filter logged "hello"; "hello"; "hello"'),
    ("logs: [hello]", "metrics: {some: 1}", "metrics some: expected 1, got no such metric (there are: none)"),
]


class TestExpectations:
    def test_each_kind_fails_when_it_should(self, make: Make) -> None:
        """A test that passes fails with one word changed, each time with that one problem; all in one Envoy."""
        changed = [GOOD % "good"]
        wanted: list[tuple[str, ...]] = [()]
        for number, (old, new, problem) in enumerate(FAILURES):
            assert old in GOOD
            changed.append((GOOD % f"failure {number}").replace(old, new, 1))
            wanted.append((problem,))
        text = "tests:\n" + "".join(f"- {each}\n" for each in changed)
        assert problems(make(filters.adds_config()), text) == wanted

    def test_reached_or_not(self, make: Make) -> None:
        """`upstream: null` fails if the upstream is reached, an expected request if it is not."""
        text = "tests: [{name: a, request: GET /x, expect: {upstream: null}}]"
        assert problems(make(filters.adds_config()), text) == [("upstream: expected not to be reached, got GET /x",)]
        text = "tests: [{name: a, request: GET /x, expect: {status: 503, upstream: {}}}]"
        found = problems(make(filters.traps_on_request()), text)
        assert "upstream: expected one request, got none" in found[0]

    def test_calls(self, make: Make) -> None:
        """Calls are told with cluster, method, path and authority, in each way a cluster can answer or not."""
        text = """
        clusters: {auth: {body: ok}}
        tests:
        - {name: right, request: GET /, expect: {calls: [{cluster: auth, method: GET, path: /auth, authority: auth}]}}
        - {name: path, request: GET /, expect: {calls: [{cluster: auth, path: /}]}}
        - {name: none, request: GET /, expect: {calls: []}}
        - {name: two, request: GET /, expect: {calls: [{cluster: auth}, {cluster: auth}]}}
        - {name: silent, clusters: {auth: {timeout: true}}, request: GET /, expect: {calls: [{cluster: auth}]}}
        - {name: refusing, clusters: {auth: {refuse: true}}, request: GET /, expect: {status: 200, calls: []}}
        """
        right, path, none, two, silent, refusing = problems(make(filters.calls_out("auth")), text)
        assert right == silent == refusing == ()
        assert path == ('calls[0].path: expected "/", got "/auth"',)
        assert two == ("calls: expected 2, got 1 (GET auth /auth)",)
        # The call may come after the answer, so that there is none yet: but a test that waits for it sees it.
        assert none in ((), ("calls: expected none, got 1 (GET auth /auth)",))

    def test_steps(self, make: Make) -> None:
        """Steps go on in one filter, wait as they say, and each sees its own log; the failing one is named."""
        text = """
        tests:
        - name: good
          steps:
          - {request: GET /, expect: {logs: [seen]}}
          - {after: 300ms, expect: {}}
          - {request: GET /, expect: {logs: [seen]}}
        - name: bad
          steps:
          - {request: GET /, expect: {logs: [seen]}}
          - {after: 10ms, expect: {logs: [seen]}}
        """
        good, bad = run(cases(make(behaviours.logs_each_request("seen")), text))
        assert good.passed
        assert good.seconds > 0.3
        assert good.log == ("seen", "seen")
        assert bad.problems == ('step 2: logs: no line has "seen"; the filter logged nothing',)

    def test_metrics(self, make: Make) -> None:
        """Counters and histograms by what a test adds, gauges as they are; other tests' requests do not count."""
        text = """
        tests:
        - {name: one, request: GET /, expect: {metrics: {hits: 1, open: 0, size: 1}}}
        - {name: quiet, request: GET /, expect: {status: 200}}
        - {name: wrong, request: GET /, expect: {metrics: {hits: 2, open: 1, size: 3}}}
        - name: two
          steps: [{request: GET /}, {request: GET /, expect: {metrics: {hits: 2, size: 2, open: 0}}}]
        """
        one, quiet, wrong, two = problems(make(behaviours.counts()), text)
        assert one == quiet == two == ()
        assert wrong == (
            "metrics hits: expected 2, got 1", "metrics open: expected 1, got 0", "metrics size: expected 3, got 1",
        )  # fmt: skip

    def test_a_gauge_that_another_filter_left_up(self, make: Make) -> None:
        """A filter that leaves a gauge up fails its own test, and not that of the next."""
        text = "tests: [{name: a, request: GET /, expect: {metrics: {open: 0}}}]"
        leaking, sound = (make(behaviours.counts(leaks=leaks)) for leaks in (True, False))
        found = run([*cases(leaking, text), *cases(sound, text)])
        assert [result.problems for result in found] == [("metrics open: expected 0, got 1",), ()]


REFUSAL = "tests: [{name: a, config: x, expect: {refused: true}}]"
ANY = "tests: [{name: a, config: x, request: GET /, expect: {refused: false}}]"


class TestRefusal:
    def test_a_filter_that_refuses(self, make: Make) -> None:
        """A refused configuration is what `refused` expects, with what the filter said; else it is a failure."""
        filter_ = make(behaviours.refuses())
        assert problems(filter_, REFUSAL) == [()]
        assert problems(filter_, REFUSAL.replace("true", "true, logs: [not good]")) == [()]
        assert problems(filter_, REFUSAL.replace("true", "true, logs: [else]"))[0][0].startswith(
            'logs: no line has "else"; the filter logged "not good"'
        )
        assert problems(filter_, ANY) == [("the filter refused its configuration and said: not good",)]

    def test_a_filter_that_takes_it(self, make: Make) -> None:
        """A configuration that is taken fails the test that expects a refusal."""
        assert problems(make(filters.module()), REFUSAL) == [
            ("the filter takes the configuration, which it was expected to refuse",)
        ]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (behaviours.traps_at_configuration(),
             "the filter trapped in proxy_on_configure: RuntimeError: unreachable"),
            (behaviours.refuses_to_start(), "Envoy refuses the filter: Failed to start base Wasm"),
            (filters.module("", version="0_2_100"),
             "Envoy refuses the filter: Missing or unknown Proxy-Wasm ABI version"),
            (filters.module("", malloc=""), "Envoy refuses the filter: Wasm module is missing malloc function."),
            (filters.module()[:-3], "Envoy refuses the filter: Failed to parse corrupted Wasm module"),
        ],
        ids=["trap", "start", "abi", "malloc", "cut"],
    )  # fmt: skip
    def test_another_reason_is_no_refusal(self, make: Make, content: bytes, reason: str) -> None:
        """A filter that traps or cannot be loaded has not refused its configuration."""
        filter_ = make(content)
        assert problems(filter_, REFUSAL) == [(f"expected the filter to refuse its configuration, but {reason}",)]
        assert problems(filter_, ANY) == [(reason,)]


class TestTroublemakers:
    """One Envoy runs many filters, and each answers only for itself."""

    def beside(self, make: Make, bad: bytes, limits: Limits | None = None) -> tuple[tuple[str, ...], float]:
        """Run a bad filter among good ones; the good ones pass. The bad one's problems, and how long all took."""
        good = make(filters.adds_config())
        text = "tests:\n" + "".join(
            f"- {{name: t{number}, config: x, request: GET /, expect: {{headers: {{hello: x}}}}}}\n"
            for number in range(5)
        )
        found = [
            *cases(good, text),
            *cases(make(bad), "tests: [{name: bad, request: GET /, expect: {refused: false}}]"),
            *cases(good, text),
        ]
        begun = time.monotonic()
        results = run(found, limits)
        seconds = time.monotonic() - begun
        assert len(results) == 11
        assert [result.problems for result in results if result.case.test.name != "bad"] == [()] * 10
        return results[5].problems, seconds

    def test_a_trap(self, make: Make) -> None:
        """A trap is told where it happened, and fails the test even if 503 was expected."""
        assert self.beside(make, filters.traps_on_request())[0] == (
            "the filter trapped in proxy_on_request_headers: RuntimeError: unreachable",
        )
        text = "tests: [{name: a, request: GET /, expect: {status: 503}}]"
        assert problems(make(filters.traps_on_request()), text) == [
            ("the filter trapped in proxy_on_request_headers: RuntimeError: unreachable",)
        ]

    def test_a_trap_after_the_answer(self, make: Make) -> None:
        """A filter that traps when its request is over fails, though the answer was right."""
        assert self.beside(make, behaviours.traps_in_log())[0] == (
            "the filter trapped in proxy_on_log: RuntimeError: unreachable",
        )

    def test_a_filter_that_never_goes_on(self, make: Make) -> None:
        """A request that is held for ever ends the test after the time that answers have."""
        problem, seconds = self.beside(make, behaviours.pauses(), Limits(answer=3, late=0.5))
        assert problem == ("no answer within 3 s; the upstream was not reached",)
        assert 3 < seconds < 45

    def test_an_endless_loop(self, make: Make) -> None:
        """A filter that never comes back holds Envoy's worker; the others are run elsewhere."""
        problem, _ = self.beside(make, behaviours.spins(), Limits(answer=3, late=0.5))
        assert problem == ("the filter does not come back: it holds Envoy's worker",)

    def test_an_endless_loop_at_start(self, make: Make) -> None:
        """A filter that keeps Envoy from being ready is found among the others."""
        problem, _ = self.beside(make, behaviours.spins_at_start(), Limits(answer=10, ready=5))
        assert problem[0].startswith("Envoy does not start with the filter: Envoy was not ready within 5 s")

    def test_a_module_that_ends_envoy(self, make: Make) -> None:
        """A module on which Envoy crashes is found among the others."""
        crash = filters.module('(func (export "x") (param v128) unreachable)')
        problem, _ = self.beside(make, crash)
        assert problem[0].startswith("Envoy does not start with the filter: envoy was ended by signal")

    def test_an_envoy_that_is_killed(self, make: Make) -> None:
        """An Envoy that ends in the middle of a test is told, and how it ended."""
        killer = threading.Thread(target=_kill_child, args=("envoy",))
        killer.start()
        found = problems(
            make(behaviours.pauses()), "tests: [{name: a, request: GET /, expect: {status: 200}}]", Limits(answer=20)
        )
        killer.join()
        assert found == [("Envoy ended under the filter: envoy was ended by signal 9: it gave no reason",)]

    def test_calls_by_the_clock(self, make: Make) -> None:
        """Calls that a filter makes without any request do not get into another's test."""
        clock, quiet = make(behaviours.calls_by_the_clock("auth")), make(filters.calls_out("auth"))
        text = "clusters: {auth: {}}\ntests: [{name: a, steps: [{after: 100ms, request: GET /, expect: {calls: %s}}]}]"
        found = run([*cases(clock, text % "[]"), *cases(quiet, text % "[{cluster: auth, path: /auth}]")])
        assert found[0].problems
        assert found[0].problems[0].startswith("calls: expected none, got ")
        assert found[1].problems == ()


class TestTheWorldAround:
    def test_clusters_of_one_name(self, make: Make) -> None:
        """Tests that name one cluster each get their own answers from it, refusals in between."""
        answers = ["{body: ok}", "{refuse: true}", "{status: 500}", "{refuse: true}", "{timeout: true}", "{body: x}"]
        text = "tests:\n" + "".join(
            f"- {{name: t{number}, clusters: {{auth: {answer}}}, request: GET /, expect: {{calls: "
            + ("[]" if "refuse" in answer else "[{cluster: auth}]")
            + "}}\n"
            for number, answer in enumerate(answers * 3)
        )
        assert set(problems(make(filters.calls_out("auth")), text)) == {()}

    def test_many_tests_at_once(self, make: Make) -> None:
        """A hundred tests, each with a filter of its own, take one Envoy and little time."""
        text = "tests:\n" + "".join(
            f"- {{name: t{number}, config: c{number}, request: GET /, expect: {{headers: {{hello: c{number}}}}}}}\n"
            for number in range(100)
        )
        begun = time.monotonic()
        assert set(problems(make(filters.adds_config()), text)) == {()}
        assert time.monotonic() - begun < 45

    def test_bodies_and_statuses(self, make: Make) -> None:
        """HEAD, bodiless answers, large bodies, chunked answers and UTF-8 pass as they are."""
        text = """
        tests:
        - name: head
          request: HEAD /
          upstream: {body: hidden}
          expect: {status: 200, body: "", upstream: {method: HEAD}}
        - {name: 204, request: DELETE /, upstream: {status: 204}, expect: {status: 204, body: ""}}
        - {name: 304, request: GET /, upstream: {status: 304}, expect: {status: 304, body: ""}}
        - name: large
          request: {post: /, body: {repeat: "0123456789", times: 300000}}
          upstream: {body: {repeat: "abc", times: 500000}}
          expect: {body: {repeat: "abc", times: 500000}, upstream: {body: {repeat: "0123456789", times: 300000}}}
        - name: chunks
          request: {post: /, chunks: [a, "", b]}
          upstream: {chunks: [x, y]}
          expect: {body: xy, upstream: {body: ab, headers: {transfer-encoding: chunked, content-length: null}}}
        - name: words
          request: {put: "/ä?ö", headers: {x-a: grüße}, json: {a: "ü"}}
          expect: {upstream: {headers: {x-a: grüße, content-type: application/json}, body: '{"a":"ü"}'}}
        """
        assert problems(make(filters.module()), text.replace("/ä?ö", "/a?b")) == [()] * 6

    def test_nothing_is_left(self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """No folder, thread, socket or process stays behind a run."""
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        threads = {each.name for each in threading.enumerate()}
        handles = sorted(Path("/proc/self/fd").glob("*"))
        assert problems(make(filters.calls_out("auth")), "clusters: {auth: {timeout: true}}\n" + ANY) == [()]
        assert list(tmp_path.iterdir()) == []
        assert {each.name for each in threading.enumerate()} == threads
        assert len(sorted(Path("/proc/self/fd").glob("*"))) == len(handles)

    def test_an_unknown_cluster(self, make: Make) -> None:
        """A call to a cluster that no test names reaches nobody, and the request goes on."""
        text = "clusters: {auth: {}}\ntests: [{name: a, request: GET /, expect: {status: 200, calls: []}}]"
        assert problems(make(filters.calls_out("nowhere")), text) == [()]

    def test_an_unknown_cluster_of_a_test_that_fails(self, make: Make) -> None:
        """A test that fails for a cluster that it does not name says which one that is."""
        text = "tests: [{name: a, clusters: {auth: {}}, request: GET /, expect: {status: 403}}]"
        ((status, call),) = problems(make(filters.calls_out("outbound|80||authz")), text)
        assert status == "status: expected 403, got 200"
        assert call == (
            "the filter called out to the cluster 'outbound|80||authz', which Envoy does not have (it has: auth); "
            "the clusters of a test say who answers"
        )

    def test_runs_side_by_side(self, make: Make, tmp_path: Path) -> None:
        """Several runs at once do not get into each other's way: no port is fixed."""
        filter_ = make(filters.calls_out("auth"))
        scenario = tmp_path / "a.test.yaml"
        test = "{name: t%d, clusters: {auth: {refuse: %s}}, request: GET /, expect: {status: 200}}"
        scenario.write_text("tests:\n" + "".join(f"- {test % (number, 'true')}\n" for number in range(20)))
        words = [*WASME, "test", str(scenario), "--filter", str(filter_.path)]
        running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        for each in running:
            told, _ = each.communicate(timeout=60)
            assert each.returncode == 0, told
            assert "20 passed" in told

    def test_no_cases(self) -> None:
        """No cases are no results, and no Envoy."""
        assert run([]) == []


def _kill_child(name: str) -> None:
    """Kill the one child process of this one that has the name, once it has a request under way."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for task in Path("/proc/self/task").glob("*/children"):
            with suppress(OSError, ValueError):  # some process is gone, or it does not answer yet
                for child in map(int, task.read_text().split()):
                    if Path(f"/proc/{child}/comm").read_text().strip() == name and _holds_a_request(child):
                        os.kill(child, signal.SIGKILL)
                        return
        time.sleep(0.05)


def _holds_a_request(envoy: int) -> bool:
    """Whether a listener of an Envoy of ours has a request that is not answered."""
    words = Path(f"/proc/{envoy}/cmdline").read_bytes().decode().split("\0")
    admin = Path(words[words.index("--admin-address-path") + 1]).read_text().strip()
    stats = ask(f"http://{admin}/stats?filter=downstream_rq_active$").body.splitlines()
    return any(not line.endswith(": 0") for line in stats if not line.startswith("http.admin."))
