"""The Secret by which Istio's agent pulls a filter's image as whoever deployed it (``--share-credentials``).

It lies beside the objects that name it, one for each filter and namespace, and belongs to them: so it goes with the
last of them, whoever deletes that, by the cluster's garbage collector.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from wasme.deploy.cache.secrets import entry_for, pull_secret
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import SECRET
from wasme.deploy.istio.existing import Carrier, read, served_kinds, texts
from wasme.deploy.istio.target import FILTER_LABEL, MANAGED_BY, MANAGER, filter_label
from wasme.errors import ClusterError, ClusterForbidden
from wasme.registry.auth import Credential

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A Secret that was deleted."""

    namespace: str
    name: str


def secret_name(filter_id: str) -> str:
    """The Secret's name."""
    return f"wasme-pull-{filter_label(filter_id)}"


def share(
    cluster: Cluster,
    filter_id: str,
    namespaces: Iterable[str],
    host: str,
    credential: Credential,
    staying: Collection[str] = (),
) -> None:
    """Put a credential beside the filter; nothing is sent where it is there already.

    Args:
        cluster: where.
        filter_id: the filter.
        namespaces: of the objects that name the Secret.
        host: HOST[:PORT] that the image is pulled from.
        credential: who to be there.
        staying: uids of objects that are not replaced. A Secret that belongs to another belongs to none until
            ``settle_quietly``: else it would go with what is replaced.

    Raises:
        ClusterError: the API server did not do it.
    """
    for namespace in namespaces:
        wanted = pull_secret(secret_name(filter_id), namespace, host, entry_for(credential), _labels(filter_id))
        live = cluster.get(SECRET, secret_name(filter_id), namespace)
        if live is None or live.get("data") != wanted["data"] or not _owners(live) <= set(staying):
            cluster.apply(wanted)


def shared(cluster: Cluster, filter_id: str, namespace: str, *, hinted: bool = False) -> list[dict[str, Any]]:
    """The filter's Secrets of a namespace, whatever became of the objects that named them.

    Args:
        cluster: where.
        filter_id: the filter.
        namespace: where in it.
        hinted: there is reason to believe that there is one, so that not being allowed to look is told.
    """
    try:
        # By its name: who may list Secrets may read all of them.
        found = cluster.get(SECRET, secret_name(filter_id), namespace)
    except ClusterForbidden as error:
        fields = {"namespace": namespace, "reason": error.message}
        log.log(
            logging.WARNING if hinted else logging.DEBUG,
            "a pull secret of the filter may be left",
            extra={"fields": fields},
        )
        return []
    labels = ((found or {}).get("metadata") or {}).get("labels") or {}
    return [found] if found is not None and labels.items() >= _labels(filter_id).items() else []


def is_needed(carriers: Iterable[Carrier], namespace: str, filter_id: str) -> bool:
    """Whether one of the filter's objects in a namespace names its Secret."""
    name = secret_name(filter_id)
    return any(each.namespace == namespace and name in texts(each.object.get("spec")) for each in carriers)


def take_back(cluster: Cluster, filter_id: str, namespaces: Iterable[str], *, hinted: bool = False) -> list[Taken]:
    """Delete the filter's Secrets where no object names them now; the objects are read only where there is one.

    Args:
        cluster: where.
        filter_id: the filter.
        namespaces: where in it.
        hinted: as for ``shared``.

    Returns:
        Namespace and name of each that was deleted.

    Raises:
        ClusterError: the API server did not do it.
    """
    taken: list[Taken] = []
    for namespace in namespaces:
        found = shared(cluster, filter_id, namespace, hinted=hinted)
        if not found or is_needed(_carriers(cluster, filter_id, namespace), namespace, filter_id):
            continue
        for each in found:
            metadata = each["metadata"]
            try:
                cluster.delete(SECRET, metadata["name"], namespace, uid=metadata["uid"])
            except ClusterForbidden as error:
                fields = {"namespace": namespace, "secret": metadata["name"], "reason": error.message}
                log.warning("a pull secret of the filter is left", extra={"fields": fields})
            else:
                taken.append(Taken(namespace, metadata["name"]))
    return taken


def settle_quietly(cluster: Cluster, filter_id: str, namespaces: Iterable[str], *, hinted: bool = False) -> None:
    """Delete the filter's Secrets that no object names now, and let the others belong to those that do.

    What the API server does not do is told: something else failed before, or all else is done. Takes what ``take_back``
    takes.
    """
    try:
        for namespace in namespaces:
            for each in shared(cluster, filter_id, namespace, hinted=hinted):
                carriers = _carriers(cluster, filter_id, namespace)
                users = [one for one in carriers if is_needed([one], namespace, filter_id)]
                if users:
                    _belong(cluster, each, users)
                else:
                    take_back(cluster, filter_id, [namespace], hinted=hinted)
    except ClusterError as error:
        fields = {"filter": filter_id, "reason": error.message}
        log.warning("a pull secret of the filter may be left", extra={"fields": fields})


def _belong(cluster: Cluster, secret: Mapping[str, Any], users: Iterable[Carrier]) -> None:
    """Let a Secret belong to the objects that name it, and to no other; nothing is sent where it does."""
    owners = {
        each.uid: {"apiVersion": each.object["apiVersion"], "kind": each.kind.kind, "name": each.name, "uid": each.uid}
        for each in users
    }
    if _owners(secret) == set(owners):
        return
    metadata = {key: secret["metadata"][key] for key in ("name", "namespace", "labels")}
    kept = {key: secret[key] for key in ("apiVersion", "kind", "type", "data") if key in secret}
    cluster.apply({**kept, "metadata": {**metadata, "ownerReferences": [owners[uid] for uid in sorted(owners)]}})


def _owners(secret: Mapping[str, Any]) -> set[str]:
    return {str(each.get("uid")) for each in secret["metadata"].get("ownerReferences") or ()}


def _carriers(cluster: Cluster, filter_id: str, namespace: str) -> list[Carrier]:
    return read(cluster, [namespace], served_kinds(cluster).values()).of_filter(filter_id)


def _labels(filter_id: str) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, FILTER_LABEL: filter_label(filter_id)}
