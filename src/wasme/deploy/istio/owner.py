"""Whose an object is: the FilterDeployment that an operator makes it for, as its ``ownerReferences`` say.

Kubernetes deletes what belongs to somebody who is gone. An object has one owner at most that controls it, which the
API server sees to; others may be named beside it
(https://kubernetes.io/docs/concepts/architecture/garbage-collection/#owners-dependents).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wasme.deploy.cluster import Cluster, kind_of

API_VERSION = "wasme.io/v1"
FILTER_DEPLOYMENT = "FilterDeployment"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """A FilterDeployment whose filter is deployed.

    Attributes:
        name, uid: of it; it lies in the namespace of all that it owns.
        lives: whether the FilterDeployment with some uid is there. One that is not owns nothing any more, though the
            object may still say so.
    """

    name: str
    uid: str
    lives: Callable[[str], bool] = lambda _: True

    @property
    def reference(self) -> Object:
        """As it stands in ``ownerReferences``; nobody waits for the object when the owner is deleted."""
        return {
            "apiVersion": API_VERSION,
            "kind": FILTER_DEPLOYMENT,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
        }

    def owning(self, carrier: Object) -> Object:
        """A rendered object as this one's."""
        return {**carrier, "metadata": {**carrier["metadata"], "ownerReferences": [self.reference]}}

    def may_take(self, controller: Mapping[str, Any]) -> bool:
        """Whether an object that this controls is, or may become, this one's."""
        if not is_filter_deployment(controller):
            return False
        uid = str(controller.get("uid", ""))
        return uid == self.uid or not self.lives(uid)

    def freed(self, cluster: Cluster, live: Object) -> Object:
        """An object that no FilterDeployment that is gone controls any more; nothing is sent where none does.

        Raises:
            ClusterError: the server did not do it; Conflict where somebody changed the object meanwhile.
        """
        found = controller_of(live)
        if found is None or found.get("uid") == self.uid:
            return live
        meta = live["metadata"]
        others = [each for each in meta["ownerReferences"] if not each.get("controller")]
        guarded = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        change = {"metadata": {**guarded, "ownerReferences": [*others, self.reference]}}
        return cluster.patch(kind_of(live), meta["name"], meta["namespace"], change)


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner that controls an object; None for none."""
    found: Mapping[str, Any] | None = next(
        (each for each in obj["metadata"].get("ownerReferences") or () if each.get("controller")), None
    )
    return found


def is_filter_deployment(owner: Mapping[str, Any]) -> bool:
    """Whether an owner is a FilterDeployment, of whatever version."""
    group = str(owner.get("apiVersion", "")).partition("/")[0]
    return owner.get("kind") == FILTER_DEPLOYMENT and group == "wasme.io"


def filter_deployment_of(obj: Mapping[str, Any]) -> str:
    """The name of the FilterDeployment that controls an object; "" for none."""
    found = controller_of(obj)
    return str(found.get("name", "")) if found is not None and is_filter_deployment(found) else ""
