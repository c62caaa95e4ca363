"""Scenarios: requests, how the world around the filter answers, and what must come of it.

::

    filter: build/filter.wasm        # or an image; relative to this file; `--filter` goes before it
    root_id: add_header
    config: {header: x-hello}        # text, or a mapping that is sent as compact JSON
    clusters:                        # what the filter may call out to
      authz: {status: 200, body: ok} # or {refuse: true}: nobody listens; {timeout: true}: no answer ever comes
    tests:
      - name: adds the header
        config: everyone             # instead of the file's; null for none
        clusters: {authz: {status: 403}}   # beside the file's
        request: GET /hello          # or {post: /p, headers: {x-a: b}, body: text}; or json: ..., chunks: [...]
        upstream: {status: 201, headers: {x-b: c}, body: hi}
        expect:
          status: 201
          body: hi                   # equal; /regex/ matches the whole; {repeat: text, times: 1000}
          headers: {x-hello: world, server: /envoy|test/, x-gone: null, x-two: [a, b]}
          upstream: {method: GET, path: /hello, authority: a, headers: {x-a: "1"}, body: ""}   # null: never reached
          calls: [{cluster: authz, method: GET, path: /check, authority: authz, headers: {}, body: ""}]
          logs: [loaded, /took \\d+ ms/]
          metrics: {filter.requests: 1}
      - name: several requests
        steps:
          - {request: GET /, expect: {status: 200}}
          - {after: 2.6s, request: GET /, expect: {status: 429}}
      - name: a configuration that the filter must refuse
        config: "{oops"
        expect: {refused: true, logs: [not JSON]}

A test has a filter of its own: its own VM, so its own shared data. This module holds the values; `grammar` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Body:
    """A message's body.

    Attributes:
        pieces: what is sent, each piece by itself where it is chunked.
        chunked: sent without a length.
    """

    pieces: tuple[bytes, ...] = ()
    chunked: bool = False

    @property
    def content(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Request:
    """What the client sends."""

    method: str
    path: str
    headers: Headers = ()
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How an upstream or a cluster answers.

    Attributes:
        refuse: nobody listens there.
        timeout: the request is taken and never answered.
    """

    status: int = 200
    headers: Headers = ()
    body: Body = Body()
    refuse: bool = False
    timeout: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is expected.

    Attributes:
        text: as it stands in the scenario.
        pattern: of a ``/regex/``.
    """

    text: str
    pattern: re.Pattern[str] | None = None

    def fits(self, got: str) -> bool:
        """Whether it is equal; a pattern must match the whole."""
        return self.pattern.fullmatch(got) is not None if self.pattern else got == self.text

    def stands_in(self, line: str) -> bool:
        """Whether the line contains it; a pattern may match anywhere."""
        return self.pattern.search(line) is not None if self.pattern else self.text in line


ExpectedHeaders = tuple[tuple[str, tuple[Text, ...] | None], ...]
"""By name, in lower case: all the values there must be, or None where there must be none."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is expected somewhere; None is whatever it may be.

    Attributes:
        cluster: of a call, the cluster; "" for the upstream.
    """

    cluster: str = ""
    method: str | None = None
    path: str | None = None
    authority: str | None = None
    headers: ExpectedHeaders = ()
    body: Text | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must come of a step; None is whatever it may be.

    Attributes:
        upstream: what must arrive there; ``unreached`` if nothing may.
        calls: to clusters, in their order, and no others.
        logs: each must stand in a line of the filter's log.
        metrics: by name without Envoy's prefix.
    """

    status: int | None = None
    body: Text | None = None
    headers: ExpectedHeaders = ()
    upstream: Arrival | None = None
    unreached: bool = False
    calls: tuple[Arrival, ...] | None = None
    logs: tuple[Text, ...] = ()
    metrics: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One request, or a while without any.

    Attributes:
        after: seconds to wait before.
    """

    request: Request | None
    upstream: Answer
    expect: Expectation
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Test:
    """One filter's life.

    Attributes:
        config: the filter's configuration; "" for none.
        refused: the filter must refuse its configuration; then ``steps`` is one, of which only the logs count.
    """

    name: str
    config: str
    clusters: Mapping[str, Answer]
    steps: tuple[Step, ...]
    refused: bool = False
    __test__: ClassVar[bool] = False  # pytest would take the class for tests of its own

    @property
    def counts(self) -> bool:
        """Whether it looks at metrics, which all filters of one Envoy share."""
        return any(step.expect.metrics for step in self.steps)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A file.

    Attributes:
        file: its name, as in errors.
        filter: a module's file or an image; "" if it names none.
        root_id: "" if it names none.
    """

    file: str
    filter: str
    root_id: str
    tests: tuple[Test, ...]
