"""``wasme cache uninstall``."""

from __future__ import annotations

import logging

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import cache_place_options, cluster_options, output_option

log = logging.getLogger(__name__)


@command(
    "uninstall",
    use="cache uninstall",
    args=exactly(0),
    help="Take the node cache out of a cluster.\n\n"
    "Its objects go, and its namespace if nothing else lives there. The modules stay on the nodes, in "
    "/var/local/lib/wasme-cache, since proxies may have loaded them from there.",
    examples="wasme cache uninstall --dry-run\nwasme cache uninstall",
)
@cluster_options
@cache_place_options
@option("--force", kind="bool", help="although filters are deployed that load their modules from the nodes")
@option("--dry-run", kind="bool", help="print what would be deleted, and delete nothing")
@output_option
def uninstall(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    cache_name: str,
    cache_namespace: str,
    force: bool,
    dry_run: bool,
    output: str,
) -> None:
    """Take the cache away."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit, emit_json
    from wasme.deploy.cache import protocol
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.cache.uninstall import plan
    from wasme.deploy.cache.uninstall import uninstall as delete

    options = CacheOptions(cache_name, cache_namespace)
    with connected(kubeconfig, context) as cluster:
        doomed = plan(cluster, options, force=force)
        if not dry_run:
            delete(cluster, doomed)
    if output == "json":
        emit_json(
            {
                "deleted": [
                    {"kind": each.kind.kind, "name": each.name, "namespace": each.namespace} for each in doomed
                ],
                "dryRun": dry_run,
                "left": protocol.DIRECTORY,
            }
        )
    elif dry_run:
        emit("\n".join(map(str, doomed)) or "nothing to delete")
    elif doomed:
        emit(f"the cache {options.shown} is uninstalled; modules stay on the nodes, in {protocol.DIRECTORY}")
    else:
        emit(f"there is no cache {options.shown}")
