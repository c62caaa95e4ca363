"""Every example in every language: scaffolded, built, judged and run on the real Envoy, one Envoy for each example."""

from __future__ import annotations

import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import chain
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from tests.fixtures.envoys import Deploy, ask
from tests.fixtures.examples import LANGUAGES, NAMES, Examples, selected
from wasme.envoy.binary import find_envoy
from wasme.errors import BuildFailed, MissingExtra, ToolMissing
from wasme.scaffold import bases
from wasme.testing import envoy_leg
from wasme.testing.envoy_leg import EnvoyLeg
from wasme.testing.envoy_session import Session
from wasme.testing.files import read
from wasme.testing.grammar import parse
from wasme.testing.runner import Case, Filter, Result
from wasme.wasm import abi
from wasme.wasm.check import check
from wasme.wasm.module import parse as parse_module

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_example = pytest.mark.parametrize("example", NAMES)
SOURCES = (".cc", ".h", ".rs", ".ts", ".go")


@pytest.fixture(scope="session", autouse=True)
def envoy() -> None:
    """All of this needs the real Envoy."""
    try:
        find_envoy()
    except MissingExtra as error:
        pytest.skip(f"{error.message}: {error.hint}")


@pytest.fixture(scope="session")
def verdicts(request: pytest.FixtureRequest, examples: Examples) -> Callable[[str, str], list[Result]]:
    """Each test of an example's scenario on a language's filter; all languages of an example run in one Envoy."""
    done: dict[str, dict[str, list[Result]]] = {}

    def verdict(language: str, example: str) -> list[Result]:
        if example not in done:
            done[example] = run_all(selected(request, example), example)
        if language not in done[example]:
            examples.built(language, example)  # skips, or fails
        return done[example][language]

    def run_all(languages: list[str], example: str) -> dict[str, list[Result]]:
        cases: list[Case] = []
        owners: list[str] = []
        for language in languages:
            try:
                built = examples.built(language, example)
            except (pytest.skip.Exception, Exception):  # its own test says so
                continue
            scenario = read(built.project / "filter.test.yaml")
            filter_ = Filter(f"{language}/{example}", built.module, scenario.root_id or built.root_id)
            cases += [Case(filter_, test, scenario.file) for test in scenario.tests]
            owners += [language] * len(scenario.tests)
        results: dict[str, list[Result]] = {}
        with pytest.MonkeyPatch.context() as patch:
            sessions: list[Session] = []
            patch.setattr(envoy_leg, "Session", lambda *words: sessions.append(Session(*words)) or sessions[-1])
            for owner, result in zip(owners, EnvoyLeg().run(cases), strict=True):
                results.setdefault(owner, []).append(result)
        if all(result.passed for result in chain.from_iterable(results.values())):
            assert len(sessions) <= 1, "filters that do what they should need one Envoy"
        return results

    return verdict


@every_language
@every_example
def test_passes_its_scenario(verdicts: Callable[[str, str], list[Result]], language: str, example: str) -> None:
    """The example, built in that language, does all that its scenario says, on the real Envoy."""
    results = verdicts(language, example)
    assert len(results) >= 2
    failed = {result.case.test.name: [*result.problems, *result.log[-3:]] for result in results if not result.passed}
    assert not failed


@every_language
@every_example
def test_has_no_errors(examples: Examples, language: str, example: str) -> None:
    """The module that a scaffolded project builds to has nothing that Envoy would refuse, and nothing to warn of."""
    module = examples.built(language, example).module.read_bytes()
    assert [finding for finding in check(module) if finding.severity in ("error", "warning")] == []


@every_language
def test_speaks_what_its_proxies_take(examples: Examples, language: str) -> None:
    """A project for an older proxy builds a module of that proxy's ABI."""
    module = parse_module(examples.built(language, "add-header").module.read_bytes())
    assert abi.spoken(module).version == bases.find(*LANGUAGES[language]).abi


