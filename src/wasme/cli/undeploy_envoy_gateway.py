"""``wasme undeploy envoy-gateway``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import cluster_options, objects_output_option


@command(
    "envoy-gateway",
    use="undeploy envoy-gateway --id=<unique name> [--target=KIND/NAME] [--dry-run]",
    args=exactly(0),
    help="Remove an Envoy WASM Filter from the gateways of Envoy Gateway.\n\n"
    "What wasme put into an EnvoyExtensionPolicy under that --id goes; a policy that wasme made goes when nothing is "
    "left in it. A policy of yours, and filters that wasme has not put there, stay. It is an error if none has it.",
    examples="wasme undeploy envoy-gateway --id=auth\n"
    "wasme undeploy envoy-gateway --id=auth --target HTTPRoute/backend --dry-run",
)
@option(
    "--target",
    kind="stringArray",
    help="only from policies on this: KIND/NAME or KIND/NAME:SECTION; repeatable; the default is all of the namespace",
)
@option("--name", help="only from policies on this Gateway; as --target Gateway/NAME")
@option("--into", help="only from this EnvoyExtensionPolicy")
@option("--namespace", "-n", help="where the policies are; the default is the kubeconfig's")
@cluster_options
@objects_output_option
def envoy_gateway(
    args: tuple[str, ...],  # noqa: ARG001
    id: str,  # noqa: A002 - the flag's name
    target: tuple[str, ...],
    name: str,
    into: str,
    namespace: str,
    kubeconfig: str,
    context: str,
    dry_run: Any,
    output: str,
    **_: Any,
) -> None:
    """Take one filter out of policies."""
    from wasme.cli import gateways
    from wasme.cli.clusters import connected
    from wasme.deploy.envoy_gateway.provider import EnvoyGateway
    from wasme.deploy.envoy_gateway.selection import Selection
    from wasme.deploy.gateways import completed
    from wasme.deploy.spec import FilterSpec

    selection = Selection.of(target, name, {}, into)
    completed(FilterSpec(id, ""), None)
    with connected(kubeconfig, context, namespace) as cluster:
        provider = EnvoyGateway(cluster, selection.within(cluster.namespace), dry_run=dry_run)
        gateways.emit(provider.undeploy(id), id, dry_run, output, only_changed=True)
