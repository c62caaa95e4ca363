"""The flags by which ``deploy istio`` and ``undeploy istio`` say which workloads of which mesh, and their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from wasme.cli.grammar import option

if TYPE_CHECKING:
    from wasme.deploy.istio.order import Caching, Mesh
    from wasme.deploy.istio.workloads import Selection

F = TypeVar("F", bound=Callable[..., Any])


def selection_options(function: F) -> F:
    """``-n --namespaces -l --name -t``: which workloads."""
    for decorate in (
        option("--workload-type", "-t", default="deployment", suggest=("daemonset", "deployment", "statefulset"),
               help="type of workload into which the filter should be injected. possible values are daemonset, "
                    "deployment, statefulset"),
        option("--labels", "-l", kind="stringToString",
               help="labels of the deployment or daemonset into which to inject the filter. if not set, will apply to "
                    "all workloads in the target namespace"),
        option("--name", help="name of the only workload into which to inject the filter"),
        option("--namespaces", kind="strings", help="several namespaces, separated by commas, in place of --namespace"),
        option("--namespace", "-n", default="default", help="namespace of the workload(s) to inject the filter."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def mesh_options(function: F) -> F:
    """``--istio-namespace --istiod-name --ignore-version-check --patch-context``."""
    for decorate in (
        option("--patch-context", suggest=("any", "inbound", "outbound", "gateway"),
               help="patch context of the filter. possible values are any, inbound, outbound, gateway; the default is "
                    "inbound, and any with --target"),
        option("--istiod-name", default="istiod", help="deployment name of the istiod"),
        option("--istio-namespace", default="istio-system",
               help="the namespace where the Istio control plane is installed"),
        option("--ignore-version-check", kind="bool", help="set to disable abi version compatability check."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def was_typed(name: str) -> bool:
    """Whether the flag of this keyword stands on the command line, be it with its default."""
    import click

    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def selection(given: Mapping[str, Any]) -> Selection:
    """The workloads that the flags name.

    Raises:
        UsageError: no kind of workload, no namespace, or both flags for namespaces.
    """
    from wasme.deploy.istio.workloads import Selection, kind_named
    from wasme.errors import UsageError

    typed = was_typed("namespaces")
    if typed and was_typed("namespace"):
        raise UsageError(
            "--namespace and --namespaces are mutually exclusive", hint="--namespaces names all of them: a,b"
        )
    namespaces = [each.strip() for each in given["namespaces"]] if typed else [given["namespace"]]
    if not namespaces or not all(namespaces):
        flag = "namespaces" if typed else "namespace"
        raise UsageError(f"--{flag} is empty", hint="leave it away for the namespace default")
    return Selection(
        namespaces=tuple(dict.fromkeys(namespaces)),
        kind=kind_named(given["workload_type"]),
        labels=given["labels"],
        name=given["name"],
    )


def mesh(given: Mapping[str, Any]) -> Mesh:
    """The mesh that the flags name."""
    from wasme.deploy.istio.order import Mesh

    return Mesh(given["istio_namespace"], given["istiod_name"], given["ignore_version_check"])


def cache_place(given: Mapping[str, Any]) -> Caching:
    """The node cache that the flags name, for a command that installs none."""
    from wasme.deploy.cache.options import CacheOptions
    from wasme.deploy.istio.order import Caching

    return Caching(CacheOptions(given["cache_name"], given["cache_namespace"]))
