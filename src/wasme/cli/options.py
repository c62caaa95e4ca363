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
