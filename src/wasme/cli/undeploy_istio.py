"""``wasme undeploy istio``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from wasme.cli.grammar import at_least, command
from wasme.cli.mesh_options import cache_place, mesh, mesh_options, selection, selection_options
from wasme.cli.options import cache_place_options, cache_timeout_option, cluster_options, objects_output_option

if TYPE_CHECKING:
    from wasme.deploy.istio.removal import Removed

log = logging.getLogger(__name__)


@command(
    "istio",
    use="undeploy istio --id=<unique name> --namespace=<deployment namespace> [--name=<deployment name>]",
    args=at_least(0),
    help="Remove an Envoy WASM Filter from the Istio Sidecar Proxies (Envoy).\n\n"
    "Takes away what deploying the filter made, in whatever state that is: its objects, the volumes that no other "
    "filter needs, its lines in the node cache. Users' own annotations come back as they were. Use --name or --labels "
    "for some workloads only; if unspecified, all deployments in the namespace will be targeted, and filters whose "
    "workload is gone as well.",
    examples="wasme undeploy istio --id=auth --namespace=bookinfo --labels app=productpage\n"
    "wasme undeploy istio --id=auth --namespace=bookinfo --dry-run",
)
@selection_options
@mesh_options
@cache_timeout_option
@cache_place_options
@cluster_options
@objects_output_option
def istio(
    args: tuple[str, ...],  # noqa: ARG001 - the original ignores them
    id: str,  # noqa: A002 - the flag's name
    dry_run: Any,
    output: str,
    **given: Any,
) -> None:
    """Take one filter from a mesh."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit_json, emit_objects
    from wasme.deploy.istio.order import Order
    from wasme.deploy.istio.preview import preview
    from wasme.deploy.istio.undeployment import undeploy
    from wasme.deploy.spec import require_id

    require_id(id)
    order = Order(selection(given), mesh=mesh(given), caching=cache_place(given))
    with connected(given["kubeconfig"], given["context"]) as cluster:
        if dry_run:
            foreseen = preview(cluster, id, order)
            if dry_run == "server":
                undeploy(cluster, id, order, dry_run=True, must_exist=False)
        else:
            removed = undeploy(cluster, id, order)
    if dry_run:
        for each in foreseen.deleted:
            name = f"{each['metadata']['namespace']}/{each['metadata']['name']}"
            log.info("would delete %s", each["kind"], extra={"fields": {"name": name}})
        emit_objects(foreseen.objects, output, foreseen.deleted)
    elif output != "text":
        told = {"id": id, "changes": [change for each in removed for change in _told(each)]}
        if output == "json":
            emit_json(told)
        else:
            emit_objects([told], output)


def _told(removed: Removed) -> Iterator[dict[str, Any]]:
    """What was done to one workload."""
    for each in removed.objects:
        kind, _, name = each.partition("/")
        yield {"action": "deleted", "kind": kind, "namespace": removed.namespace, "name": name}
    if removed.restarts:
        kind, _, name = removed.workload.partition("/")
        yield {"action": "updated", "kind": kind, "namespace": removed.namespace, "name": name}
