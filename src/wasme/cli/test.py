"""``wasme test``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wasme.cli.grammar import Invocation, at_least, command, option
from wasme.cli.options import output_option, store_option

if TYPE_CHECKING:
    from wasme.deploy.source import Source
    from wasme.testing.runner import Case, Filter, Result
    from wasme.testing.scenario import Scenario


@command(
    "test",
    use="test [PATH ...] [--filter=IMAGE|FILE]",
    args=at_least(0),
    help="Test a filter: send it requests on the real Envoy and compare what comes of them.\n\n"
    "PATH is a file of scenarios, or a folder whose *.test.yaml are taken, also those below it; the default is the "
    "current folder. Envoy is started once for all of them; each test has a filter, an upstream and clusters of its "
    "own. Exit code 1 if any test failed.",
    examples="wasme test . --filter localhost:5000/demo/add-header:v0.1\n"
    "wasme test filter.test.yaml --filter build/filter.wasm -k refused\n"
    "wasme test --junit report.xml",
)
@option(
    "--filter", "-f", help="the image of the local store, or the .wasm file, to test; the default is the file's own"
)
@option("--match", "-k", help="only tests whose name has this text in it")
@option("--junit", help="write the results to this file too, in JUnit's XML")
@option("--timeout", kind="duration", default=15.0, help="how long an answer may take; 0 is no limit")
@store_option
@output_option
def test(
    args: tuple[str, ...],
    filter: str,  # noqa: A002 - the flag's name
    match: str,
    junit: str,
    timeout: float,
    store: str,
    output: str,
) -> int:
    """Read the scenarios, run them, tell; 1 if any test failed."""
    from wasme.cli.output import emit_json
    from wasme.errors import UsageError
    from wasme.testing import files, report

    if timeout < 0:
        raise UsageError("--timeout is less than nothing", hint="0 is no limit")
    scenarios = [(path, files.read(path)) for path in files.find([Path(arg) for arg in args or (".",)])]
    cases = _cases(scenarios, filter, match, store)
    begun = time.monotonic()
    results = _run(cases, timeout)
    seconds = time.monotonic() - begun
    if junit:
        _write(Path(junit), report.junit(results, seconds))
    if output == "json":
        emit_json(report.values(results, seconds))
    else:
        from wasme.cli.terminal import has_colour

        logs, colour = click.get_current_context().ensure_object(Invocation).verbose, has_colour(sys.stdout)
        for line in report.lines(results, seconds, colour=colour, signs=_signs(), logs=logs):
            click.echo(line, color=colour)
    return int(any(not result.passed for result in results))


def _cases(scenarios: list[tuple[Path, Scenario]], given: str, match: str, store: str) -> list[Case]:
    from wasme.errors import InputError
    from wasme.testing.runner import Case

    known: dict[tuple[str, str], Filter] = {}
    cases: list[Case] = []
    for path, scenario in scenarios:
        chosen = [each for each in scenario.tests if match.lower() in each.name.lower()]
        if not chosen:
            continue
        name = given or _beside(path, scenario.filter)
        if not name:
            raise InputError(f"{path} names no filter", hint="--filter takes an image or a .wasm file")
        root_id = scenario.root_id or _root_id(path, name, store)
        found = known.get((name, root_id)) or _filter(name, root_id, store)
        known[name, root_id] = found
        cases += [Case(found, each, scenario.file) for each in chosen]
    if not cases:
        raise InputError(f"no test has {match!r} in its name")
    return cases


def _beside(path: Path, name: str) -> str:
    """A file that a scenario names is meant beside the scenario; anything else is an image."""
    return str(path.parent / name) if name.endswith(".wasm") or name.startswith(("./", "../")) else name


def _root_id(path: Path, name: str, store: str) -> str:
    """The image's first; for a file, that of the project the scenario belongs to."""
    from wasme.image.runtime_config import FILE_NAME, parse

    source = _source(name, store)
    beside = path.parent / FILE_NAME
    if source.is_image or not beside.is_file():
        return next(iter(source.root_ids), "")
    return next(iter(parse(beside.read_bytes(), str(beside)).root_ids), "")


def _source(name: str, store: str) -> Source:
    from wasme.deploy.source import look_up
    from wasme.errors import ImageNotFound

    try:
        return look_up(name, Path(store) if store else None)
    except ImageNotFound as error:
        raise ImageNotFound(
            error.message, hint="; ".join(filter(None, (error.hint, f"`wasme pull {name}` gets it from its registry")))
        ) from None


def _filter(name: str, root_id: str, store: str) -> Filter:
    """A filter that Envoy will load, as far as that is known without running it."""
    from wasme.deploy.source import load
    from wasme.testing.runner import Filter

    source = _source(name, store)
    load(source)
    return Filter(source.name if source.is_image else name, source.path, root_id)


def _run(cases: list[Case], timeout: float) -> list[Result]:
    from wasme.cli.terminal import working
    from wasme.testing.envoy_leg import EnvoyLeg
    from wasme.testing.envoy_session import Limits

    with _ended_in_order(), working() as step:
        step("testing")
        return EnvoyLeg(Limits(answer=timeout)).run(cases)


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: Envoy first."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {
        number: signal.signal(number, lambda _number, _frame: signal.raise_signal(signal.SIGINT)) for number in numbers
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _signs() -> tuple[str, str]:
    """For a test that passed, and one that failed, in what stdout can write."""
    try:
        "✓✗".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "ok", "FAILED"
    return "✓", "✗"


def _write(path: Path, content: bytes) -> None:
    from wasme.errors import InputError, StoreError
    from wasme.image.durable import write_whole

    try:
        write_whole(path.absolute(), content)
    except StoreError as error:
        raise InputError(error.message, hint="--junit takes another file") from None
