"""Closing the gates: the nodes that do not hold a module start no pods any more that would need it.

A node's gate is the marker that its agent writes, and takes away when it reads that a filter is no longer pending whose
module it does not hold. The filter's object must not appear before that.
"""

from __future__ import annotations

import logging
from typing import Any

from wasme.deploy.cache import statuses
from wasme.deploy.cache.nodes import ready_among
from wasme.deploy.cache.registration import Registration
from wasme.deploy.cache.telling import listed
from wasme.deploy.cluster import kinds
from wasme.errors import ClusterForbidden

log = logging.getLogger(__name__)

_GATES, _SLOW_GATES = 1.0, 5.0
"""Seconds for all nodes to read what they should close their gate for; and for those that should answer and did not."""

Object = dict[str, Any]


def wait_for_gates(registration: Registration, version: str) -> None:
    """Wait, for a moment only, until the nodes without the modules let no pods start that need them.

    Those that hold them have nothing to do. Those that do not answer at once are asked after: nodes that are gone, or
    not ready, are not waited for. Where nodes may not be read, each one counts as ready.

    Args:
        version: resourceVersion of the ConfigMap from which on the modules are needed.
    """
    cluster, options = registration.cluster, registration.options
    behind: dict[str, str] = {}

    def see(change: str, obj: Object) -> None:
        status = statuses.parse(obj) if change != "DELETED" else None
        name = obj["metadata"]["name"]
        behind.pop(name, None)
        if status is None or statuses.reached(status.observed, version):
            return
        if not all(status.holds(line.module) for line in registration.lines):
            behind[name] = status.node

    listing = cluster.listing(kinds.CONFIG_MAP, options.namespace, labels=statuses.selector(options))
    since = listing.resource_version
    for each in listing.items:
        see("ADDED", each)
    for seconds in (_GATES, _SLOW_GATES):
        if not behind:
            return
        changes = cluster.watch(
            kinds.CONFIG_MAP, options.namespace, labels=statuses.selector(options), since=since, seconds=seconds
        )
        for change, obj in changes:
            since = obj["metadata"].get("resourceVersion", since)
            see(change, obj)
            if not behind:
                return
        try:
            ready = ready_among(cluster, set(behind.values()))
        except ClusterForbidden:  # so any of them may run pods
            ready = frozenset(behind.values())
        behind = {name: node for name, node in behind.items() if node in ready}
    if behind:
        fields = {"nodes": listed(behind.values())}
        log.warning("nodes do not answer: pods may start there before the image is there", extra={"fields": fields})
