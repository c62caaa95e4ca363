"""What the nodes' agents told last, as the API server has it."""

from __future__ import annotations

import logging
from typing import Any

from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import NodeStatus
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError

log = logging.getLogger(__name__)

Object = dict[str, Any]


def holdings(cluster: Cluster, options: CacheOptions) -> dict[str, NodeStatus]:
    """What each node told last, by the node's name."""
    found = cluster.list(kinds.CONFIG_MAP, options.namespace, labels=selector(options))
    return {status.node: status for status in map(parse, found) if status is not None}


def selector(options: CacheOptions) -> str:
    """The label selector of the ConfigMaps of a cache's nodes."""
    labels = protocol.status_labels(options.name)
    return ",".join(f"{key}={labels[key]}" for key in (protocol.STATUS_LABEL, protocol.CACHE_LABEL))


def parse(obj: Object) -> NodeStatus | None:
    """The status in a node's ConfigMap; None, with a warning, where it cannot be read."""
    metadata = obj["metadata"]
    try:
        text = (obj.get("data") or {}).get(protocol.STATUS_KEY, "")
        return protocol.decode_status(text, f"ConfigMap {metadata.get('namespace')}/{metadata['name']}")
    except CacheError as error:
        log.warning("a node's status cannot be read", extra={"fields": {"reason": error.message}})
        return None


def reached(observed: str, version: str) -> bool:
    """Whether one resourceVersion is another or a later one; servers count upwards, whatever else they might do."""
    if observed.isdecimal() and version.isdecimal():
        return int(observed) >= int(version)
    return observed == version
