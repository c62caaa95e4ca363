"""Installing the cache: each object is read, and written only where it is not as it should be.

The lines told are the original's, so ``updated`` is said of an object that was there, written or not. Three kinds are
made once and then kept, since people and agents write into them. The others are applied by field; what an older
install left in them goes: a DaemonSet of the original's gets our whole spec once, and what can never be changed in
place (its selector, a binding's role) is deleted and made anew. The files on the nodes are touched by none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from wasme.deploy.cache import manifests, protocol
from wasme.deploy.cache.options import CacheOptions, Chosen, parse_chosen
from wasme.deploy.cache.others import mounts_the_folder, require_alone
from wasme.deploy.cache.statuses import forget_some
from wasme.deploy.cache.telling import doing
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.errors import CacheError, ClusterForbidden, Conflict

log = logging.getLogger(__name__)

Object = dict[str, Any]

RELEASE = "meta.helm.sh/release-name"
"""Annotation of whatever a release of Helm's brought."""
_TRIES = 5
# What the original's lines call a kind, and what its errors call it.
_WORDS = {
    "Namespace": ("namespace", "namespace"),
    "ConfigMap": ("configmap", "configmap"),
    "ServiceAccount": ("service account", "service acct"),
    "Role": ("role", "role"),
    "RoleBinding": ("rolebinding", "rolebinding"),
    "DaemonSet": ("daemonset", "daemonset"),
}


def ensure(
    cluster: Cluster,
    options: CacheOptions,
    *,
    registry_map: Mapping[str, str] | None = None,
    keep: bool = True,
) -> CacheOptions:
    """Make the cluster have the cache, and tell each object as the original did.

    Args:
        registry_map: for a ConfigMap that is made now.
        keep: what an earlier install chose (image, pull policy, command) stays where ``options`` say nothing of it.

    Returns:
        The options that hold now.

    Raises:
        CacheError: an object is being deleted, the image is the original's, or there is another cache.
        ClusterError: the API server did not do it; the message begins with the object's kind. Who lacks a right for it
            is only warned where the cache is there and ``options`` ask for nothing new.
    """
    options.image  # noqa: B018 - an image that cannot be used is told before anything is read
    try:
        return _ensure_all(cluster, options, registry_map or {}, keep=keep)
    except ClusterForbidden as error:
        # Whoever may deploy filters need not be who installs caches.
        if not keep or options.chosen != Chosen() or not _is_installed(cluster, options):
            raise
        fields = {"cache": options.shown, "reason": error.message}
        log.warning("the cache is there, and is taken as it is", extra={"fields": fields})
        return options


def _ensure_all(
    cluster: Cluster, options: CacheOptions, registry_map: Mapping[str, str], *, keep: bool
) -> CacheOptions:
    with doing("ensuring daemonset"):
        live_daemon_set = cluster.get(kinds.DAEMON_SET, options.name, options.namespace)
        if live_daemon_set is None:
            require_alone(cluster, options)
        elif release := release_of(live_daemon_set):
            # Helm and we would undo each other's writes for ever.
            if keep and options.chosen == Chosen():
                log.debug("the cache is of a release of Helm's", extra={"fields": {"release": release}})
                return options
            raise CacheError(
                f"the cache {options.shown} belongs to Helm's release {release}",
                hint=f"helm upgrade {release} with other values of wasmeCache changes it",
            )
    if keep:
        options = kept(options, live_daemon_set)
    fields = {"cache": options.shown, "image": options.image}
    for wanted in manifests.objects(options, registry_map):
        word, prefix = _WORDS[wanted["kind"]]
        with doing(f"ensuring {prefix}"):
            made = _ensure(cluster, wanted)
        done = "created" if made else "already exists" if wanted["kind"] in manifests.KEPT else "updated"
        log.info(f"cache {word} {done}", extra={"fields": fields})
    if live_daemon_set is not None:
        forget_some(cluster, options)
    return options


def _is_installed(cluster: Cluster, options: CacheOptions) -> bool:
    """Whether there is a cache, as far as one may see: its ConfigMap is the one object that a deployment needs."""
    try:
        found = cluster.get(kinds.CONFIG_MAP, options.name, options.namespace)
    except ClusterForbidden:
        return False
    return found is not None and (
        is_ours(found) or release_of(found) != "" or protocol.IMAGES in (found.get("data") or {})
    )


def kept(options: CacheOptions, daemon_set: Object | None) -> CacheOptions:
    """The options with what an installed DaemonSet of ours remembers, where they say nothing."""
    annotations = ((daemon_set or {}).get("metadata") or {}).get("annotations") or {}
    return options.keeping(parse_chosen(annotations.get(manifests.CHOSEN, "{}")))


