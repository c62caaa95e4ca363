"""What the nodes' agents told last, as the API server has it."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import NodeStatus
from wasme.deploy.cache.telling import listed
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, ClusterError, ClusterForbidden, Conflict

log = logging.getLogger(__name__)

_SOME = 20  # nodes that a deployment asks for

Object = dict[str, Any]


def holdings(cluster: Cluster, options: CacheOptions) -> dict[str, NodeStatus]:
    """What each node told last, by the node's name."""
    return {node: status for node, (status, _) in _told(cluster, options).items()}


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


def forget_gone(cluster: Cluster, options: CacheOptions) -> list[str]:
    """Delete what nodes told that are not there any more; their names. Where nodes may not be listed, none is gone.

    Raises:
        ClusterError: the API server did not do it.
    """
    try:
        # First what was told: a node that joins in between is then among the nodes.
        told = _told(cluster, options)
        there = {node["metadata"]["name"] for node in cluster.list(kinds.NODE)}
    except ClusterForbidden:
        return []
    return _forget(cluster, options, {node: obj for node, (_, obj) in told.items() if node not in there})


def forget_some(cluster: Cluster, options: CacheOptions) -> None:
    """As ``forget_gone``, for the beginning of a deployment: few requests, and no error.

    Agents that run follow the cache's ConfigMap, so only nodes are asked for whose agent is behind the others.
    """
    try:
        told = _told(cluster, options)
        newest = max((status.observed for status, _ in told.values()), key=_number, default="")
        behind = [node for node, (status, _) in told.items() if not reached(status.observed, newest)]
        some = random.sample(behind, min(_SOME, len(behind)))
        gone = {node: told[node][1] for node in some if cluster.get(kinds.NODE, node) is None}
        _forget(cluster, options, gone)
    except ClusterError as error:
        log.debug("nodes that are gone are left", extra={"fields": {"cache": options.shown, "reason": error.message}})


def _told(cluster: Cluster, options: CacheOptions) -> dict[str, tuple[NodeStatus, Object]]:
    """What each node told last and the object that says it, by the node's name."""
    found = cluster.list(kinds.CONFIG_MAP, options.namespace, labels=selector(options))
    parsed = ((parse(obj), obj) for obj in found)
    return {status.node: (status, obj) for status, obj in parsed if status is not None}


def _forget(cluster: Cluster, options: CacheOptions, gone: Mapping[str, Object]) -> list[str]:
    forgotten = []
    for node, obj in sorted(gone.items()):
        metadata = obj["metadata"]
        version = metadata["resourceVersion"]
        try:
            cluster.delete(
                kinds.CONFIG_MAP, metadata["name"], options.namespace, uid=metadata["uid"], resource_version=version
            )
        except Conflict:  # it has told something since, so it is back
            continue
        forgotten.append(node)
    if forgotten:
        fields = {"cache": options.shown, "nodes": listed(forgotten)}
        log.info("forgot nodes that are gone", extra={"fields": fields})
    return forgotten


def _number(version: str) -> int:
    return int(version) if version.isdecimal() else 0
