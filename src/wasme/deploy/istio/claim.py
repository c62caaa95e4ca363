"""Whether an object that is there under the name that a filter's object would have may be written by us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasme.deploy.cluster import Cluster, kind_of
from wasme.deploy.istio.existing import is_ours
from wasme.deploy.istio.owner import FILTER_DEPLOYMENT, Owner, controller_of
from wasme.deploy.istio.target import WORKLOAD
from wasme.deploy.istio.workloads import KINDS, Workload
from wasme.deploy.stored import require_staying
from wasme.errors import DeployFailed


def require(
    cluster: Cluster, live: dict[str, Any], filter_id: str, workload: Workload | None, owner: Owner | None = None
) -> None:
    """Refuse to write what is somebody else's, another workload's, or about to go.

    Args:
        cluster: where; asked only about a workload of another kind and the same name.
        live: the object as it is now.
        filter_id: the filter that it would carry.
        workload: that it would be for; None with targets.
        owner: whose it becomes; None for nobody's.

    Raises:
        DeployFailed: with the reason.
    """
    _require_ours(live, filter_id, owner)
    require_staying(live)
    if workload is not None:
        _require_same_workload(cluster, live, workload)


def _require_ours(live: dict[str, Any], filter_id: str, owner: Owner | None) -> None:
    """Refuse to take over what only has the name, and what a controller would change back."""
    metadata = live["metadata"]
    shown = kind_of(live).shown(metadata["namespace"], metadata["name"])
    found = controller_of(live)
    if found is not None and not (owner is not None and owner.may_take(found)):
        kind, name = found.get("kind"), found.get("name")
        raise DeployFailed(
            f"{shown} belongs to {kind} {name}, whose controller keeps it as it is",
            hint=f"kubectl edit filterdeployment {name} -n {metadata['namespace']} changes the filter; or take another "
            "--id"
            if kind == FILTER_DEPLOYMENT
            else "change or delete that one, or take another --id",
        )
    if not is_ours(live, filter_id):
        raise DeployFailed(
            f"{shown} is somebody else's: it has no mark of wasme's for the filter {filter_id}",
            hint="take another --id, or delete that object first",
        )


def _require_same_workload(cluster: Cluster, live: Mapping[str, Any], workload: Workload) -> None:
    """Refuse to take the object from a workload of another kind by the same name, as long as that is there."""
    made_for = str((live["metadata"].get("annotations") or {}).get(WORKLOAD, ""))
    if made_for in ("", workload.key):
        return
    word, _, name = made_for.partition("/")
    kind = KINDS.get(word.lower())
    if kind is not None and cluster.get(kind, name, workload.namespace) is not None:
        raise DeployFailed(
            f"{kind_of(live).kind} {workload.namespace}/{live['metadata']['name']} carries the filter for "
            f"{made_for}, and one for {workload.key} would have the same name",
            hint="take another --id for this workload",
        )
