"""Why a test may have failed whose filter calls out: the cluster that it calls is none of the test's.

The filter gets a bare status code for such a call, and Envoy logs nothing, so the test is run once more with every host
call in the log (see ``envoy.callouts``).
"""

from __future__ import annotations

from collections.abc import Iterable

from wasme.envoy.callouts import HOST_CALL, RefusedCalls
from wasme.errors import ModuleError
from wasme.testing.runner import Case, Result
from wasme.wasm.module import parse

_MOST = 3


def worth_a_look(results: Iterable[Result]) -> list[tuple[Result, RefusedCalls]]:
    """Failed tests whose filters can call out, at most three and each filter in each world once, with a watch."""
    seen: set[object] = set()
    found: list[tuple[Result, RefusedCalls]] = []
    for result in results:
        case = result.case
        world = (case.filter, case.test.config, frozenset(case.test.clusters))
        if result.passed or case.test.refused or world in seen or len(found) == _MOST:
            continue
        seen.add(world)
        watch = _watch(case)
        if watch is not None:
            found.append((result, watch))
    return found


def _watch(case: Case) -> RefusedCalls | None:
    try:
        module = parse(case.filter.path.read_bytes())
    except (ModuleError, OSError):
        return None
    if not module.imports_function(HOST_CALL):
        return None
    return RefusedCalls(module.initial_memory, [*module.initial_runs(), case.test.config.encode()], case.test.clusters)
