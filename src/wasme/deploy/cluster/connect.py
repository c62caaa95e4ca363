"""Connections to an API server: from an access to a ``Cluster``."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from wasme.deploy.cluster.access import Access, is_address
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kubeconfig import MEND, find
from wasme.deploy.cluster.wire import CONNECT, Wire
from wasme.errors import ClusterUnreachable

# As many connections as the widest caller has threads, and the operator's watches beside them.
CONNECTIONS = 64
# Seconds; API servers close idle connections after 90, load balancers before them often after 60.
IDLE = 50.0


def connect(kubeconfig: Path | None = None, context: str = "", namespace: str = "") -> Cluster:
    """The cluster that kubectl would talk to. Nothing is sent yet.

    Args:
        kubeconfig: a file; None for $KUBECONFIG, a pod's service account, ~/.kube/config, in this order.
        context: a context of it; empty for the current one.
        namespace: the default namespace; empty for the context's.

    Raises:
        ClusterUnreachable: no kubeconfig, an unknown context, certificates or keys that cannot be used.
    """
    return open_cluster(find(kubeconfig, context, os.environ), namespace=namespace)


def open_cluster(access: Access, *, namespace: str = "", patience: float | None = None) -> Cluster:
    """A cluster for an access; ``patience`` in seconds is how long a request is tried again."""
    import httpx2

    from wasme import __version__
    from wasme.deploy.cluster import expiry
    from wasme.deploy.cluster.credentials import login, tls

    server = shown(access.server)
    context = tls(access)
    try:
        transport = httpx2.HTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE
            ),
            proxy=_proxy(access),
        )
    except (ImportError, ValueError, httpx2.InvalidURL) as error:
        # SOCKS needs a package that few want; the text of the error may hold the proxy's password.
        raise ClusterUnreachable(
            f"the proxy for {server} cannot be used: not http or https (SOCKS: pip install socksio), or no address",
            hint="look at proxy-url in the kubeconfig, HTTPS_PROXY and NO_PROXY",
        ) from error
    try:
        client = httpx2.Client(
            base_url=access.server,
            transport=transport,
            timeout=httpx2.Timeout(30.0, connect=CONNECT),
            auth=login(access, context) or httpx2.Auth(),  # never what the address itself may carry
            trust_env=False,
        )
    except httpx2.InvalidURL as error:
        raise ClusterUnreachable(f"{access.origin}: {server} is no address of a server", hint=MEND) from error
    client.headers["User-Agent"] = f"wasme/{__version__}"
    client.headers["Accept"] = "application/json"
    # Of one name there may be several: groups.
    own = [(name.decode("ascii"), value.decode("ascii")) for name, value in client.headers.raw]
    client.headers = httpx2.Headers([*own, *access.impersonate])
    wire = Wire(client, server_name=access.server_name)
    if patience is not None:
        wire.patience = patience
    return Cluster(
        wire,
        server=server,
        namespace=namespace or access.namespace,
        context=access.context,
        login=lambda: expiry.told(access),
    )


def shown(server: str) -> str:
    """An address without what may be secret in it: no user, no password, no path, no query."""
    parts = urlsplit(server)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.scheme}://{host}{port}"


def _proxy(access: Access) -> str | None:
    """``proxy-url`` of the cluster, else the environment's (HTTPS_PROXY, NO_PROXY), as kubectl."""
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(access.server)
    proxy: str | None = access.proxy
    if not proxy and not proxy_bypass(parts.hostname or ""):
        proxy = getproxies_environment().get(parts.scheme)
        # HOST:PORT is an HTTP proxy, to Go's programs.
        proxy = f"http://{proxy}" if proxy and "://" not in proxy else proxy
    if proxy and not is_address(proxy, "http", "https", "socks5"):
        raise ValueError("no proxy")
    return proxy or None
