"""``wasme operator uninstall``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.operator_options import operator_place_options
from wasme.cli.options import cluster_options, output_option


@command(
    "uninstall",
    use="operator uninstall",
    args=exactly(0),
    help="Take the operator and the node cache out of a cluster.\n\n"
    "FilterDeployments are somebody's filters, so --filters says what becomes of them. With delete they go first, and "
    "all that was made for them; this command does that work where no operator runs any more. With keep they stay, "
    "with what runs. The node cache stays as long as filters need it. The definition of FilterDeployment stays, too, "
    "since deleting it deletes every FilterDeployment; --crds takes it away when there is none.\n\n"
    "A FilterDeployment that is deleted while no operator runs waits for one, and keeps its namespace. So "
    "--only-filters, which the Helm chart runs before helm uninstall deletes anything, fails while there are any, and "
    "leaves the operator to whoever brought it.",
    examples="wasme operator uninstall --dry-run\nwasme operator uninstall --filters=delete --crds",
)
@cluster_options
@operator_place_options
@option(
    "--filters",
    default="",
    suggest=("delete", "keep"),
    help="what becomes of FilterDeployments: delete or keep; needed where there are some",
)
@option("--force", kind="bool", help="let FilterDeployments go that are not cleaned in time, with what they made")
@option("--crds", kind="bool", help="delete the definition of FilterDeployment, too")
@option("--wait", kind="duration", default=120.0, help="how long to wait until FilterDeployments are cleaned")
@option("--only-filters", kind="bool", help="have no FilterDeployment left, and leave the operator where it is")
@option("--dry-run", kind="bool", help="print what would be deleted, and delete nothing")
@output_option
def uninstall(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    namespace: str,
    cache_name: str,
    filters: str,
    output: str,
    **flags: Any,
) -> None:
    """Take the operator away."""
    from wasme.cli.clusters import connected
    from wasme.deploy.cache.options import CacheOptions
    from wasme.errors import UsageError
    from wasme.operator.installation import uninstall as library
    from wasme.operator.installation.manifests import OperatorOptions

    if filters not in ("", "delete", "keep"):
        raise UsageError(f'invalid argument "{filters}" for "--filters" flag: neither delete nor keep')
    if flags["only_filters"] and (beside := [f"--{each}" for each in ("force", "crds") if flags[each]]):
        raise UsageError(
            f"--only-filters cannot be used with {' and '.join(beside)}, which leaves the operator where it is",
            hint="run the command without --only-filters to take all of it away",
        )
    options = OperatorOptions(CacheOptions(cache_name, namespace))
    with connected(kubeconfig, context) as cluster:
        keys = library.filters(cluster)
        if flags["only_filters"]:
            if not flags["dry_run"]:
                library.drain(cluster, delete=filters == "delete", seconds=flags["wait"])
            _tell_filters(list(map(str, keys)), filters, output, dry_run=flags["dry_run"])
            return
        if filters == "delete" and keys:
            library.require_place(cluster, options)
        if not flags["dry_run"]:
            library.require_decided(keys, filters, crds=flags["crds"])
            if filters == "delete" and keys:
                library.delete_filters(cluster, options, keys, seconds=flags["wait"], force=flags["force"])
        doomed = library.plan(cluster, options, crds=flags["crds"])
        if not flags["dry_run"]:
            library.uninstall(cluster, options, doomed)
    gone = [("FilterDeployment", key.namespace, key.name) for key in keys if filters == "delete"]
    gone += [(each.kind.kind, each.namespace, each.name) for each in doomed]
    kept = [] if filters == "delete" else [str(key) for key in keys]
    _tell(gone, kept, output, dry_run=flags["dry_run"], place=namespace)


def _tell_filters(keys: list[str], filters: str, output: str, *, dry_run: bool) -> None:
    from wasme.cli.output import emit, emit_json

    gone, kept = (keys, []) if filters == "delete" else ([], keys)
    if output == "json":
        names = [each.partition("/") for each in gone]
        deleted = [{"kind": "FilterDeployment", "name": name, "namespace": place} for place, _, name in names]
        emit_json({"deleted": deleted, "filters": kept, "dryRun": dry_run})
        return
    shown = [f"FilterDeployment {each}" if dry_run else f"deleted FilterDeployment {each}" for each in gone]
    shown += [f"FilterDeployment {each} needs --filters" for each in kept]
    emit("\n".join(shown) or "there is no FilterDeployment")


def _tell(gone: list[tuple[str, str, str]], kept: list[str], output: str, *, dry_run: bool, place: str) -> None:
    from wasme.cli.output import emit, emit_json
    from wasme.deploy.cache import protocol

    if output == "json":
        deleted = [{"kind": kind, "name": name, "namespace": namespace} for kind, namespace, name in gone]
        emit_json({"deleted": deleted, "filters": kept, "dryRun": dry_run, "left": protocol.DIRECTORY})
    elif dry_run:
        shown = [f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}" for kind, namespace, name in gone]
        shown += [f"FilterDeployment {each} needs --filters" for each in kept]
        emit("\n".join(shown) or "nothing to delete")
    elif gone:
        emit(f"the operator is uninstalled from {place}; modules stay on the nodes, in {protocol.DIRECTORY}")
    else:
        emit(f"there is no operator in {place}")
