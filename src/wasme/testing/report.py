"""Results as people and as programs read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any
from xml.etree import ElementTree

from wasme.testing.runner import Result

_GREEN, _RED, _GREY, _PLAIN = "\033[32m", "\033[31m", "\033[90m", "\033[0m"
_LAST_LINES = 5
# What XML 1.0 cannot hold.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def lines(
    results: Sequence[Result], seconds: float, *, colour: bool, signs: tuple[str, str], logs: bool
) -> Iterator[str]:
    """One line for each test, what was not as expected below it, and a summary.

    Args:
        seconds: how long all took.
        signs: of a test that passed, and of one that failed.
        logs: what every filter logged, not only the last lines of one that failed.
    """

    def painted(paint: str, text: str) -> str:
        return f"{paint}{text}{_PLAIN}" if colour else text

    for (file, name), group in groupby(results, lambda result: (result.case.file, result.case.filter.name)):
        yield f"{file}, {name}"
        for result in group:
            sign = painted(_GREEN, signs[0]) if result.passed else painted(_RED, signs[1])
            yield f"  {sign} {result.case.test.name} {painted(_GREY, f'({_time(result.seconds)})')}"
            for problem in result.problems:
                yield f"      {problem}"
            said = [f"{line} ({count} times)" if count > 1 else line for line, count in _repeats(result.log)]
            for line in said if logs else () if result.passed else said[-_LAST_LINES:]:
                yield painted(_GREY, f"      log: {line}")
    failed = sum(not result.passed for result in results)
    told = [painted(_RED, f"{failed} failed")] if failed else []
    if failed < len(results):
        told.append(painted(_GREEN, f"{len(results) - failed} passed"))
    yield f"{', '.join(told)} in {_time(seconds)}"


def values(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """The same as plain values, for JSON."""
    return {
        "passed": sum(result.passed for result in results),
        "failed": sum(not result.passed for result in results),
        "seconds": round(seconds, 3),
        "tests": [
            {
                "file": result.case.file,
                "filter": result.case.filter.name,
                "name": result.case.test.name,
                "passed": result.passed,
                "seconds": round(result.seconds, 3),
                "problems": list(result.problems),
                "log": list(result.log),
            }
            for result in results
        ],
    }


def junit(results: Sequence[Result], seconds: float) -> bytes:
    """The same in the XML that build servers read: a suite for each file."""
    failures = str(sum(not result.passed for result in results))
    root = ElementTree.Element(
        "testsuites", name="wasme test", tests=str(len(results)), failures=failures, time=f"{seconds:.3f}"
    )
    for (file, name), group in groupby(results, lambda result: (result.case.file, result.case.filter.name)):
        members = list(group)
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_writable(f"{file}, {name}"),
            tests=str(len(members)),
            failures=str(sum(not result.passed for result in members)),
            errors="0",
            time=f"{sum(result.seconds for result in members):.3f}",
        )
        for result in members:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=_writable(file),
                name=_writable(result.case.test.name),
                time=f"{result.seconds:.3f}",
            )
            if result.problems:
                failure = ElementTree.SubElement(case, "failure", message=_writable(result.problems[0]))
                failure.text = _writable("\n".join(result.problems))
            if result.log:
                ElementTree.SubElement(case, "system-out").text = _writable("\n".join(result.log))
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _repeats(log: Sequence[str]) -> list[tuple[str, int]]:
    """Each line and how often it stands there in a row: Envoy configures a filter several times."""
    return [(_one_line(line), sum(1 for _ in same)) for line, same in groupby(log)]


def _one_line(text: str) -> str:
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _writable(text: str) -> str:
    return _UNWRITABLE.sub("\ufffd", text)
