"""``wasme status``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wasme.cli.grammar import at_most, command, option
from wasme.cli.options import cache_place_options, cluster_options, output_option

if TYPE_CHECKING:
    from wasme.deploy.istio.status import FilterState
    from wasme.deploy.standings import GatewayState

log = logging.getLogger(__name__)


@command(
    "status",
    use="status [ID] [--namespace=NAMESPACE|--all-namespaces]",
    args=at_most(1),
    help="Tell how deployed filters do, for each workload and node.\n\n"
    "CACHED: the node holds the module. PROGRAMMED: how many pods the filter's object selects, of those that see the "
    "module. READY: how many pods are ready. RUNNING, with --probe: how many proxies say themselves that they run the "
    "filter, from their configuration and their counters. Below the table stands what is wrong, and what to do.",
    examples="wasme status\nwasme status auth --namespace bookinfo --probe\n"
    "wasme status --all-namespaces --check --output json",
)
@option("--namespace", "-n", default="default", help="namespace of the filters")
@option("--all-namespaces", "-A", kind="bool", help="filters of all namespaces")
@option(
    "--probe", kind="bool", help="ask the pods' proxies whether they run the filter; needs the right to forward ports"
)
@option("--probe-timeout", kind="duration", default=10.0, help="how long one proxy may take to answer")
@option("--check", kind="bool", help="exit 1 where a filter is not ready, or there is none")
@option("--istio-namespace", default="istio-system", help="the namespace where the Istio control plane is installed")
@option("--istiod-name", default="istiod", help="deployment name of the istiod")
@cache_place_options
@cluster_options
@output_option
def status(
    args: tuple[str, ...],
    namespace: str,
    all_namespaces: bool,
    probe: bool,
    probe_timeout: float,
    check: bool,
    istio_namespace: str,
    istiod_name: str,
    cache_name: str,
    cache_namespace: str,
    kubeconfig: str,
    context: str,
    output: str,
) -> int:
    """Look at filters."""
    from functools import partial

    from wasme.cli.clusters import connected
    from wasme.cli.output import emit, emit_json
    from wasme.deploy import standings
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.istio import status as mesh
    from wasme.deploy.istio.order import Mesh
    from wasme.deploy.probe.pods import probe as ask

    filter_id = args[0] if args else ""
    where = None if all_namespaces else namespace
    with connected(kubeconfig, context) as cluster:
        asking = partial(ask, cluster, seconds=probe_timeout) if probe else None
        cache = CacheOptions(cache_name, cache_namespace)
        filters = mesh.look(cluster, where, filter_id, cache, Mesh(istio_namespace, istiod_name), asking)
        gateways = standings.look(cluster, where, filter_id)
    if output == "json":
        emit_json(
            {
                "filters": [{"ready": each.ready, **_plain(each)} for each in filters],
                "gateways": [{"ready": each.ready, **_plain(each)} for each in gateways],
            }
        )
    else:
        text = "\n\n".join(filter(None, [_mesh(filters, probed=probe), _gateways(gateways)]))
        if text:
            emit(text)
    found: list[FilterState | GatewayState] = [*filters, *gateways]
    if not found:
        what = f"filter {filter_id}" if filter_id else "filter"
        place = "in any namespace" if where is None else f"in the namespace {where}; --all-namespaces looks everywhere"
        log.info(f"there is no {what} {place}")
    return int(check and not (found and all(each.ready for each in found)))


def _plain(state: object) -> dict[str, object]:
    import msgspec

    built: dict[str, object] = msgspec.to_builtins(state)
    return built


def _mesh(filters: Sequence[FilterState], *, probed: bool) -> str:
    from wasme.cli.output import table

    if not filters:
        return ""
    heads = ["ID", "NAMESPACE", "WORKLOAD", "NODE", "IMAGE", "DIGEST", "CACHED", "PROGRAMMED", "READY"]
    rows = [(*heads, "RUNNING") if probed else tuple(heads)]
    remarks: list[str] = []
    for each in filters:
        about = f"{each.namespace}/{each.id}"
        digest = each.digest.removeprefix("sha256:")[:12] or "-"
        start = (each.id, each.namespace, each.workload or "-")
        image = each.image or "-"
        remarks += [
            f"{about}, {each.object}: {reason}" if each.object else f"{about}: {reason}" for reason in each.reasons
        ]
        if not each.places:
            rows.append((*start, "-", image, digest, "-", "-", "-", *(("-",) if probed else ())))
        for place in each.places:
            count = len(place.pods)
            cells = (
                place.node or "(none yet)",
                image,
                digest,
                place.cached or "-",
                f"{sum(pod.programmed for pod in place.pods)}/{count}",
                f"{sum(pod.ready for pod in place.pods)}/{count}",
            )
            running = sum(pod.running == "running" for pod in place.pods)
            rows.append((*start, *cells, *((f"{running}/{count}",) if probed else ())))
            remarks += [f"{about}, node {place.node}: {reason}" for reason in place.reasons]
            remarks += [
                f"{about}, pod {pod.name}: {told}" for pod in place.pods for told in (*pod.reasons, *pod.remarks)
            ]
    return "\n".join([table(rows), *(["", *remarks] if remarks else [])])


def _gateways(gateways: Sequence[GatewayState]) -> str:
    from wasme.cli.output import table

    if not gateways:
        return ""
    rows = [("ID", "NAMESPACE", "GATEWAY", "IMAGE", "STATE")]
    rows += [(each.id, each.namespace, each.object, each.image, each.state) for each in gateways]
    remarks = [f"{each.namespace}/{each.id}, {each.object}: {reason}" for each in gateways for reason in each.reasons]
    return "\n".join([table(rows), *(["", *remarks] if remarks else [])])
