"""Does a filter leak? Envoy's resident memory after 200,000 requests beside that after 20,000, an Envoy for each."""

from __future__ import annotations

from pathlib import Path

from bench.filters import EXAMPLES, LANGUAGES, Filter, build
from bench.measure import Figure
from bench.proxy import Proxy, load, running

_FEW, _MANY = 20_000, 200_000
_MOST_MORE = 2.0


def rows(folder: Path, _rounds: int) -> list[Figure]:
    """Every example in every language."""
    return [_grown(build(folder, language, example)) for example in EXAMPLES for language in LANGUAGES]


def _grown(filter_: Filter) -> Figure:
    with running([filter_]) as proxy:
        _send(proxy, _FEW)
        few = proxy.resident()
        _send(proxy, _MANY)
        more = proxy.resident() - few
    return Figure(
        f"memory more after {_MANY:,} requests, {filter_.name}", more, "MB", f"after {_FEW:,}", few, _MOST_MORE
    )


def _send(proxy: Proxy, wanted: int) -> None:
    while proxy.requests("f0") < wanted:
        load(proxy.ports["f0"], 1.0, connections=8)