def rehearse(cluster: Cluster, options: CacheOptions, *, registry_map: Mapping[str, str] | None = None) -> list[Object]:
    """The objects as the API server would have them; nothing is stored.

    In a namespace that is not there yet nothing can be checked: its objects are given as they would be sent.

    Raises:
        CacheError: an object is being deleted, the image is the original's, or there is another cache.
        ClusterError: the API server refuses an object; the message begins with its kind.
    """
    with doing("ensuring daemonset"):
        if cluster.get(kinds.DAEMON_SET, options.name, options.namespace) is None:
            require_alone(cluster, options)
    seen = []
    is_new = False
    for wanted in manifests.objects(options, registry_map):
        with doing(f"ensuring {_WORDS[wanted['kind']][1]}"):
            live = _alive(cluster, wanted) if not is_new else None
            if wanted["kind"] == "Namespace":
                is_new = live is None
            if is_new and wanted["kind"] != "Namespace":
                seen.append(wanted)
            elif live is not None and wanted["kind"] in manifests.KEPT:
                seen.append(live)
            else:
                seen.append(cluster.apply(wanted, dry_run=True))
    return [committable(each) for each in seen]


def _ensure(cluster: Cluster, wanted: Object) -> bool:
    """Make one object be there; whether it had to be made."""
    live = _alive(cluster, wanted)
    if wanted["kind"] in manifests.KEPT:
        return live is None and _create(cluster, wanted)
    if live is None:
        cluster.apply(wanted)
        return True
    if _unchangeable(wanted) != _unchangeable(live):
        metadata = wanted["metadata"]
        cluster.delete(kind_of(wanted), metadata["name"], metadata["namespace"], uid=live["metadata"]["uid"])
        live = None
    elif wanted["kind"] == "DaemonSet" and manifests.CHOSEN not in (live["metadata"].get("annotations") or {}):
        live = _taken_over(cluster, wanted, live)
    if live is None:
        cluster.apply(wanted)
    else:
        cluster.settle(wanted, live)
    return False


def _taken_over(cluster: Cluster, wanted: Object, live: Object | None) -> Object | None:
    """A DaemonSet with our whole spec: an apply takes nothing away that somebody else's update has set."""
    for _ in range(_TRIES):
        if live is None:
            return None
        try:
            return cluster.replace(live | {"spec": wanted["spec"]})
        except Conflict:  # its status moves all the time, and another deployment may be doing the same
            live = _alive(cluster, wanted)
    return live


def _alive(cluster: Cluster, wanted: Object) -> Object | None:
    """The object as it is; None where there is none.

    Raises:
        CacheError: it is being deleted, so whatever is written now will be gone; or it is somebody else's.
    """
    metadata = wanted["metadata"]
    kind = kind_of(wanted)
    live = cluster.get(kind, metadata["name"], metadata.get("namespace", ""))
    if live is not None and wanted["kind"] == "DaemonSet" and not (is_ours(live) or mounts_the_folder(live)):
        raise CacheError(
            f"{kind.shown(metadata['namespace'], metadata['name'])} is no node cache, so it stays as it is",
            hint="choose another name with --cache-name, or another namespace with --cache-namespace",
        )
    if live is None or not live["metadata"].get("deletionTimestamp"):
        return live
    held = live["metadata"].get("finalizers") or (live.get("spec") or {}).get("finalizers") or ()
    waits = f" (it waits for {', '.join(held)})" if held else ""
    raise CacheError(
        f"{kind.shown(metadata.get('namespace', ''), metadata['name'])} is being deleted{waits}",
        hint="run the command again when it is gone, or choose others with --cache-namespace and --cache-name",
    )


def _create(cluster: Cluster, wanted: Object) -> bool:
    """Create what is kept as it is if it is there: never applied, since that would undo what others wrote into it."""
    try:
        cluster.create(wanted)
    except Conflict:  # another deployment was first
        return False
    return True


def _unchangeable(obj: Object) -> Any:
    """What the API server never changes in place."""
    if obj["kind"] == "DaemonSet":
        return obj["spec"]["selector"]
    return obj.get("roleRef")


def committable(obj: Object) -> Object:
    """An object without what the API server adds for itself."""
    own = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields")
    metadata = {key: value for key, value in obj["metadata"].items() if key not in own}
    return {key: value for key, value in obj.items() if key != "status"} | {"metadata": metadata}


def release_of(obj: Object) -> str:
    """The release of Helm's that an object belongs to; "" for none."""
    return str((obj["metadata"].get("annotations") or {}).get(RELEASE, ""))


def is_ours(obj: Object) -> bool:
    """Whether wasme made an object."""
    return (obj["metadata"].get("labels") or {}).get(protocol.MANAGED_BY_LABEL) == protocol.MANAGER
