"""``wasme cache``: the node cache's agent; ``install``, ``uninstall`` and ``status`` are commands of their own.

The original knew the daemon only, with image references as its positionals, so any other word is one of those.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from wasme.cli.daemons import DaemonGroup
from wasme.cli.grammar import at_least, command, option
from wasme.cli.options import auth_options, registry_map_option
from wasme.errors import UsageError

_HELP = """
Hold the modules of wasm images on a node, for its proxies.

Without a command this is the agent of one node, as the cache's DaemonSet runs it. Its images are those named here,
those of the ConfigMap that `wasme deploy` writes, and those of --ref-file where there is no API server. Their modules
lie in --directory, one file each, named by the module's digest, and are served on --port: GET /<64 hex digits>, or
GET /<image>. /healthz, /readyz and /metrics are what they are everywhere.

Whoever reaches the port can read every module here by its digest, and images of the list by name; images that are not
on the list are pulled for them without any credentials, unless --on-demand says otherwise.
"""
_DAEMON = "daemon"
_SIZE = re.compile(r"(\d+)([KMGT]i?)?B?", re.IGNORECASE)


def _default_node() -> str:
    return os.environ.get("NODE_HOSTNAME") or os.environ.get("NODE_NAME") or ""


@command(
    _DAEMON,
    use="cache [name[:tag|@digest] ...]",
    args=at_least(0),
    help=_HELP,
    examples="wasme cache --directory /tmp/cache --disable-kube localhost:5000/demo/auth:v1",
)
@option("--directory", help="folder of the modules; the default is a temporary one, removed at the end")
@option("--ref-file", help="file of image references, one a line, read while no API server can be watched")
@option("--port", kind="int", default=9979, help="port to serve on; 0 serves nothing")
@option("--address", help="address of this machine to serve on; the default is all of them")
@option("--clear-cache", kind="bool", help="remove all modules from the folder first")
@option("--disable-kube", kind="bool", help="talk to no API server: no list, no status and no events")
@option("--kubeconfig", help="kubeconfig file; the default is the pod's account, then $KUBECONFIG, ~/.kube/config")
@option("--cache-ns", default="wasme", help="namespace of the cache's ConfigMap")
@option("--cache-name", default="wasme-cache", help="name of the cache's ConfigMap")
@option("--node-name", default=_default_node, help="name of this node; the default is $NODE_HOSTNAME, then $NODE_NAME")
@option("--tag-interval", kind="duration", default=60.0, help="how often tags are looked up again; 0 never does")
@option("--grace-period", kind="duration", default=3600.0, help="how long a module stays that no image needs")
@option(
    "--max-size",
    default="4GiB",
    help="size of all modules beyond which those that no image needs go at once; 0 is no limit",
)
@option("--check-interval", kind="duration", default=3600.0, help="how often each module is hashed again; 0 never does")
@option(
    "--on-demand",
    default="anonymous",
    choices=("anonymous", "credentials", "off"),
    help="how images that are not on the list are pulled for who asks for them by name",
)
@auth_options
@registry_map_option
def daemon(args: tuple[str, ...], **flags: Any) -> None:
    """Run the agent until it is told to stop."""
    from wasme.cache.agent import Agent, Options
    from wasme.cli.output import emit
    from wasme.cli.sessions import checked_map, read_password
    from wasme.registry.retry import Policy
    from wasme.registry.transport import ConnectionOptions

    options = Options(
        refs=args,
        directory=Path(flags["directory"]).absolute() if flags["directory"] else None,
        ref_file=Path(flags["ref_file"]) if flags["ref_file"] else None,
        address=flags["address"],
        port=_port(flags["port"]),
        clear=flags["clear_cache"],
        kube=not flags["disable_kube"],
        kubeconfig=Path(flags["kubeconfig"]) if flags["kubeconfig"] else None,
        namespace=flags["cache_ns"],
        cache=flags["cache_name"],
        node=flags["node_name"],
        tag_interval=flags["tag_interval"],
        grace=flags["grace_period"],
        max_size=_size(flags["max_size"]),
        check_interval=flags["check_interval"],
        on_demand=flags["on_demand"],
        # The agent has its own patience: what one try does not bring, the next will.
        connection=ConnectionOptions(
            insecure=flags["insecure"],
            plain_http=flags["plain_http"],
            connect_timeout=5.0,
            read_timeout=30.0,
            retry=Policy(attempts=2, cap=5.0),
        ),
        username=flags["username"],
        password=read_password(flags["username"], flags["password"], password_stdin=flags["password_stdin"]),
        files=tuple(flags["config"]),
        registry_map=checked_map(flags["registry_map"]),
    )
    Agent(options, lambda _, digest: emit(f"added digest {digest}")).run()


def _port(port: int) -> int:
    if not 0 <= port <= 65535:
        raise UsageError(f'invalid argument "{port}" for "--port" flag: not a port')
    return port


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f'invalid argument "{text}" for "--max-size" flag: not a size', hint="such as 512MiB or 4GiB")
    unit = (found[2] or "").lower()
    step = 1024 if unit.endswith("i") else 1000
    return int(found[1]) * (step ** " kmgt".index(unit[:1] or " ") if unit else 1)


cache = DaemonGroup(
    "cache",
    table={
        _DAEMON: ("wasme.cli.cache:daemon", ""),
        "install": ("wasme.cli.cache_install:install", "Install the node cache into a cluster."),
        "status": ("wasme.cli.cache_status:status", "Tell what each node holds, and what is wrong where."),
        "uninstall": ("wasme.cli.cache_uninstall:uninstall", "Remove the node cache from a cluster."),
    },
    fallback=_DAEMON,
    help=_HELP,
)
