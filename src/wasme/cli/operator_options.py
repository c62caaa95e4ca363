"""The flags that describe an operator, for those commands that render or install one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from wasme.cli.grammar import option
from wasme.cli.options import registry_map_option
from wasme.errors import InputError, UsageError

if TYPE_CHECKING:
    from wasme.operator.installation.manifests import OperatorOptions

F = TypeVar("F", bound=Callable[..., Any])


registries_option = option(
    "--registries",
    kind="strings",
    help="registries that FilterDeployments may name, HOST[:PORT] or *.DOMAIN; the default is all",
)


def operator_place_options(function: F) -> F:
    """``--namespace --cache-name``: which operator."""
    for decorate in (
        option("--cache-name", default="wasme-cache", help="name of the node cache's objects"),
        option("--namespace", "-n", default="wasme", help="namespace of the operator and of the node cache"),
    ):
        function = decorate(function)
    return function


def operator_options(function: F) -> F:
    """All that describes the objects of an operator and its node cache."""
    for decorate in (
        registries_option,
        registry_map_option,
        option(
            "--log-level",
            default="debug",
            choices=("debug", "info", "warn", "error"),
            help="the least level of the operator's log lines; the original's manifests have debug",
        ),
        option("--replicas", kind="int", default=lambda: None, help="pods of the operator; one of them works"),
        option(
            "--cache-priority-class",
            default=lambda: None,
            suggest=("system-node-critical", "system-cluster-critical"),
            help="priority class of the node cache's pods; the default is system-node-critical, an empty one is none",
        ),
        option(
            "--image-pull-policy",
            default="IfNotPresent",
            suggest=("Always", "IfNotPresent", "Never"),
            help="pull policy of the image",
        ),
        option("--image", help="image of operator and node cache, NAME[:TAG|@DIGEST]; the default is wasme's own"),
        operator_place_options,
    ):
        function = decorate(function)
    return function


def read_options(flags: dict[str, Any]) -> OperatorOptions:
    """What ``operator_options`` describe; takes them out of ``flags``.

    Raises:
        InputError, UsageError: one of them cannot be used.
    """
    from wasme.deploy.cache.options import CacheOptions
    from wasme.operator.installation.manifests import REPLICAS, OperatorOptions, split_image
    from wasme.registry.endpoint import check_map

    registry_map = flags.pop("registry_map")
    check_map(registry_map)
    replicas = flags.pop("replicas")
    return OperatorOptions(
        cache=CacheOptions(
            flags.pop("cache_name"),
            _namespace(flags.pop("namespace")),
            *split_image(flags.pop("image")),
            _policy(flags.pop("image_pull_policy")),
            priority_class=flags.pop("cache_priority_class"),
        ),
        replicas=REPLICAS if replicas is None else replicas,
        log_level=flags.pop("log_level"),
        registry_map=registry_map,
        registries=tuple(flags.pop("registries")),
    )


def _namespace(text: str) -> str:
    if not text:
        raise UsageError("--namespace is empty")
    return text


def _policy(text: str) -> str:
    from wasme.deploy.cache.options import PULL_POLICIES

    if text not in PULL_POLICIES:
        raise InputError(f"--image-pull-policy: {text[:100]!r} is none of {', '.join(PULL_POLICIES)}")
    return text