def test_every_abi_is_run() -> None:
    """Between them, the languages speak every version of the ABI that Envoy takes."""
    assert {bases.find(*each).abi for each in LANGUAGES.values()} == {"0.1.0", "0.2.0", "0.2.1"}


@every_language
def test_workers_share_the_limit(examples: Examples, deploy: Deploy, language: str) -> None:
    """However many workers and connections there are, as many requests go through as the configuration says."""
    built = examples.built(language, "rate-limit")
    config = '{"requests": 30, "milliseconds": 120000}'
    words = ["--store", examples.store, "--config", config, "--envoy-run-args", "--concurrency 2"]
    running = deploy(built.reference, *words)
    # A worker that is busy leaves the next connection to the other; a quick one may take many before that.
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(running.url), range(90)))
        while _idle_workers(running.admin) and len(answers) < 3000:
            answers += pool.map(lambda _: ask(running.url), range(90))
    assert _idle_workers(running.admin) == []
    assert Counter(answer.status for answer in answers) == {200: 30, 429: len(answers) - 30}
    left = sorted(int(answer.headers["x-ratelimit-remaining"]) for answer in answers if answer.status == 200)
    assert left == list(range(30))


@every_language
def test_a_late_timer_limits_nobody(examples: Examples, deploy: Deploy, language: str) -> None:
    """A request that finds the window over begins the next one, though the timer (every 10 ms) has not come yet."""
    built = examples.built(language, "rate-limit")
    config = '{"requests": 1, "milliseconds": 2}'
    running = deploy(built.reference, "--store", examples.store, "--config", config)
    statuses = Counter[int]()
    with closing(HTTPConnection(running.url.removeprefix("http://").rstrip("/"), timeout=20)) as client:
        for _ in range(100):
            client.request("GET", "/")
            with client.getresponse() as answer:
                answer.read()
            statuses[answer.status] += 1
            time.sleep(0.003)
    assert statuses == {200: 100}


def _idle_workers(admin: str) -> list[str]:
    """Envoy's workers that no connection has come to."""
    stats = ask(f"{admin}/stats?filter=listener.127.*worker_.*downstream_cx_total").body.splitlines()
    assert len(stats) == 2
    return [line for line in stats if line.endswith(": 0")]


@every_language
def test_a_changed_source_is_seen(examples: Examples, language: str, tmp_path: Path) -> None:
    """What the source says is what Envoy answers: no template ships a compiled module."""
    word = f"w{secrets.token_hex(4)}"
    project = tmp_path / "project"
    shutil.copytree(examples.built(language, "add-header").project, project, symlinks=True)
    _replace(project, '"world"', f'"{word}"')
    built = examples.build(project, language, f"localhost/{language}/changed:v1")
    scenario = f"tests: [{{name: changed, request: GET /, expect: {{headers: {{hello: {word}}}}}}}]"
    tests = parse(scenario.encode(), "changed.test.yaml").tests
    results = EnvoyLeg().run([Case(Filter(language, built.module, built.root_id), tests[0])])
    assert [result.problems for result in results] == [()]


def test_a_missing_toolchain_is_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a language's compiler is not there, its tests skip and say how to get it; a build that fails fails."""
    for error, kind in (
        (ToolMissing("no cargo", hint="rustup"), pytest.skip.Exception),
        (BuildFailed("x"), BuildFailed),
    ):
        monkeypatch.setattr(Examples, "_wasme", MagicMock(side_effect=error))
        with pytest.raises(kind, match=r"no cargo: rustup|x"):
            Examples(tmp_path).built("rust", "auth")


def _replace(project: Path, old: str, new: str) -> None:
    """Change a literal wherever the project's own sources have it."""
    skipped = {"node_modules", "target", "build", "proxy"}
    found = [
        path
        for path in project.rglob("*")
        if path.suffix in SOURCES and not skipped & set(path.relative_to(project).parts) and old in path.read_text()
    ]
    assert found, f"no source has {old}"
    for path in found:
        path.write_text(path.read_text().replace(old, new))
