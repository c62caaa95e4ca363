"""Taking the operator away: filters first, then itself, its rights and the cache; the definition only when told.

A FilterDeployment that is deleted while no operator runs would wait for ever, since only an operator takes away what it
made. So an operator runs here meanwhile, a candidate for the same lease: where the cluster's own works, this one
stands by; where none does, it does the work. The definition stays by default: it harms nothing, and deleting it deletes
every FilterDeployment of the cluster.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wasme.deploy.cache import uninstall as cache_uninstall
from wasme.deploy.cache.ensure import is_ours, release_of
from wasme.deploy.cache.telling import listed
from wasme.deploy.cache.uninstall import Doomed, doom
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kinds import Kind
from wasme.errors import CacheError, Conflict, NotServed, OperatorError, WasmeError
from wasme.operator import names
from wasme.operator.installation import manifests, takeover
from wasme.operator.installation.manifests import OperatorOptions
from wasme.operator.resources.wanted import Key

log = logging.getLogger(__name__)

_CACHE = (kinds.DAEMON_SET, kinds.CONFIG_MAP)
"""What shows the node cache of an operator that is gone."""
_STAYS = (
    "what it made may stay: annotations and volumes of pod templates, lines of the cache's ConfigMap, entries of "
    "gateways; wasme undeploy takes them away by the filter's id"
)

Object = dict[str, Any]


def filters(cluster: Cluster) -> list[Key]:
    """The FilterDeployments of the cluster; none where it does not know the kind."""
    try:
        found = cluster.list(kinds.FILTER_DEPLOYMENT)
    except NotServed:
        return []
    return sorted(Key(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found)


def require_decided(keys: list[Key], decision: str, *, crds: bool) -> None:
    """Refuse to choose between somebody's filters and their absence.

    Args:
        keys: the FilterDeployments that there are.
        decision: ``delete``, ``keep`` or "".
        crds: whether the definition is to go.

    Raises:
        OperatorError: there are some, and nobody said what becomes of them.
    """
    if not keys:
        return
    number = _number(keys)
    if not decision:
        raise OperatorError(
            f"{number} in the cluster: {listed(map(str, keys))}",
            hint="--filters=delete takes their filters out of the proxies first; --filters=keep leaves everything as "
            "it is, and nobody looks after it any more",
        )
    if crds and decision == "keep":
        raise OperatorError(
            f"{number} in the cluster, and would go with the definition: {listed(map(str, keys))}",
            hint="leave --crds away, or say --filters=delete",
        )


def _number(keys: list[Key]) -> str:
    return "1 FilterDeployment is" if len(keys) == 1 else f"{len(keys)} FilterDeployments are"


def drain(cluster: Cluster, *, delete: bool, seconds: float) -> list[Key]:
    """Have no FilterDeployment in the cluster, while the operator still runs that takes away what they made.

    Args:
        delete: them; else any of them is an error.
        seconds: to wait until the operator has cleaned all.

    Returns:
        Those that were deleted.

    Raises:
        OperatorError: there are some, or some were not cleaned in time.
        ClusterError: the API server did not do it.
    """
    keys = filters(cluster)
    if keys and not delete:
        raise OperatorError(
            f"{_number(keys)} in the cluster, which nobody would clean up after: {listed(map(str, keys))}",
            hint="kubectl delete filterdeployments --all --all-namespaces, while the operator still runs",
        )
    _delete(cluster, keys)
    left = _wait_gone(cluster, set(keys), seconds) if keys else []
    if left:
        raise OperatorError(
            f"{len(left)} of {len(keys)} FilterDeployments are not cleaned after {seconds:g} s: {_reasons(left)}",
            hint="run it again to go on; kubectl describe filterdeployment tells what keeps one",
        )
    return keys


def _delete(cluster: Cluster, keys: list[Key]) -> None:
    for key in keys:
        log.info("deleting filter deployment", extra={"fields": {"name": str(key)}})
        cluster.delete(kinds.FILTER_DEPLOYMENT, key.name, key.namespace)


def require_place(cluster: Cluster, options: OperatorOptions) -> None:
    """Refuse to delete filters from a place that is not the operator's; nothing is changed.

    Raises:
        OperatorError: an operator is in another namespace, it is Helm's, or nothing of one is here.
        ClusterForbidden: whether another namespace has one cannot be seen.
    """
    takeover.require_alone(cluster, options, certain=True)
    here = [(kind, found) for kind, found in _found(cluster, options) if kind.namespaced]
    if here or any(cluster.get(kind, options.cache.name, options.namespace) for kind in _CACHE):
        return
    raise OperatorError(
        f"nothing of an operator is in {options.namespace}",
        hint="--namespace says where it was; where nothing of it is left, wasme operator install brings a new one",
    )


def delete_filters(
    cluster: Cluster, options: OperatorOptions, keys: list[Key], *, seconds: float, force: bool = False
) -> None:
    """Delete FilterDeployments, and wait until what they made is gone.

    Args:
        seconds: to wait for all of them.
        force: what is left then loses its finalizer, and goes with something of it left behind.

    Raises:
        OperatorError: some were not cleaned in time.
        ClusterError: the API server did not do it.
    """
    _delete(cluster, keys)
    with cleaning(cluster, options):
        left = _wait_gone(cluster, set(keys), seconds)
    if left and not force:
        raise OperatorError(
            f"{len(left)} of {len(keys)} FilterDeployments are not cleaned after {seconds:g} s: {_reasons(left)}",
            hint="run it again to go on, or with --force to let them go as they are",
        )
    for obj in left:
        _strip(cluster, obj)


@contextmanager
def cleaning(cluster: Cluster, options: OperatorOptions) -> Iterator[None]:
    """An operator of our own, which works where nobody else holds the lease; it ends with the block."""
    from wasme.operator.options import Options

    try:
        from wasme.operator.daemon import Operator
    except ModuleNotFoundError as error:
        fields = {"reason": f"{error.name} is not installed: pip install 'wasme[operator]'"}
        log.warning("no operator can run here, so the cluster's own must clean", extra={"fields": fields})
        yield
        return

    place = Options(
        namespace=options.namespace,
        cache_namespace=options.namespace,
        cache_name=options.cache.name,
        port=0,
    )
    stop = threading.Event()

    def run() -> None:
        try:
            Operator(cluster, place).run(stop)
        except WasmeError as error:
            fields = {"reason": error.message}
            log.warning("no operator can run here, so the cluster's own must clean", extra={"fields": fields})

    thread = threading.Thread(target=run, name="cleaning", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30.0)


def _wait_gone(cluster: Cluster, keys: set[Key], seconds: float) -> list[Object]:
    """Those of some that are still there after a time."""
    until = time.monotonic() + seconds
    while True:
        left = [
            each
            for each in cluster.list(kinds.FILTER_DEPLOYMENT)
            if Key(each["metadata"]["namespace"], each["metadata"]["name"]) in keys
            and each["metadata"].get("deletionTimestamp")
        ]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.3)


def _reasons(left: list[Object]) -> str:
    def told(obj: Object) -> str:
        reason = " ".join(str((obj.get("status") or {}).get("reason") or "").split())[:200]
        name = f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"
        return f"{name} ({reason})" if reason else name

    return listed(map(told, left), 5)


def _strip(cluster: Cluster, obj: Object) -> None:
    metadata = obj["metadata"]
    rest = [each for each in metadata.get("finalizers") or () if each != names.FINALIZER]
    change = {"metadata": {"resourceVersion": metadata["resourceVersion"], "finalizers": rest}}
    fields = {"name": f"{metadata['namespace']}/{metadata['name']}", "reason": _STAYS}
    try:
        cluster.patch(kinds.FILTER_DEPLOYMENT, metadata["name"], metadata["namespace"], change)
    except Conflict:  # somebody is cleaning it at this moment
        log.warning("changed meanwhile, and stays", extra={"fields": fields})
        return
    log.warning("filter deployment went without being cleaned", extra={"fields": fields})


def plan(cluster: Cluster, options: OperatorOptions, *, crds: bool = False) -> list[Doomed]:
    """What goes, in order, FilterDeployments apart; nothing is touched.

    Args:
        crds: the definition, too.

    Raises:
        OperatorError: it belongs to a release of Helm's, or an operator is in another namespace.
        ClusterForbidden: whether another namespace has one cannot be seen.
    """
    takeover.require_alone(cluster, options, certain=True)
    own = list(_objects(cluster, options))
    try:
        cache = cache_uninstall.plan(cluster, options.cache, besides=own)
    except CacheError as error:
        log.warning("the node cache stays", extra={"fields": {"cache": options.cache.shown, "reason": error.message}})
        cache = []
    definition = cluster.get(kinds.CRD, kinds.FILTER_DEPLOYMENT.resource) if crds else None
    return [*own, *([doom(kinds.CRD, definition)] if definition else []), *cache]


def uninstall(cluster: Cluster, options: OperatorOptions, doomed: list[Doomed]) -> None:
    """Delete what was planned; what is gone already is passed over.

    Raises:
        ClusterError: the API server did not do it; running it again goes on.
    """
    for each in doomed:
        cache_uninstall.uninstall(cluster, [each], "the operator")
        if each.kind == kinds.DEPLOYMENT:
            # It must not write into what goes next, nor make its lease anew.
            takeover.wait_gone(cluster, options.namespace, 40.0)


def _objects(cluster: Cluster, options: OperatorOptions) -> Iterator[Doomed]:
    """The operator's own objects, ours or the original's: itself first, then what it may do."""
    for kind, found in _found(cluster, options):
        metadata = found["metadata"]
        if kind == kinds.LEASE or is_ours(found) or (metadata.get("labels") or {}).get("app") == metadata["name"]:
            yield doom(kind, found)
        else:
            fields = {"object": kind.shown(metadata.get("namespace", ""), metadata["name"])}
            log.warning("not made by wasme, so it stays", extra={"fields": fields})


def _found(cluster: Cluster, options: OperatorOptions) -> Iterator[tuple[Kind, Object]]:
    """What there is by the operator's names, whoever made it; but for rights that another namespace's accounts have.

    Raises:
        OperatorError: some of it belongs to a release of Helm's.
    """
    name, namespace, cache = manifests.NAME, options.namespace, options.cache.name
    for kind, called in (
        (kinds.DEPLOYMENT, name),
        (kinds.POD_DISRUPTION_BUDGET, name),
        (kinds.LEASE, names.LEASE),
        (kinds.ROLE_BINDING, name),
        (kinds.ROLE, name),
        (kinds.CLUSTER_ROLE_BINDING, name),
        (kinds.CLUSTER_ROLE, name),
        (kinds.SERVICE_ACCOUNT, name),
        (kinds.CLUSTER_ROLE_BINDING, cache),
        (kinds.CLUSTER_ROLE, cache),
    ):
        where = namespace if kind.namespaced else ""
        found = cluster.get(kind, called, where)
        if found is None or (not kind.namespaced and _is_bound_elsewhere(cluster, called, namespace)):
            continue
        if release := release_of(found):
            raise OperatorError(
                f"{kind.shown(where, called)} belongs to Helm's release {release}",
                hint=f"helm uninstall {release} takes it away",
            )
        yield kind, found


def _is_bound_elsewhere(cluster: Cluster, name: str, namespace: str) -> bool:
    """Whether a ClusterRole is that of another namespace's account."""
    subjects = (cluster.get(kinds.CLUSTER_ROLE_BINDING, name) or {}).get("subjects") or ()
    places = {each.get("namespace") for each in subjects if each.get("kind") == "ServiceAccount"}
    return bool(places) and namespace not in places
