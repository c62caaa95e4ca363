"""``wasme operator``: the daemon; ``install``, ``uninstall`` and ``manifests`` are commands of their own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from wasme.cli.daemons import DaemonGroup
from wasme.cli.grammar import Invocation, close_matches, command, option
from wasme.cli.operator_options import registries_option
from wasme.cli.options import cache_place_options, cluster_options, connection_options
from wasme.errors import UsageError

_HELP = """
Run filters that FilterDeployments ask for.

Without a command this is the operator, as its Deployment runs it: it makes every FilterDeployment of the cluster so,
tells in its status how that went, and goes on until it is told to stop. Of several at once, one works; the others take
over when it goes. /healthz, /readyz and /metrics are served on --metrics-port.
"""
_DAEMON = "daemon"
_COMMANDS = ("install", "manifests", "uninstall")


def _no_words(args: Sequence[str]) -> str | None:
    """What is no sub-command is a mistake: the daemon takes no positionals."""
    if not args:
        return None
    meant = close_matches(args[0], _COMMANDS)
    return f'unknown command "{args[0]}" for "wasme operator"' + (f". {meant}" if meant else "")


def _own_namespace() -> str:
    return os.environ.get("POD_NAMESPACE") or "wasme"


@command(_DAEMON, use="operator", args=_no_words, help=_HELP, examples="wasme operator --log-level=debug")
@option("--log-level", default="info", choices=("debug", "info", "warn", "error"), help="the least level of log lines")
@cluster_options
@option(
    "--namespace", "-n", default=_own_namespace, help="namespace of the lease; the default is $POD_NAMESPACE, or wasme"
)
@cache_place_options
@option(
    "--watch-namespaces", kind="strings", help="namespaces whose FilterDeployments are worked on; the default is all"
)
@option("--metrics-port", kind="int", default=9091, help="port of /healthz, /readyz and /metrics; 0 serves nothing")
@option("--address", help="address of this machine to serve them on; the default is all of them")
@option("--workers", kind="int", default=16, help="how many FilterDeployments are worked on at a time")
@option("--tag-interval", kind="duration", default=60.0, help="how often tags that are followed are looked up again")
@option(
    "--leader-elect",
    kind="bool",
    default=True,
    help="work only while holding the lease; never without it beside another operator",
)
@option("--lease-duration", kind="duration", default=15.0, help="how long others wait for a leader that is silent")
@option(
    "--renew-deadline", kind="duration", default=10.0, help="how long the leader goes on without renewing its lease"
)
@option("--retry-period", kind="duration", default=2.0, help="how often the lease is renewed, or asked for")
@option(
    "--config",
    "-c",
    kind="stringArray",
    help="path to auth config for images without a pull secret; without one they are asked for as nobody",
)
@registries_option
@connection_options
def daemon(args: tuple[str, ...], **flags: Any) -> None:  # fmt: skip
    """Run the operator until it is told to stop."""
    del args
    from wasme.cli import logs

    logs.as_daemon(click.get_current_context().ensure_object(Invocation), flags["log_level"])
    from wasme.cli.sessions import checked_map
    from wasme.operator.daemon import run
    from wasme.operator.options import Options, Timing
    from wasme.registry.transport import ConnectionOptions

    run(
        Options(
            kubeconfig=Path(flags["kubeconfig"]) if flags["kubeconfig"] else None,
            context=flags["context"],
            namespace=flags["namespace"],
            cache_namespace=flags["cache_namespace"],
            cache_name=flags["cache_name"],
            watched=tuple(flags["watch_namespaces"]),
            address=flags["address"],
            port=_within("--metrics-port", flags["metrics_port"], 0, 65535),
            workers=_within("--workers", flags["workers"], 1, 256),
            tag_interval=flags["tag_interval"],
            elect=flags["leader_elect"],
            timing=Timing(*_times(flags["lease_duration"], flags["renew_deadline"], flags["retry_period"])),
            connection=ConnectionOptions(insecure=flags["insecure"], plain_http=flags["plain_http"]),
            registries=tuple(flags["registries"]),
            files=tuple(flags["config"]),
            registry_map=checked_map(flags["registry_map"]),
        )
    )


def _within(flag: str, value: int, least: int, most: int) -> int:
    if not least <= value <= most:
        raise UsageError(f'invalid argument "{value}" for "{flag}" flag: not from {least} to {most}')
    return value


def _times(duration: float, deadline: float, retry: float) -> tuple[float, float, float]:
    """Of the lease: with others, two could lead at once."""
    if not 0 < retry * 1.2 < deadline < duration:
        raise UsageError(
            "--lease-duration must be longer than --renew-deadline, and that longer than 1.2 times --retry-period",
            hint="the defaults are 15s, 10s and 2s",
        )
    return duration, deadline, retry


operator = DaemonGroup(
    "operator",
    table={
        _DAEMON: ("wasme.cli.operator:daemon", ""),
        "install": ("wasme.cli.operator_install:install", "Install the operator and the node cache into a cluster."),
        "manifests": ("wasme.cli.operator_manifests:manifests", "Print what would be installed."),
        "uninstall": ("wasme.cli.operator_uninstall:uninstall", "Remove the operator from a cluster."),
    },
    fallback=_DAEMON,
    help=_HELP,
)
