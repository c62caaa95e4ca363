"""``wasme undeploy gloo``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import at_least, command, option
from wasme.cli.options import cluster_options, objects_output_option


@command(
    "gloo",
    use="undeploy gloo --id=<unique name> [--namespaces=<ns>] [--labels=<labels>] [--dry-run]",
    args=at_least(0),
    help="Remove an Envoy WASM Filter from the Gloo Gateway Proxies (Envoy).\n\n"
    "Every entry of that --id goes from the Gateways that have it, and with the last filter what wasme had made around "
    "it; all else stays. It is an error if no Gateway has it. --dry-run prints the Gateways as they would be.",
    examples="wasme undeploy gloo --id=myfilter\nwasme undeploy gloo --id=myfilter --namespaces gloo-system --dry-run",
)
@option(
    "--namespaces", "-n", kind="strings", help="remove the filter from Gateways in these namespaces only; the default "
    "is all"
)  # fmt: skip
@option("--labels", "-l", kind="stringToString", help="labels of the Gateways; the default is all of them")
@cluster_options
@objects_output_option
def gloo(
    args: tuple[str, ...],  # noqa: ARG001 - the original took and ignored them
    id: str,  # noqa: A002 - the flag's name
    namespaces: list[str],
    labels: dict[str, str],
    kubeconfig: str,
    context: str,
    dry_run: Any,
    output: str,
    **_: Any,
) -> None:
    """Take one filter out of Gateways."""
    from wasme.cli import gateways
    from wasme.cli.clusters import connected
    from wasme.deploy.gateways import completed
    from wasme.deploy.gloo.provider import Gloo, Selection
    from wasme.deploy.spec import FilterSpec

    completed(FilterSpec(id, ""), None)
    with connected(kubeconfig, context) as cluster:
        provider = Gloo(cluster, Selection(tuple(namespaces), labels), dry_run=dry_run)
        gateways.emit(provider.undeploy(id), id, dry_run, output, only_changed=True)
