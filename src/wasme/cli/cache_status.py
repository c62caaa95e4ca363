"""``wasme cache status``."""

from __future__ import annotations

import logging

from wasme.cli.grammar import command, exactly
from wasme.cli.options import cache_place_options, cluster_options, output_option

log = logging.getLogger(__name__)


@command(
    "status",
    use="cache status",
    args=exactly(0),
    help="Tell which nodes hold which modules, and why not.\n\n"
    "HELD: how many of the wanted modules. TOLD: how long ago the node's agent told something new, which it does only "
    "when something changes.",
    examples="wasme cache status\nwasme cache status --output json",
)
@cluster_options
@cache_place_options
@output_option
def status(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    cache_name: str,
    cache_namespace: str,
    output: str,
) -> None:
    """Look at the cache."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit, emit_json, table
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.cache.overview import overview, rows

    with connected(kubeconfig, context) as cluster:
        seen = overview(cluster, CacheOptions(cache_name, cache_namespace))
    if output == "json":
        emit_json(seen)
        return
    for name in seen.pending:
        log.info(
            "a deployment is under way, or has died: deploying it again ends it", extra={"fields": {"filter": name}}
        )
    for problem in seen.problems:
        log.warning(problem)
    emit(table(rows(seen)))
