"""Whether whoever runs the command may write what it is about to write: asked before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wasme.deploy.cluster import Cluster, Kind, parallel
from wasme.deploy.cluster.kinds import ACCESS_REVIEW
from wasme.errors import ClusterError, ClusterForbidden


class Right(NamedTuple):
    """One right.

    Attributes:
        verb: such as ``patch``.
        kind: of the objects.
        namespace: where.
    """

    verb: str
    kind: Kind
    namespace: str

    def __str__(self) -> str:
        """``patch envoyfilters.networking.istio.io in bookinfo``."""
        return f"{self.verb} {self.kind.resource} in {self.namespace}"


def require(cluster: Cluster, rights: Iterable[Right]) -> None:
    """Refuse to begin what would be forbidden half-way.

    An API server that does not say counts as one that allows it: the write itself is judged anyway.

    Raises:
        ClusterForbidden: names every right that is missing.
    """
    asked = sorted(set(rights), key=str)
    missing = [each.item for each in parallel(lambda right: _denied(cluster, right), asked) if each.result]
    if missing:
        by_resource = sorted({(each.kind.resource, each.verb, each.namespace) for each in missing})
        resource, verb, namespace = by_resource[0]
        raise ClusterForbidden(
            f"these rights are missing, and nothing was written: {', '.join(map(str, missing))}",
            hint=f"an administrator grants them, such as: kubectl -n {namespace} create role wasme --verb={verb} "
            f"--resource={resource}, and a binding of it",
        )


def _denied(cluster: Cluster, right: Right) -> bool:
    attributes = {"verb": right.verb, "group": right.kind.group, "resource": right.kind.plural,
                  "namespace": right.namespace}  # fmt: skip
    review = {
        "apiVersion": ACCESS_REVIEW.api_version,
        "kind": ACCESS_REVIEW.kind,
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    try:
        status = cluster.create(review).get("status") or {}
    except ClusterError:
        return False
    return status.get("allowed") is False
