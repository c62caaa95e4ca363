"""Objects as they were before: only what is ours is applied, so that nobody's labels become ours as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.deploy.cluster.ownership import owned_fields
from wasme.deploy.istio.owner import is_filter_deployment
from wasme.deploy.istio.target import MANAGED_BY, MANAGER

Object = dict[str, Any]

_OURS = "wasme.io/"  # what all labels and annotations of ours begin with


def ours_of(obj: Mapping[str, Any]) -> Object:
    """The part of a stored object that we applied, as it would be applied again.

    Of one that we never applied, which the original wrote, it is all of the spec: an apply of ours has changed it.
    """
    owned = owned_fields(obj, MANAGER)
    keys = {each.removeprefix("f:") for each in (owned or {}).get("f:spec", {}) if each.startswith("f:")}
    spec = obj.get("spec") or {}
    return _made(obj, ours=True, spec={key: spec[key] for key in spec if not keys or key in keys})


def remake(cluster: Cluster, obj: Mapping[str, Any]) -> None:
    """Make an object that is gone anew; what was somebody else's in it comes back, and is not held by applies of ours.

    Args:
        cluster: where.
        obj: as it was read.

    Raises:
        ClusterError: the server did not do it.
    """
    mine, all_of_it = ours_of(obj), _made(obj, ours=False, spec=obj.get("spec") or {})
    cluster.apply(mine)
    if mine != all_of_it:
        meta = mine["metadata"]
        change = {"metadata": {key: all_of_it["metadata"][key] for key in _TEXTS}, "spec": all_of_it["spec"]}
        cluster.patch(kind_of(mine), meta["name"], meta["namespace"], change)


_TEXTS = ("labels", "annotations")


def _owns_owners(obj: Mapping[str, Any]) -> bool:
    """Whether an apply of ours said whose the object is."""
    owned = owned_fields(obj, MANAGER)
    return "f:ownerReferences" in (owned or {}).get("f:metadata", {})


def _made(obj: Mapping[str, Any], *, ours: bool, spec: Object) -> Object:
    """Without what only the server writes."""
    meta = obj["metadata"]
    texts = {
        part: {
            key: value
            for key, value in (meta.get(part) or {}).items()
            if not ours or key == MANAGED_BY or key.startswith(_OURS)
        }
        for part in _TEXTS
    }
    named = {"name": meta["name"], "namespace": meta["namespace"], **texts}
    owners = list(meta.get("ownerReferences") or ()) if not ours or _owns_owners(obj) else []
    if owners := [each for each in owners if not ours or is_filter_deployment(each)]:
        named["ownerReferences"] = owners
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": named, "spec": spec}
