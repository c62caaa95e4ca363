"""``wasme operator install``."""

from __future__ import annotations

from typing import Any

from wasme.cli.grammar import command, exactly, option
from wasme.cli.operator_options import operator_options, read_options
from wasme.cli.options import cluster_options, dry_run_option, objects_output_option


@command(
    "install",
    use="operator install",
    args=exactly(0),
    help="Install the operator and the node cache in a cluster, or bring older ones up to date.\n\n"
    "An install of the original's, by kubectl or Helm's templates, is taken over: its objects become these, its "
    "FilterDeployments and the filters that run stay. What is as it should be is not written.",
    examples="wasme operator install\n"
    "wasme operator install --image registry.example.com/wasme:1.0\n"
    "wasme operator install --dry-run=server -o yaml",
)
@cluster_options
@operator_options
@option("--wait", kind="duration", default=120.0, help="how long to wait until the operator runs; 0 does not wait")
@dry_run_option
@objects_output_option
def install(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    wait: float,
    dry_run: str,
    output: str,
    **flags: Any,
) -> None:
    """Install the operator."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit_objects
    from wasme.operator.installation.install import install as make
    from wasme.operator.installation.install import kept, rehearse
    from wasme.operator.installation.manifests import crds, objects

    replicas = flags["replicas"]
    options = read_options(flags)
    if dry_run == "client":
        emit_objects([*crds(), *objects(options)], output)
        return
    with connected(kubeconfig, context) as cluster:
        options = kept(cluster, options, replicas=replicas)
        if dry_run:
            emit_objects(rehearse(cluster, options), output)
            return
        make(cluster, options, seconds=wait)
    if output != "text":
        emit_objects([*crds(), *objects(options)], output)
