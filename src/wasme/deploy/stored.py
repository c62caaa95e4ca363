"""One object of ours on the API server: whether it is what it should be, and making it so.

What is ours is what we render: in ``metadata`` the labels and annotations we name, in ``spec`` each key we name, whole.
Everything else there is somebody else's and stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.deploy.cluster.ownership import holds
from wasme.errors import DeployFailed

Action = Literal["created", "updated", "unchanged", "deleted"]
Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one object.

    Attributes:
        action: what was done.
        object: as it is stored now; in a client's dry run as it was rendered.
    """

    action: Action
    object: dict[str, Any]


def is_current(live: Object, wanted: Object) -> bool:
    """Whether there is nothing to write: our fields have our values, none of ours is left over from before, and nobody
    has put anything between them."""
    return holds(live, wanted) and not _surplus(live.get("spec"), wanted.get("spec"), top=True)


def require_staying(live: Object) -> None:
    """Refuse to write what is about to go.

    Raises:
        DeployFailed: it is being deleted.
    """
    meta = live["metadata"]
    if meta.get("deletionTimestamp"):
        raise DeployFailed(
            f"{kind_of(live).shown(meta.get('namespace', ''), meta['name'])} is being deleted",
            hint="deploy again when it is gone; what keeps it stands in its metadata.finalizers",
        )


def write(cluster: Cluster, wanted: Object, live: Object | None, *, dry_run: bool = False) -> Written:
    """Make an object be as wanted; nothing is sent where it is so already.

    Args:
        cluster: where.
        wanted: what we render.
        live: what is there now; None for nothing.
        dry_run: the server checks and stores nothing.

    Raises:
        ClusterError: the server did not take it, or keeps something else.
    """
    if live is not None:
        require_staying(live)
    if live is not None and is_current(live, wanted):
        return Written("unchanged", dict(live))
    stored = cluster.apply(wanted, force=True, dry_run=dry_run)
    surplus = _surplus(stored.get("spec"), wanted.get("spec"), top=True)
    if surplus and not dry_run:
        # Keys that somebody else put beside ours in a map of ours, such as a selector: they change what ours means.
        kind, meta = kind_of(wanted), wanted["metadata"]
        stored = cluster.patch(kind, meta["name"], meta.get("namespace", ""), {"spec": surplus})
    if not dry_run and not _has(stored, wanted):
        kind, meta = kind_of(wanted), wanted["metadata"]
        raise DeployFailed(
            f"{kind.shown(meta.get('namespace', ''), meta['name'])} was stored otherwise than it was sent",
            hint="an admission webhook of this cluster changes it: kubectl get mutatingwebhookconfigurations",
        )
    return Written("created" if live is None else "updated", stored)


def _has(live: Object, wanted: Object) -> bool:
    """Whether everything that is wanted is there, in ``spec`` exactly."""
    for part in ("labels", "annotations"):
        there = live["metadata"].get(part) or {}
        if any(there.get(key) != value for key, value in (wanted["metadata"].get(part) or {}).items()):
            return False
    spec = live.get("spec") or {}
    return all(spec.get(key) == value for key, value in (wanted.get("spec") or {}).items())


def _surplus(stored: Any, wanted: Any, *, top: bool = False) -> dict[str, Any]:
    """A merge patch that takes away what is in our maps and lists and not wanted; at the top foreign keys stay."""
    found: dict[str, Any] = {}
    if not isinstance(stored, Mapping) or not isinstance(wanted, Mapping):
        return found
    for key, value in stored.items():
        if key not in wanted:
            if not top:
                found[key] = None
        elif isinstance(wanted[key], list) and value != wanted[key]:
            found[key] = wanted[key]  # a list whose elements are owned one by one
        elif below := _surplus(value, wanted[key]):
            found[key] = below
    return found
