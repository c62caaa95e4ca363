"""``wasme deploy envoy-gateway``."""

from __future__ import annotations

import logging
from typing import Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import cluster_options, connection_options, dry_run_option, objects_output_option

log = logging.getLogger(__name__)


@command(
    "envoy-gateway",
    use="deploy envoy-gateway <image> --id=<unique name> [--config=<JSON>] [--target=KIND/NAME]",
    args=exactly(1),
    help="Deploy an Envoy WASM Filter to the gateways of Envoy Gateway.\n\n"
    "The filter goes into an EnvoyExtensionPolicy on each target: wasme's own, which all filters of wasme on that "
    "target share, in the order in which they were deployed; or with --into a policy of yours. Envoy Gateway pulls the "
    "image, by its digest. It passes JSON only: the log shows the bytes that the filter gets. Run again it changes "
    "nothing.",
    examples='wasme deploy envoy-gateway registry.example.com/demo/auth:v3 --id=auth --config=\'{"mode": "strict"}\'\n'
    "wasme deploy envoy-gateway registry.example.com/demo/auth:v3 --id=auth --target HTTPRoute/backend --wait 30s\n"
    "wasme deploy envoy-gateway registry.example.com/demo/auth:v3 --id=auth --into my-policy --dry-run",
)
@option(
    "--target",
    kind="stringArray",
    help="what the filter is for: KIND/NAME or KIND/NAME:SECTION, a kind being Gateway, ListenerSet, HTTPRoute or "
    "GRPCRoute, a section a listener or a route's rule; repeatable; the default is Gateways by --name and --labels",
)
@option("--name", help="one Gateway by name; as --target Gateway/NAME")
@option("--labels", "-l", kind="stringToString", help="labels of the Gateways; the default is all of the namespace")
@option("--namespace", "-n", help="where the targets and policies are; the default is the kubeconfig's")
@option("--into", help="put the filter into this EnvoyExtensionPolicy of yours, whatever its targets are")
@option(
    "--override",
    kind="bool",
    help="let a policy on a route or a listener replace what policies on its Gateway do there; refused otherwise",
)
@option("--fail-open", kind="bool", help="let requests pass where the filter's VM has failed; they get 5xx otherwise")
@option("--env-from-host", kind="strings", help="names of the proxy's environment variables that the filter gets")
@option(
    "--pull-secret", help="a Secret of type kubernetes.io/dockerconfigjson, in the targets' namespace, to pull with"
)
@option("--wait", kind="duration", default=0.0, help="how long to wait for Envoy Gateway to accept it; 0 does not wait")
@option("--ignore-version-check", kind="bool", help="deploy a module that the proxies' version cannot run, too")
@cluster_options
@connection_options
@dry_run_option
@objects_output_option
def envoy_gateway(
    args: tuple[str, ...],
    id: str,  # noqa: A002 - the flag's name
    config: str,
    root_id: str,
    target: tuple[str, ...],
    name: str,
    labels: dict[str, str],
    namespace: str,
    into: str,
    override: bool,
    fail_open: bool,
    env_from_host: list[str],
    pull_secret: str,
    wait: float,
    ignore_version_check: bool,
    kubeconfig: str,
    context: str,
    dry_run: Any,
    output: str,
    **connection: Any,
) -> None:
    """Put one filter into policies."""
    from wasme.cli import gateways, sessions
    from wasme.cli.clusters import connected
    from wasme.cli.plugin_options import variables
    from wasme.deploy.configuration import read
    from wasme.deploy.envoy_gateway.configuration import parse
    from wasme.deploy.envoy_gateway.provider import EnvoyGateway, Wanted
    from wasme.deploy.envoy_gateway.selection import Selection
    from wasme.deploy.gateways import completed
    from wasme.deploy.resolved import resolve
    from wasme.deploy.spec import FilterSpec, PluginSettings

    selection = Selection.of(target, name, labels, into)
    settings = PluginSettings(host_env=variables((), env_from_host)[1])
    spec = completed(FilterSpec(id, args[0], root_id, read(config), settings), None)
    configuration = parse(spec.config)
    with sessions.opened(**connection) as session:
        image = resolve(spec.image, session)
    if configuration:
        gateways.tell_configuration(configuration.received.decode())
    wanted = Wanted(image, configuration, fail_open, pull_secret, override, ignore_version_check)
    with connected(kubeconfig, context, namespace) as cluster:
        provider = EnvoyGateway(cluster, selection.within(cluster.namespace), wanted, dry_run=dry_run)
        changes = provider.deploy(spec)
        if not dry_run:
            _judge(provider, [each.object for each in changes], wait)
        gateways.emit(changes, spec.id, dry_run, output)


def _judge(provider: Any, stored: list[dict[str, Any]], seconds: float) -> None:
    """Tell how Envoy Gateway judges the policies.

    Raises:
        DeployFailed: it refuses one, or said nothing in the time it had.
    """
    from wasme.deploy.envoy_gateway.policy import shown
    from wasme.errors import DeployFailed

    for policy in stored:
        stands = provider.wait(policy, seconds)
        fields = {"policy": shown(policy), "reason": stands.message}
        if stands.phase == "ready" and stands.message:
            log.warning("EnvoyExtensionPolicy is accepted, but not for all", extra={"fields": fields})
        elif stands.phase == "ready":
            log.info("EnvoyExtensionPolicy is accepted", extra={"fields": {"policy": shown(policy)}})
        elif stands.phase == "failed":
            raise DeployFailed(
                f"Envoy Gateway does not take EnvoyExtensionPolicy {shown(policy)}: {stands.message}",
                hint="the policy stays as it is; wasme undeploy envoy-gateway takes the filter out of it",
            )
        elif seconds:
            raise DeployFailed(
                f"EnvoyExtensionPolicy {shown(policy)}: {stands.message} after {seconds:g} seconds",
                hint="is Envoy Gateway running, and is the target of one of its GatewayClasses?",
            )
