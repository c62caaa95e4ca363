"""``wasme cache install``."""

from __future__ import annotations

import logging

from wasme.cli.grammar import command, exactly
from wasme.cli.options import (
    cache_options,
    cluster_options,
    dry_run_option,
    objects_output_option,
    registry_map_option,
)

log = logging.getLogger(__name__)


@command(
    "install",
    use="cache install",
    args=exactly(0),
    help="Install the node cache in a cluster, or bring an older one up to date.\n\n"
    "An agent on every node pulls the images of deployed filters and keeps their modules in a folder of the node where "
    "the proxies load them. wasme deploy istio installs it by itself where it is missing; what is chosen here stays "
    "until it is chosen anew.",
    examples="wasme cache install\n"
    "wasme cache install --cache-repo registry.example.com/wasme --registry-map webassemblyhub.io=hub.example.com\n"
    "wasme cache install --dry-run | kubectl diff -f -",
)
@cluster_options
@cache_options
@registry_map_option
@dry_run_option
@objects_output_option
def install(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    cache_name: str,
    cache_namespace: str,
    cache_repo: str,
    cache_tag: str,
    cache_image_pull_policy: str,
    cache_custom_command: list[str],
    cache_priority_class: str | None,
    registry_map: dict[str, str],
    dry_run: str,
    output: str,
) -> None:
    """Install the cache."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit_objects
    from wasme.deploy.cache import manifests
    from wasme.deploy.cache.ensure import ensure, kept, rehearse
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.cache.registration import set_registry_map
    from wasme.deploy.cache.statuses import forget_gone
    from wasme.deploy.cluster.kinds import DAEMON_SET
    from wasme.registry.endpoint import check_map

    check_map(registry_map)
    options = CacheOptions(
        cache_name,
        cache_namespace,
        cache_repo,
        cache_tag,
        cache_image_pull_policy,
        tuple(cache_custom_command),
        cache_priority_class,
    )
    if dry_run == "client":
        emit_objects(manifests.objects(options, registry_map), output)
        return
    with connected(kubeconfig, context) as cluster:
        options = kept(options, cluster.get(DAEMON_SET, options.name, options.namespace))
        if dry_run:
            emit_objects(rehearse(cluster, options, registry_map=registry_map), output)
            return
        ensure(cluster, options, registry_map=registry_map, keep=False)
        if registry_map:
            set_registry_map(cluster, options, registry_map)
        forget_gone(cluster, options)
    if output != "text":
        emit_objects(manifests.objects(options, registry_map), output)
