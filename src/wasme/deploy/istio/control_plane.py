"""The mesh's control plane: which Istio it is."""

from __future__ import annotations

import logging

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.istio.proxies import istiod_version, oldest
from wasme.errors import ClusterForbidden

log = logging.getLogger(__name__)

_CURRENT = "taking Istio for a current one"


def version(cluster: Cluster, namespace: str, name: str) -> str:
    """The version of Istio that its control plane says; "" if there is none that may be asked.

    Where no Deployment has that name, those of revisions (``istiod-1-30``) are asked, and the oldest counts: what it
    takes, the others take as well.

    Raises:
        DeployFailed: the Deployment of that name is no istiod.
        ClusterError: it cannot be asked.
    """
    fields = {"namespace": namespace, "name": name}
    try:
        found = cluster.get(DEPLOYMENT, name, namespace)
        candidates = [found] if found else cluster.list(DEPLOYMENT, namespace, labels="app=istiod")
    except ClusterForbidden as error:
        log.warning(f"istiod may not be read, {_CURRENT}", extra={"fields": {**fields, "reason": error.message}})
        return ""
    versions = {istiod_version(each) for each in candidates}
    if not versions:
        log.warning(f"found no istiod, {_CURRENT}; --istiod-name names it", extra={"fields": fields})
    if len(versions) > 1:
        fields["versions"] = " ".join(sorted(versions))
        log.warning("found several istiods, going by the oldest; --istiod-name chooses", extra={"fields": fields})
    return oldest(versions)
