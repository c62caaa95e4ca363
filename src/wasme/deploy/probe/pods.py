"""Probing pods: each pod's proxy is asked through the API server, several at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasme.deploy.probe.admin import PORT, Admin
from wasme.deploy.probe.dump import Sought
from wasme.deploy.probe.evidence import Configured, Counted, Logged, configured, counted, logged
from wasme.deploy.probe.verdict import Verdict, judge
from wasme.errors import ClusterError

if TYPE_CHECKING:
    from wasme.deploy.cluster import Cluster

SECONDS = 10.0
"""For one pod, everything together."""
BOUND = 8
"""At once: each may hold a configuration of tens of megabytes."""
_LINES = 1000
_COUNTERS = r"^wasm\.|^extension_config_discovery\.http_filter\..*\.(version_text|update_rejected)$"


@dataclass(frozen=True, slots=True)
class Asked:
    """One pod that is asked about one filter.

    Attributes:
        namespace: of the pod.
        pod: its name.
        sought: the filter.
        module: digest of the module that should run; "" where it is not known.
        port: of the proxy's administration.
        container: the proxy's.
    """

    namespace: str
    pod: str
    sought: Sought
    module: str = ""
    port: int = PORT
    container: str = "istio-proxy"


def probe(cluster: Cluster, asked: Sequence[Asked], *, seconds: float = SECONDS, bound: int = BOUND) -> list[Verdict]:
    """Ask the proxies of pods, at most ``bound`` at once.

    Args:
        cluster: theirs.
        asked: whom, about what.
        seconds: that one pod may take.
        bound: how many at once.

    Returns:
        One verdict for each, in their order; a pod that cannot be asked is ``unknown`` and does not stop the others.
    """
    from wasme.deploy.cluster import parallel

    def one(each: Asked) -> Verdict:
        return _ask(cluster, each, seconds)

    outcomes = parallel(one, asked, bound)
    return [each.result or Verdict("unknown", each.error.message if each.error else "") for each in outcomes]


def _ask(cluster: Cluster, asked: Asked, seconds: float) -> Verdict:
    where = f"the proxy of {asked.pod}"
    try:
        with cluster.forward(asked.pod, asked.namespace, asked.port, seconds=seconds) as connection:
            admin = Admin(connection, where)
            configuration, count = _read(admin, asked, where)
    except ClusterError as error:
        return Verdict("unknown", error.message)
    told = Logged()
    if configuration.listeners:
        # Who may not read logs is not told so for each pod: all else has been answered.
        with contextlib.suppress(ClusterError):
            log = cluster.log(asked.pod, asked.namespace, asked.container, lines=_LINES)
            told = logged(log, configuration.updated)
    return judge(configuration, count, asked.module, told)


def _read(admin: Admin, asked: Asked, where: str) -> tuple[Configured, Counted]:
    pages: dict[str, bytes] = {}
    for name in ("dynamic_listeners", "ecds_filters"):
        reply = admin.get("/config_dump", resource=name)
        # 404: there are none; 400: an Envoy that does not know the word.
        if reply.status not in {200, 400, 404}:
            raise ClusterError(f"{where} answers /config_dump with HTTP {reply.status}")
        pages[name] = reply.body if reply.status == 200 else b""
    stats = admin.get("/stats", filter=_COUNTERS, usedonly="")
    if stats.status != 200:
        raise ClusterError(f"{where} answers /stats with HTTP {stats.status}")
    configuration = configured(pages["dynamic_listeners"], pages["ecds_filters"], asked.sought)
    return configuration, counted(stats.body, configuration)
