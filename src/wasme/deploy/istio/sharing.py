"""The Secret by which Istio's agent pulls a filter's image as whoever deployed it (``--share-credentials``).

It lies beside the object that names it, one for each filter and namespace, and goes with the filter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from wasme.deploy.cache.secrets import entry_for, pull_secret
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import SECRET
from wasme.deploy.istio.target import FILTER_LABEL, MANAGED_BY, MANAGER, filter_label
from wasme.errors import ClusterForbidden
from wasme.registry.auth import Credential

log = logging.getLogger(__name__)


def secret_name(filter_id: str) -> str:
    """The Secret's name."""
    return f"wasme-pull-{filter_label(filter_id)}"


def share(cluster: Cluster, filter_id: str, namespaces: Iterable[str], host: str, credential: Credential) -> None:
    """Put a credential beside the filter; nothing is sent where it is there already.

    Args:
        cluster: where.
        filter_id: the filter.
        namespaces: of the objects that name the Secret.
        host: HOST[:PORT] that the image is pulled from.
        credential: who to be there.

    Raises:
        ClusterError: the API server did not do it.
    """
    for namespace in namespaces:
        wanted = pull_secret(secret_name(filter_id), namespace, host, entry_for(credential), _labels(filter_id))
        live = cluster.get(SECRET, secret_name(filter_id), namespace)
        if live is None or live.get("data") != wanted["data"]:
            cluster.apply(wanted)


def take_back(cluster: Cluster, filter_id: str, namespaces: Iterable[str]) -> None:
    """Delete the filter's Secrets; that one may not look for them is told."""
    selector = ",".join(f"{key}={value}" for key, value in _labels(filter_id).items())
    for namespace in namespaces:
        try:
            for found in cluster.list(SECRET, namespace, labels=selector):
                metadata = found["metadata"]
                cluster.delete(SECRET, metadata["name"], namespace, uid=metadata["uid"])
        except ClusterForbidden as error:
            fields = {"namespace": namespace, "reason": error.message}
            log.warning("a pull secret of the filter may be left", extra={"fields": fields})


def _labels(filter_id: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, FILTER_LABEL: filter_label(filter_id)}
