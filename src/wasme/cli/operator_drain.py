"""``wasme operator drain``."""

from __future__ import annotations

from wasme.cli.grammar import command, exactly, option
from wasme.cli.options import cluster_options


@command(
    "drain",
    use="operator drain",
    args=exactly(0),
    help="Make sure that no FilterDeployment is left before the operator goes.\n\n"
    "A FilterDeployment that is deleted while no operator runs waits for one, and keeps its namespace. So this fails "
    "while there are any; with --filters=delete it deletes all of them, and waits until the operator has taken "
    "away what they made. The Helm chart runs it before helm uninstall deletes anything.",
    examples="wasme operator drain\nwasme operator drain --filters=delete --wait=5m",
)
@cluster_options
@option(
    "--filters",
    default="refuse",
    choices=("refuse", "delete"),
    help="what becomes of FilterDeployments: refuse ends with an error while there are some",
)
@option("--wait", kind="duration", default=120.0, help="how long to wait until FilterDeployments are cleaned")
def drain(
    args: tuple[str, ...],  # noqa: ARG001
    kubeconfig: str,
    context: str,
    filters: str,
    wait: float,
) -> None:
    """Have no FilterDeployment."""
    from wasme.cli.clusters import connected
    from wasme.cli.output import emit
    from wasme.operator import uninstall as library

    with connected(kubeconfig, context) as cluster:
        gone = library.drain(cluster, delete=filters == "delete", seconds=wait)
    emit("\n".join(f"deleted FilterDeployment {each}" for each in gone) or "there is no FilterDeployment")
