"""Other caches of the cluster: all use one folder on the nodes, so there can be no two.

Each would delete the files that only the other one's filters need, and take the other one's markers away.
"""

from __future__ import annotations

import logging
from typing import Any

from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, ClusterForbidden

log = logging.getLogger(__name__)

Object = dict[str, Any]


def require_alone(cluster: Cluster, options: CacheOptions) -> None:
    """Refuse a cache where there is another; who may not list DaemonSets everywhere is not kept from installing.

    Raises:
        CacheError: there is one; the hint says how to use it.
    """
    for namespace, name in others(cluster, options)[:1]:
        place = f"--cache-namespace={namespace} --cache-name={name}"
        raise CacheError(
            f"DaemonSet {namespace}/{name} is a node cache already: two would delete each other's files, since the "
            f"folder on the nodes is one, {protocol.DIRECTORY}",
            hint=f"use that one with {place}, or take it away with wasme cache uninstall {place}",
        )


def others(cluster: Cluster, options: CacheOptions) -> list[tuple[str, str]]:
    """Namespace and name of each other cache's DaemonSet, the original's among them; [] where none may be listed."""
    try:
        found = cluster.list(kinds.DAEMON_SET)
    except ClusterForbidden as error:
        log.debug("other caches may not be looked for", extra={"fields": {"reason": error.message}})
        return []
    places = (
        (each["metadata"]["namespace"], each["metadata"]["name"])
        for each in found
        if not each["metadata"].get("deletionTimestamp") and _is_cache(each)
    )
    return sorted(place for place in places if place != (options.namespace, options.name))


def mounts_the_folder(daemon_set: Object) -> bool:
    """Whether its pods see where a cache writes: the original's DaemonSet has no label to know it by."""
    volumes = daemon_set["spec"]["template"]["spec"].get("volumes") or ()
    return any((each.get("hostPath") or {}).get("path", "").rstrip("/") == protocol.DIRECTORY for each in volumes)


def _is_cache(daemon_set: Object) -> bool:
    """Whether it runs agents. What else mounts their folder, to set its labels or to watch it, takes nothing away."""
    if not mounts_the_folder(daemon_set):
        return False
    if protocol.CACHE_LABEL in (daemon_set["metadata"].get("labels") or {}):
        return True
    containers = daemon_set["spec"]["template"]["spec"]["containers"]
    return any((each.get("args") or [""])[0] == "cache" for each in containers)
