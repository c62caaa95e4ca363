"""Flags that several commands share, under the original's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from wasme.cli.grammar import option

F = TypeVar("F", bound=Callable[..., Any])

store_option = option(
    "--store", help="the local folder of wasm images; the default is $HOME/.wasme/oci, with $HOME/.wasme/store read too"
)
output_option = option(
    "--output", "-o", default="text", choices=("text", "json"), help="how the result is printed on stdout"
)
registry_map_option = option(
    "--registry-map",
    kind="stringToString",
    help="send the traffic for one registry's name to another, such as webassemblyhub.io=HOST[/PREFIX]; "
    "goes before registryMap of ~/.wasme/config.yaml",
)


def auth_options(function: F) -> F:
    """``-c -u -p --password-stdin --insecure --plain-http``, as keywords config, username, password and so on."""
    for decorate in reversed(
        (
            option("--config", "-c", kind="stringArray", help="path to auth config, read in place of the default ones"),
            option("--username", "-u", help="registry username"),
            option("--password", "-p", help="registry password; --password-stdin keeps it out of the process list"),
            option("--password-stdin", kind="bool", help="read the registry password from standard input"),
            option("--insecure", kind="bool", help="allow connections to SSL registry without certs"),
            option("--plain-http", kind="bool", help="use plain http and not https"),
        )
    ):
        function = decorate(function)
    return function


def connection_options(function: F) -> F:
    """``--insecure --plain-http --registry-map``, for commands whose ``--config`` is the filter's."""
    for decorate in (
        registry_map_option,
        option("--plain-http", kind="bool", help="use plain http and not https for the registry"),
        option("--insecure", kind="bool", help="allow connections to SSL registry without certs"),
    ):
        function = decorate(function)
    return function


def cluster_options(function: F) -> F:
    """``--kubeconfig --context``: which Kubernetes cluster."""
    for decorate in (
        option("--context", help="the context of the kubeconfig to use; the default is its current one"),
        option("--kubeconfig", help="the kubeconfig file; the default is $KUBECONFIG, else the service account of "
                                    "the pod that wasme runs in, else ~/.kube/config"),
    ):  # fmt: skip
        function = decorate(function)
    return function


dry_run_option = option(
    "--dry-run",
    kind="dryRun",
    help="print the objects on stdout and change nothing; with server, the API server checks them too",
)
objects_output_option = option(
    "--output",
    "-o",
    default="text",
    choices=("text", "json", "yaml"),
    help="how the objects, or what was done to them, are printed on stdout",
)


def cache_place_options(function: F) -> F:
    """``--cache-name --cache-namespace``: which node cache."""
    for decorate in (
        option("--cache-namespace", default="wasme", help="namespace of resources for the wasm image cache server"),
        option("--cache-name", default="wasme-cache", help="name of resources for the wasm image cache server"),
    ):
        function = decorate(function)
    return function


def cache_options(function: F) -> F:
    """All that describes the node cache's objects: the original's six ``--cache-*`` flags and one."""
    for decorate in (
        option(
            "--cache-image-pull-policy",
            default="IfNotPresent",
            suggest=("Always", "IfNotPresent", "Never"),
            help="image pull policy for the cache server daemonset",
        ),
        option(
            "--cache-priority-class",
            default=lambda: None,
            suggest=("system-node-critical", "system-cluster-critical"),
            help="priority class of the cache server's pods; the default is system-node-critical, an empty one is none",
        ),
        option("--cache-custom-command", kind="strings", help="custom command to provide to the cache server image"),
        option(
            "--cache-tag",
            help="image tag to use for the cache server daemonset; the default is this version's",
        ),
        option(
            "--cache-repo",
            help="name of the image repository to use for the cache server daemonset; the default is wasme's own",
        ),
        cache_place_options,
    ):
        function = decorate(function)
    return function


cache_timeout_option = option(
    "--cache-timeout",
    kind="duration",
    default=60.0,
    help="the length of time to wait for the node cache to hold the image on every node that needs it, before giving "
    "up with an error; and, where the filter changes its kind, for the proxies to run the new object; 0 does not wait",
)


def bazel_options(target: str) -> Callable[[F], F]:
    """``-b -f -g``, as keywords build_dir, bazel_output, bazel_target.

    Args:
        target: what is built where no target is named; "" where the language decides.
    """

    def add(function: F) -> F:
        for decorate in (
            option("--bazel-target", "-g", default=target, help="in a container: the Bazel target of the module"),
            option(
                "--bazel-output",
                "-f",
                default="filter.wasm",
                help="in a container: the module's file, relative to bazel-bin",
            ),
            option("--build-dir", "-b", default=".", help="the folder in SOURCE_DIRECTORY that is built"),
        ):
            function = decorate(function)
        return function

    return add


def npm_options(function: F) -> F:
    """``-u -p -e``, as keywords username, password, email."""
    for decorate in (
        option("--email", "-e", help="npm login: e-mail address"),
        option("--password", "-p", help="npm login: password"),
        option("--username", "-u", help="npm login: user name at the project's npm registry"),
    ):
        function = decorate(function)
    return function


sdk_option = option(
    "--sdk", help="folder of the upstream C++ SDK, proxy-wasm-cpp-sdk, to build with; also $PROXY_WASM_CPP_SDK"
)
