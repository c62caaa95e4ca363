"""What came of a step beside what was expected: a list of differences in words, empty if there is none.

Pure: whoever runs a scenario, Envoy or another host, tells what it saw in these values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from wasme.testing.scenario import Arrival, Expectation, ExpectedHeaders, Headers, Text

_LONGEST = 120
_MOST_LINES = 5


@dataclass(frozen=True, slots=True)
class Received:
    """A request that arrived at the upstream or at a cluster; ``cluster`` is "" for the upstream."""

    cluster: str
    method: str
    path: str
    headers: Headers
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.cluster and self.cluster + ' '}{self.path}"


@dataclass(frozen=True, slots=True)
class Response:
    """What the client got."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a step.

    Attributes:
        response: None where nothing was requested.
        upstream: what arrived there.
        calls: what arrived at clusters, in order.
        logs: what the filter logged.
        metrics: how much each has changed; gauges as they are.
    """

    response: Response | None = None
    upstream: Sequence[Received] = ()
    calls: Sequence[Received] = ()
    logs: Sequence[str] = ()
    metrics: Mapping[str, int] = field(default_factory=dict)


def differences(expect: Expectation, seen: Seen) -> list[str]:
    """All differences, in the order of an expectation's fields."""
    return [*answer_differences(expect, seen), *later_differences(expect, seen)]


def answer_differences(expect: Expectation, seen: Seen) -> list[str]:
    """Those of the answer and of what reached the upstream: settled once the answer is there."""
    found: list[str] = []
    if seen.response is not None:
        found += _response(expect, seen.response)
    if expect.unreached and seen.upstream:
        found.append(f"upstream: expected not to be reached, got {seen.upstream[0]}")
    if expect.upstream is not None:
        if len(seen.upstream) == 1:
            found += _arrival("upstream", expect.upstream, seen.upstream[0])
        else:
            found.append(f"upstream: expected one request, got {_listed(seen.upstream)}")
    return found


def later_differences(expect: Expectation, seen: Seen) -> list[str]:
    """Those of calls, log and metrics: they may come a little after the answer."""
    found = list(log_differences(expect.logs, seen.logs))
    if expect.calls is not None:
        if len(expect.calls) != len(seen.calls):
            found.append(f"calls: expected {len(expect.calls) or 'none'}, got {_listed(seen.calls)}")
        for index, (wanted, got) in enumerate(zip(expect.calls, seen.calls, strict=False)):
            found += _arrival(f"calls[{index}]", wanted, got)
    for name, count in expect.metrics.items():
        if seen.metrics.get(name, 0) != count:
            there = "" if name in seen.metrics else f" (there are: {', '.join(sorted(seen.metrics)) or 'none'})"
            found.append(f"metrics {name}: expected {count}, got {seen.metrics.get(name, 'no such metric')}{there}")
    return found


def log_differences(expected: Sequence[Text], lines: Sequence[str]) -> Iterator[str]:
    """Texts that no line has."""
    for text in expected:
        if not any(text.stands_in(line) for line in lines):
            said = "; ".join(quoted(line) for line in lines[-_MOST_LINES:])
            yield f"logs: no line has {_wanted(text)}; the filter logged {said or 'nothing'}"


def quoted(text: str) -> str:
    """A text in quotes, at a bearable length, with what is not printable escaped."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    inner = "".join(
        c if c.isprintable() and c not in '"\\' else c.encode("unicode_escape").decode() if c != '"' else '\\"'
        for c in shown
    )
    return f'"{inner}"' + (f" ({len(text)} characters)" if len(text) > _LONGEST else "")


def _response(expect: Expectation, got: Response) -> list[str]:
    found: list[str] = []
    if expect.status is not None and got.status != expect.status:
        body = f" with the body {_shown(got.body)}" if got.body and expect.body is None else ""
        found.append(f"status: expected {expect.status}, got {got.status}{body}")
    found += _headers("header", expect.headers, got.headers)
    if expect.body is not None:
        found += _body("body", expect.body, got.body)
    return found


def _arrival(where: str, expect: Arrival, got: Received) -> list[str]:
    authority = next((value for name, value in got.headers if name.lower() in ("host", ":authority")), "")
    pairs = (
        ("cluster", expect.cluster or None, got.cluster),
        ("method", expect.method, got.method),
        ("path", expect.path, got.path),
        ("authority", expect.authority, authority),
    )
    found = [
        f"{where}.{name}: expected {quoted(wanted)}, got {quoted(value)}"
        for name, wanted, value in pairs
        if wanted is not None and wanted != value
    ]
    found += _headers(f"{where} header", expect.headers, got.headers)
    if expect.body is not None:
        found += _body(f"{where}.body", expect.body, got.body)
    return found


def _headers(where: str, expect: ExpectedHeaders, got: Headers) -> list[str]:
    found: list[str] = []
    for name, wanted in expect:
        values = [value for key, value in got if key.lower() == name]
        fits = not values if wanted is None else len(values) == len(wanted) and all(map(Text.fits, wanted, values))
        if not fits:
            expected = "none" if wanted is None else " and ".join(map(_wanted, wanted)) or "no value"
            found.append(f"{where} {name}: expected {expected}, got {' and '.join(map(quoted, values)) or 'none'}")
    return found


def _body(where: str, expect: Text, got: bytes) -> list[str]:
    text = got.decode("utf-8", "backslashreplace")
    if expect.fits(text):
        return []
    if expect.pattern or max(len(expect.text), len(text)) <= _LONGEST:
        return [f"{where}: expected {_wanted(expect)}, got {quoted(text)}"]
    same = next(
        (at for at, (one, other) in enumerate(zip(expect.text, text, strict=False)) if one != other),
        min(len(expect.text), len(text)),
    )
    return [
        f"{where}: expected {len(expect.text)} characters, got {len(text)}; from the {same + 1}. on: "
        f"expected {quoted(expect.text[same : same + 40])}, got {quoted(text[same : same + 40])}"
    ]


def _wanted(text: Text) -> str:
    return text.text if text.pattern else quoted(text.text)


def _shown(body: bytes) -> str:
    return quoted(body.decode("utf-8", "backslashreplace"))


def _listed(received: Sequence[Received]) -> str:
    if not received:
        return "none"
    listed = ", ".join(map(str, received[:_MOST_LINES])) + (", …" if len(received) > _MOST_LINES else "")
    return f"{len(received)} ({listed})"
