"""``wasme deploy istio``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wasme.cli.grammar import at_least, command, option
from wasme.cli.mesh_options import mesh, mesh_options, selection, selection_options, was_typed
from wasme.cli.options import (
    cache_options,
    cache_timeout_option,
    cluster_options,
    connection_options,
    dry_run_option,
    objects_output_option,
)
from wasme.cli.plugin_options import plugin_options, plugin_settings
from wasme.cli.rollouts import require_joined, rollout_options, walk

if TYPE_CHECKING:
    from wasme.deploy.istio.deployment import Deployed
    from wasme.deploy.istio.order import Caching, Order
    from wasme.deploy.istio.target import IstioTarget

log = logging.getLogger(__name__)

_CACHE_FLAGS = (
    "cache_name", "cache_namespace", "cache_repo", "cache_tag", "cache_custom_command", "cache_image_pull_policy",
    "cache_priority_class", "cache_timeout", "cache_mode", "cache_gate",
)  # fmt: skip


@command(
    "istio",
    use="deploy istio <image> --id=<unique name> [--config=<inline string>] [--root-id=<root id>] "
    "[--namespaces <comma separated namespaces>] [--name deployment-name] "
    "[--patch-context={any|inbound|outbound|gateway}]",
    args=at_least(1),
    help="Deploy an Envoy WASM Filter to Istio Sidecar Proxies (Envoy).\n\n"
    "The filter is carried by an EnvoyFilter, a WasmPlugin or a TrafficExtension; --as chooses. For an EnvoyFilter, a "
    "cache on the nodes pulls the image, and no proxy is told of the filter before its node holds it; the others have "
    "Istio's own agent pull it. If --name is not provided, all deployments in the targeted namespace will attach the "
    "filter.\n\n"
    "Once deployed, a filter is updated by deploying it again with the same --id; what is as it should be is not "
    "written, and no pod restarts for another configuration, nor for another image, unless that is a volume.",
    examples="wasme deploy istio localhost:5000/demo/auth:v1 --id=auth --namespace=bookinfo --labels app=productpage\n"
    "wasme deploy istio localhost:5000/demo/auth:v1 --id=auth --config=@auth.json --dry-run > auth.yaml\n"
    "wasme deploy istio localhost:5000/demo/auth:v2 --id=auth --target Gateway/waypoint --as trafficextension",
)
@selection_options
@mesh_options
@option("--as", "carrier", default="auto", choices=("auto", "envoyfilter", "wasmplugin", "trafficextension"),
        help="the kind of object that carries the filter; auto keeps the one it has, takes an EnvoyFilter where only "
             "that will do, and else the newest kind that the cluster serves")  # fmt: skip
@option("--target", kind="stringArray",
        help="attach the filter to Gateway/NAME, Service/NAME, ServiceEntry/NAME or GatewayClass/NAME in place of "
             "workloads; repeatable")  # fmt: skip
@option("--phase", suggest=("authn", "authz", "stats"),
        help="before which of Istio's own filters: authn, authz, stats; the default is after all of them")  # fmt: skip
@option("--priority", kind="int", default=lambda: None,
        help="among filters of one phase, one with a higher number sees a request first")  # fmt: skip
@option("--ports", kind="strings", help="only traffic to these ports, separated by commas")
@option("--image-pull-policy", suggest=("IfNotPresent", "Always"), help="when Istio's agent pulls the image")
@option("--pull-secret", help="name of a Secret in the workload's namespace to pull the image with")
@option("--share-credentials", kind="bool",
        help="let the cluster pull the image as whoever is logged in here")  # fmt: skip
@plugin_options
@cache_options
@cache_timeout_option
@option("--cache-mode", default="daemonset", choices=("daemonset", "image-volume", "none"),
        help="where an EnvoyFilter's module comes from: the node cache; an image volume of the pod, the better one "
             "where nodes come and go; or Istio's agent")  # fmt: skip
@option("--cache-gate", kind="bool", default=True,
        help="let the pods start only on nodes whose cache holds everything")  # fmt: skip
@rollout_options
@connection_options
@cluster_options
@dry_run_option
@objects_output_option
def istio(
    args: tuple[str, ...],
    id: str,  # noqa: A002 - the flag's name
    config: str,
    root_id: str,
    dry_run: Any,
    output: str,
    **given: Any,
) -> None:
    """Deploy one filter to a mesh."""
    from wasme.cli.clusters import connected
    from wasme.cli.sessions import opened
    from wasme.deploy import configuration
    from wasme.deploy.istio.deployment import deploy
    from wasme.deploy.spec import FilterSpec, require_id

    require_id(id)
    require_joined(given, args)
    order = _order(given)
    spec = FilterSpec(id, args[0], root_id, configuration.read(config), plugin_settings(given))
    registries = {name: given[name] for name in ("insecure", "plain_http", "registry_map")}
    with connected(given["kubeconfig"], given["context"]) as cluster, opened(**registries) as session:
        deployed = deploy(
            cluster,
            spec,
            order,
            session,
            walk=walk(
                cluster,
                id,
                given["rollout"],
                given["rollout_pause"],
                given["rollout_timeout"],
                probe=given["rollout_probe"],
            ),
            dry_run=dry_run,
        )
    _show(deployed, dry_run, output)


def _order(given: Mapping[str, Any]) -> Order:
    from wasme.deploy.istio.order import Order

    target = _target(given)
    return Order(selection(given), target, mesh(given), _caching(given))


def _target(given: Mapping[str, Any]) -> IstioTarget:
    from wasme.deploy.istio.target import IstioTarget, TargetRef
    from wasme.errors import UsageError

    ports = given["ports"]
    if not all(each.isdecimal() and 0 < int(each) < 65536 for each in ports):
        raise UsageError(f'invalid argument "{",".join(ports)}" for "--ports" flag: ports are 1 to 65535')
    for name, words in (("phase", ("authn", "authz", "stats")), ("image_pull_policy", ("IfNotPresent", "Always"))):
        if given[name] not in ("", *words):
            raise UsageError(
                f'invalid argument "{given[name]}" for "{_flag(name)}" flag: not one of {", ".join(words)}'
            )
    if given["pull_secret"] and given["share_credentials"]:
        raise UsageError("--pull-secret and --share-credentials are mutually exclusive")
    if given["cache_mode"] == "image-volume" and (given["pull_secret"] or given["share_credentials"]):
        raise UsageError(
            "with --cache-mode=image-volume the kubelet pulls the image, with the pod's own imagePullSecrets",
            hint="add the Secret to the workload's service account",
        )
    _refuse_idle(given)
    target = IstioTarget(
        kind=given["carrier"],
        patch_context=given["patch_context"],
        phase=given["phase"],
        priority=given["priority"],
        ports=tuple(map(int, ports)),
        target_refs=tuple(map(TargetRef.parse, given["target"])),
        pull_secret=given["pull_secret"],
        pull_policy=given["image_pull_policy"],
        placement=given["cache_mode"],
    )
    target.context  # noqa: B018 - an unknown patch context is told before anything is asked
    if target.target_refs and (given["labels"] or given["name"]):
        raise UsageError("--target stands in place of --labels and --name")
    return target


def _refuse_idle(given: Mapping[str, Any]) -> None:
    """Refuse flags that the chosen kind has no use for, and a priority that it cannot hold.

    Three about the cache have one always: where an EnvoyFilter is replaced, that cache forgets its files, and the
    timeout is for the proxies to run the new object.

    Raises:
        UsageError: there is one.
    """
    from wasme.errors import UsageError

    carrier, mode, priority = given["carrier"], given["cache_mode"], given["priority"]
    about_nodes = [name for name in _CACHE_FLAGS if name not in ("cache_name", "cache_namespace", "cache_timeout")]
    if carrier in ("wasmplugin", "trafficextension"):
        idle, why = about_nodes, f"--as {carrier}: Istio's agent pulls the image"
    elif mode != "daemonset":
        idle = [name for name in about_nodes if name != "cache_mode"]
        why = f"--cache-mode {mode}: no node cache holds the image"
    else:
        idle, why = [], ""
    for name in idle:
        if was_typed(name):
            raise UsageError(f"{_flag(name)} has no effect with {why}", hint=f"leave {_flag(name)} away")
    if priority is not None and not (-(2**31) + (carrier == "envoyfilter") <= priority < 2**31):
        raise UsageError(
            f'invalid argument "{priority}" for "--priority" flag: an object of Kubernetes holds 32 bits of it'
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _caching(given: Mapping[str, Any]) -> Caching:
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.istio.order import Caching

    options = CacheOptions(
        given["cache_name"],
        given["cache_namespace"],
        given["cache_repo"],
        given["cache_tag"],
        given["cache_image_pull_policy"],
        tuple(given["cache_custom_command"]),
        given["cache_priority_class"],
    )
    return Caching(
        options=options,
        timeout=given["cache_timeout"],
        gate=given["cache_gate"],
        flags=tuple(_flag(name) for name in _CACHE_FLAGS if was_typed(name)),
        pull_secret=given["pull_secret"],
        share_credentials=given["share_credentials"],
    )


def _show(deployed: Deployed, dry_run: str, output: str) -> None:
    from wasme.cli.output import emit_json, emit_objects

    if dry_run:
        emit_objects(deployed.objects, output)
        return
    if output == "text":
        return
    facts = deployed.facts
    changes: list[dict[str, Any]] = []
    for each in deployed.done:
        place = {"namespace": each.namespace, "workload": each.workload}
        changes.append(
            {"action": each.action, "kind": each.kind, "name": each.name, **place, "restarts": each.restarts}
        )
        for old in each.removed:
            kind, _, name = old.partition("/")
            changes.append({"action": "deleted", "kind": kind, "name": name, **place})
    told = {
        "id": facts.spec.id,
        "image": str(facts.image.reference),
        "digest": facts.image.module.digest,
        "manifestDigest": facts.image.manifest.digest,
        "rootId": facts.spec.root_id,
        "changes": changes,
    }
    if output == "json":
        emit_json(told)
    else:
        emit_objects([told], output)
