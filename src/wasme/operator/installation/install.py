"""Installing the operator: each object is read, and written only where it is not as it should be.

First the definition of FilterDeployment, then the node cache as ``deploy.cache.ensure`` has it, then the operator's
account and rights, then its Deployment. Running it again changes nothing; running it after an install of the original's
takes that over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from wasme.deploy.cache.agents import pod_trouble
from wasme.deploy.cache.ensure import committable, ensure, is_ours
from wasme.deploy.cache.ensure import kept as kept_cache
from wasme.deploy.cache.ensure import rehearse as rehearse_cache
from wasme.deploy.cache.registration import set_registry_map
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.errors import ClusterError, OperatorError
from wasme.operator.installation import manifests, takeover
from wasme.operator.installation.manifests import OperatorOptions

log = logging.getLogger(__name__)

_ESTABLISHED = 30.0
"""Seconds for the server to serve a definition."""

Object = dict[str, Any]


def kept(cluster: Cluster, options: OperatorOptions, *, replicas: int | None = None) -> OperatorOptions:
    """The options with what is installed wherever they say nothing: the image and so on, as the cache has it.

    Args:
        replicas: what was asked for; None for as many as there are.
    """
    daemon_set = cluster.get(kinds.DAEMON_SET, options.cache.name, options.namespace)
    live = cluster.get(kinds.DEPLOYMENT, manifests.NAME, options.namespace)
    if replicas is None:
        scaled = live["spec"].get("replicas") if live is not None and is_ours(live) else None
        replicas = options.replicas if scaled is None else int(scaled)
    return replace(options, cache=kept_cache(options.cache, daemon_set), replicas=replicas)


def install(cluster: Cluster, options: OperatorOptions, *, seconds: float) -> None:
    """Make the cluster have the operator and its cache, and tell each object.

    Args:
        seconds: to wait until the operator's pods are available; 0 does not wait.

    Raises:
        OperatorError: another operator is there, or this one does not start.
        CacheError: another cache is there, or its image cannot be used.
        ClusterError: the API server did not do it; the message begins with what was being made.
    """
    takeover.require_alone(cluster, options)
    for each in manifests.crds():
        _ensure(cluster, each)
        _wait_established(cluster, each)
    ensure(cluster, options.cache, registry_map=options.registry_map, keep=False)
    takeover.forget_last_applied(cluster, options)
    if options.registry_map:
        set_registry_map(cluster, options.cache, options.registry_map)
    for each in _own(options):
        _ensure(cluster, each)
    if seconds > 0 and options.replicas:
        _wait_available(cluster, options, seconds)


def rehearse(cluster: Cluster, options: OperatorOptions) -> list[Object]:
    """The objects as the API server would have them; nothing is stored.

    In a namespace that is not there yet nothing can be checked: its objects are given as they would be sent.

    Raises:
        OperatorError, CacheError, ClusterError: as ``install``.
    """
    takeover.require_alone(cluster, options)
    is_new = cluster.get(kinds.NAMESPACE, options.namespace) is None
    seen = []
    for each in manifests.crds():
        with _doing(each):
            seen.append(cluster.apply(each, dry_run=True))
    cache = rehearse_cache(cluster, options.cache, registry_map=options.registry_map)
    own = []
    for each in _own(options):
        with _doing(each):
            checked = not (is_new and "namespace" in each["metadata"]) and not _made_anew(cluster, each)
            own.append(cluster.apply(each, dry_run=True) if checked else each)
    return [*map(committable, seen), *cache, *map(committable, own)]


def _own(options: OperatorOptions) -> list[Object]:
    """The operator's own objects, in the order in which they must be made."""
    return [
        *manifests.accounts(options),
        *manifests.empty_role(options),
        manifests.lease(options),
        manifests.disruption_budget(options),
        manifests.deployment(options),
    ]


def _made_anew(cluster: Cluster, wanted: Object) -> bool:
    """Whether what is there has to go first: the server could only refuse to change it."""
    metadata = wanted["metadata"]
    live = cluster.get(kind_of(wanted), metadata["name"], metadata.get("namespace", ""))
    return live is not None and takeover.unchangeable(live) != takeover.unchangeable(wanted)


def _ensure(cluster: Cluster, wanted: Object) -> None:
    kind, metadata = kind_of(wanted), wanted["metadata"]
    namespace = metadata.get("namespace", "")
    with _doing(wanted):
        live = cluster.get(kind, metadata["name"], namespace)
        if live is not None and live["metadata"].get("deletionTimestamp"):
            held = ", ".join(live["metadata"].get("finalizers") or ())
            raise OperatorError(
                f"it is being deleted (it waits for {held})" if held else "it is being deleted",
                hint="run the command again when it is gone",
            )
        if live is None:
            cluster.apply(wanted)
            done = "created"
        else:
            _, done = takeover.settled(cluster, wanted, live)
    fields = {"name": metadata["name"], **({"namespace": namespace} if namespace else {})}
    log.info(f"operator {_WORDS[wanted['kind']]} {done}", extra={"fields": fields})


_WORDS = {
    "CustomResourceDefinition": "definition",
    "ServiceAccount": "service account",
    "ClusterRole": "clusterrole",
    "ClusterRoleBinding": "clusterrolebinding",
    "Role": "role",
    "RoleBinding": "rolebinding",
    "Lease": "lease",
    "PodDisruptionBudget": "disruption budget",
    "Deployment": "deployment",
}


def _wait_established(cluster: Cluster, wanted: Object) -> None:
    """Wait until the server serves a definition.

    Raises:
        OperatorError: it does not; with its reason.
    """
    name = wanted["metadata"]["name"]
    until = time.monotonic() + _ESTABLISHED
    while True:
        live = cluster.get(kinds.CRD, name) or {}
        conditions = {each["type"]: each for each in (live.get("status") or {}).get("conditions") or ()}
        if conditions.get("Established", {}).get("status") == "True":
            return
        if time.monotonic() > until:
            told = conditions.get("NamesAccepted", {}).get("message") or "it gives no reason"
            raise OperatorError(f"the server does not serve {name}: {told}", hint=f"kubectl describe crd {name}")
        time.sleep(0.1)


def _wait_available(cluster: Cluster, options: OperatorOptions, seconds: float) -> None:
    """Wait until one pod of the new Deployment is available: that is enough to work.

    Raises:
        OperatorError: none is; with what keeps them.
    """
    until = time.monotonic() + seconds
    while True:
        live = cluster.get(kinds.DEPLOYMENT, manifests.NAME, options.namespace) or {}
        status = live.get("status") or {}
        current = status.get("observedGeneration", 0) >= (live.get("metadata") or {}).get("generation", 1)
        updated = status.get("updatedReplicas", 0) and status.get("availableReplicas", 0)
        if current and updated:
            return
        if time.monotonic() > until:
            break
        time.sleep(0.5)
    pods = cluster.list(kinds.POD, options.namespace, labels=f"app={manifests.NAME}")
    told = next(filter(None, map(pod_trouble, pods)), "no pod was made")
    raise OperatorError(
        f"the operator is installed, and does not run after {seconds:g} s: {told}",
        hint=f"kubectl -n {options.namespace} describe deployment {manifests.NAME}; --image names another image, "
        "--wait=0 does not wait",
    )


@contextmanager
def _doing(wanted: Object) -> Iterator[None]:
    """Errors from inside name the object."""
    metadata = wanted["metadata"]
    what = kind_of(wanted).shown(metadata.get("namespace", ""), metadata["name"])
    try:
        yield
    except (ClusterError, OperatorError) as error:
        raise type(error)(f"installing {what}: {error.message}", hint=error.hint) from error
