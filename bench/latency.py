"""What a filter adds to a request: latency in the real Envoy, beside the same Envoy without a filter.

One Envoy with one worker has a listener for each filter and one without; wrk asks them in turn over one connection.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from bench.filters import EXAMPLES, LANGUAGES, Filter, build, compiled
from bench.measure import Figure
from bench.proxy import load, running
from bench.sizes import proxy_runtime

_SECONDS = 1.0


def rows(folder: Path, rounds: int) -> list[Figure]:
    """Each example in each language; AssemblyScript's add-header beside proxy-runtime's."""
    old = Filter("add-header", compiled(folder, "assemblyscript", proxy_runtime(folder)), "add_header", "world")
    filters = [build(folder, language, example) for example in EXAMPLES for language in LANGUAGES]
    with running([None, old, *filters]) as proxy:
        names = [f"f{number}" for number in range(len(filters) + 2)]
        medians: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(max(rounds // 5, 3) + 1):
            for name in names:
                median, _ = load(proxy.ports[name], _SECONDS)
                if turn:
                    medians[name].append(median)
    bare, runtime, *ours = (statistics.median(medians[name]) for name in names)
    found = [Figure("a request, no filter", bare, "µs")]
    for filter_, each in zip(filters, ours, strict=True):
        found.append(Figure(f"a request more, {filter_.name}", each - bare, "µs", "no filter at all", bare))
        if filter_.name == "add-header, assemblyscript":
            found.append(Figure("  the same", each - bare, "µs", "proxy-runtime 0.1.8", runtime - bare))
    return found
