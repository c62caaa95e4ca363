"""The one verb of a deployment: make the nodes hold the images, or leave the cluster as it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from wasme.deploy.cache import protocol
from wasme.deploy.cache.gates import wait_for_gates
from wasme.deploy.cache.nodes import Selector, Targets, later_nodes, target_nodes
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import Registration, register
from wasme.deploy.cache.waiting import Tell, wait
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import ClusterError, ClusterForbidden

log = logging.getLogger(__name__)

_MOST_EVENTS = 500


def hold(
    cluster: Cluster,
    options: CacheOptions,
    lines: Sequence[FilterLine],
    selectors: Iterable[Selector],
    timeout: float,
    tell: Tell | None = None,
) -> Registration:
    """Ask for the images of some filters and wait until all nodes that run selected pods hold them.

    After that no pod starts on a node without them. Until then none is kept from starting: a filter that cannot be
    brought to the nodes does no harm to those that run. So nodes to which pods came meanwhile are waited for once the
    gates are closed, in what is left of the time. Whatever ends the wait early, an interruption too, takes back what
    was asked for.

    Args:
        lines: one for each namespace, filter and image.
        selectors: the pods that will load the files.
        timeout: in seconds; 0 does not wait.
        tell: is told how many nodes hold them.

    Raises:
        CacheError: no cache, the time is over, or the image cannot be had.
        ClusterError: the API server did not do it.
    """
    selectors = list(selectors)
    registration = register(cluster, options, lines)
    begun = time.monotonic()
    try:
        targets = target_nodes(cluster, selectors)
        wait(registration, targets, timeout, tell)
        version = registration.activate()
        if version:
            wait_for_gates(registration, version)
        if timeout > 0:
            later = later_nodes(cluster, selectors, targets)
            if later != Targets():
                everywhere = Targets(targets.ready | later.ready, later.not_ready)
                wait(registration, everywhere, timeout, tell, begun=begun)
    except BaseException:
        try:
            registration.undo()
        except ClusterError as error:
            fields = {"cache": options.pair, "reason": error.message}
            log.warning("the cache's ConfigMap still asks for the image", extra={"fields": fields})
        raise
    for ref in registration.new_images:
        clean_up(cluster, options, ref)
    return registration


def clean_up(cluster: Cluster, options: CacheOptions, ref: str) -> None:
    """Delete the Events that the original's agents left about an image: theirs name no node.

    They wrote one for each image and node every two seconds. No more than 500 are deleted; the others go by themselves
    within the hour. That it cannot be done is no reason to fail.
    """
    log.info(f"cleaning up cache events for image {ref}")
    labels = f"{protocol.EVENT_LABEL}={protocol.TRUE},{protocol.IMAGE_LABEL}={protocol.image_label(ref)}"
    try:
        found = cluster.list(kinds.EVENT, options.namespace, labels=labels)
        left = [each for each in found if not (each.get("source") or {}).get("host")]
        for event in left[:_MOST_EVENTS]:
            cluster.delete(kinds.EVENT, event["metadata"]["name"], options.namespace)
    except ClusterError as error:
        # Most clusters never had the original, so a right that is missing for this is worth no warning.
        level = logging.DEBUG if isinstance(error, ClusterForbidden) else logging.WARNING
        log.log(level, "cache events are left", extra={"fields": {"image": ref, "reason": error.message}})
