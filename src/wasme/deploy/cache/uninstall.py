"""Taking the cache away: the objects that installing made, and nothing of anybody else's.

The modules stay on the nodes, with the markers: pods whose proxies load them go on, and start again after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from wasme.deploy.cache import protocol, secrets
from wasme.deploy.cache.ensure import is_ours, release_of
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.telling import doing, listed
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kinds import Kind
from wasme.errors import CacheError, ClusterError, Conflict

log = logging.getLogger(__name__)

# The agents first, so that they write nothing into what goes next.
_KINDS = (
    kinds.DAEMON_SET,
    kinds.ROLE_BINDING,
    kinds.ROLE,
    kinds.SERVICE_ACCOUNT,
    kinds.CONFIG_MAP,
)
# What shows that a namespace is used; more of these than what every namespace has keeps it.
_INHABITANTS = (
    # Owners before what they own.
    kinds.DEPLOYMENT,
    kinds.DAEMON_SET,
    kinds.STATEFUL_SET,
    kinds.REPLICA_SET,
    kinds.JOB,
    kinds.POD,
    kinds.CONFIG_MAP,
    kinds.SECRET,
    kinds.SERVICE,
    kinds.SERVICE_ACCOUNT,
    kinds.ROLE,
    kinds.ROLE_BINDING,
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
)
_OF_EVERY_NAMESPACE = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Doomed:
    """One object that goes.

    Attributes:
        kind: of it.
        name: of it.
        namespace: of it; "" for the namespace itself.
        uid: of it, so that no other object of that name goes in its place.
    """

    kind: Kind
    name: str
    namespace: str
    uid: str

    def __str__(self) -> str:
        return self.kind.shown(self.namespace, self.name)


def plan(
    cluster: Cluster, options: CacheOptions, *, force: bool = False, besides: Sequence[Doomed] = ()
) -> list[Doomed]:
    """What an uninstallation deletes, in order; nothing is touched.

    Args:
        force: although filters still load their modules from the nodes.
        besides: what goes anyway, so that it keeps no namespace.

    Raises:
        CacheError: filters are still deployed, or it belongs to a release of Helm's.
        ClusterError: the API server did not answer.
    """
    with doing("uninstalling the cache"):
        daemon_set = cluster.get(kinds.DAEMON_SET, options.name, options.namespace)
        if daemon_set is not None and (release := release_of(daemon_set)):
            raise CacheError(
                f"the cache {options.shown} belongs to Helm's release {release}",
                hint=f"helm uninstall {release} takes it away",
            )
        config_map = cluster.get(kinds.CONFIG_MAP, options.name, options.namespace)
        data = (config_map or {}).get("data") or {}
        used = sorted({f"{line.namespace}/{line.id}" for line in protocol.parse_wanted(data).filters})
        if used and not force:
            raise CacheError(
                f"{len(used)} filter{'s' * (len(used) > 1)} still load{'s' * (len(used) == 1)} modules from it: "
                f"{listed(used)}",
                hint="wasme undeploy istio --id ID -n NAMESPACE first, or --force: what runs goes on, nothing new "
                "comes to the nodes",
            )
        doomed = list(_objects(cluster, options, known=protocol.IMAGES in data))
        return doomed + _namespace(cluster, options, [*besides, *doomed])


def uninstall(cluster: Cluster, doomed: Sequence[Doomed], what: str = "the cache") -> None:
    """Delete what was planned; what is gone already is passed over.

    Args:
        what: goes, for errors.

    Raises:
        ClusterError: the API server did not do it; running it again goes on.
    """
    for each in doomed:
        with doing(f"uninstalling {what}"):
            try:
                gone = not cluster.delete(each.kind, each.name, each.namespace, uid=each.uid)
            except Conflict:
                log.warning("somebody made it anew meanwhile, so it stays", extra={"fields": {"object": str(each)}})
                continue
        log.info("already gone" if gone else "deleted", extra={"fields": {"object": str(each)}})


def _objects(cluster: Cluster, options: CacheOptions, *, known: bool) -> Iterator[Doomed]:
    """The cache's own objects.

    Args:
        known: the ConfigMap is a cache's, so objects of its name without our labels are the original's.
    """
    for kind in _KINDS:
        found = cluster.get(kind, options.name, options.namespace)
        if found is None:
            continue
        if is_ours(found) or known:
            yield doom(kind, found)
        else:
            fields = {"object": kind.shown(options.namespace, options.name)}
            log.warning("not made by wasme, so it stays", extra={"fields": fields})
    for kind, labels in (
        (kinds.CONFIG_MAP, protocol.status_labels(options.name)),
        (kinds.SECRET, secrets.labels_of(options)),
    ):
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        for each in cluster.list(kind, options.namespace, labels=selector):
            yield doom(kind, each)


def _namespace(cluster: Cluster, options: CacheOptions, doomed: list[Doomed]) -> list[Doomed]:
    """The namespace, if installing made it and nothing else lives there."""
    found = cluster.get(kinds.NAMESPACE, options.namespace)
    if found is None or not is_ours(found) or found["metadata"].get("deletionTimestamp"):
        return []
    going = {each.uid for each in doomed}
    others = []
    try:
        for kind in [*_INHABITANTS, *_custom(cluster)]:
            for metadata in (each["metadata"] for each in cluster.list(kind, options.namespace)):
                if any(owner.get("uid") in going for owner in metadata.get("ownerReferences") or ()):
                    going.add(metadata["uid"])
                elif metadata["uid"] not in going and (kind.kind, metadata["name"]) not in _OF_EVERY_NAMESPACE:
                    others.append(kind.shown(name=metadata["name"]))
    except ClusterError as error:
        log.warning("namespace stays", extra={"fields": {"namespace": options.namespace, "reason": error.message}})
        return []
    if others:
        fields = {"namespace": options.namespace, "reason": f"it also has {listed(others, 5)}"}
        log.warning("namespace stays", extra={"fields": fields})
        return []
    return [doom(kinds.NAMESPACE, found)]


def _custom(cluster: Cluster) -> Iterator[Kind]:
    """The namespaced kinds of all CRDs, in the version that is stored."""
    for crd in cluster.list(kinds.CRD):
        spec = crd["spec"]
        served = [each["name"] for each in spec["versions"] if each.get("served")]
        if spec["scope"] == "Namespaced" and served:
            yield Kind(spec["group"], served[0], spec["names"]["kind"], spec["names"]["plural"])


def doom(kind: Kind, obj: Object) -> Doomed:
    """An object as one that goes."""
    metadata = obj["metadata"]
    return Doomed(kind, metadata["name"], metadata.get("namespace", ""), metadata["uid"])
