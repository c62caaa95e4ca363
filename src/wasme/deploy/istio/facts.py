"""All that a deployment to a mesh must know before it writes anything; read once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wasme.deploy.cluster import Cluster, Kind, Schema
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.gateways import require_secret, warn_of_loopback
from wasme.deploy.istio import control_plane, kinds, namespaces, proxies, reach, sidecars
from wasme.deploy.istio.existing import CARRIERS, Existing, read, served_kinds
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.workloads import Workload, find
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec, require_id
from wasme.errors import ClusterForbidden, DeployFailed, InputError

log = logging.getLogger(__name__)

_IMAGE_VOLUMES = 31  # of Kubernetes 1.N, behind a feature gate
_IMAGE_VOLUMES_ON = 35

Resolve = Callable[[str], ResolvedImage]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known.

    Attributes:
        spec: the filter, its root id filled in.
        image: the filter's image.
        workloads: those that are meant; none for a filter with targets.
        existing: the objects that carry filters, anybody's, in the namespaces of the workloads.
        choice: the kind of object that carries the filter, and why.
        minor: the N of the control plane's Istio 1.N; None if it cannot be told.
        proxy: the same of the oldest proxy beside one of the workloads; None if there is none, or all are current.
        schema: what that kind can carry here; None if it cannot be told.
    """

    spec: FilterSpec
    image: ResolvedImage
    workloads: tuple[Workload, ...]
    existing: Existing
    choice: kinds.Choice
    minor: int | None = None
    proxy: int | None = None
    schema: Schema | None = None

    @property
    def kind(self) -> Kind:
        """The kind of object that carries the filter."""
        return CARRIERS[self.choice.kind]


def gather(cluster: Cluster, spec: FilterSpec, order: Order, resolve: Resolve) -> Facts:
    """Read the cluster and the image; what cannot work is told here, before anything is written.

    Args:
        cluster: where.
        spec: the filter; its root id may be "".
        order: what is asked for.
        resolve: from a reference to its image.

    Raises:
        UsageError: the id, or what was asked for, is wrong in itself.
        DeployFailed: there is no such workload or target, or its proxy cannot have the filter.
        UnsupportedImage: the proxies cannot run the module.
        WasmeError: the cluster or the registry did not answer.
    """
    require_id(spec.id)
    context = order.target.context
    selection, target = order.selection, order.target
    places = namespaces.read(cluster, selection.namespaces)
    reach.require_targets(cluster, order)
    found = () if target.target_refs else find(cluster, selection)
    workloads = _fitting(found, context, ignore=order.mesh.ignore_version)
    served = served_kinds(cluster)
    if not served:
        cluster.served().need(ENVOY_FILTER)
    existing = read(cluster, selection.namespaces, served.values())
    image = resolve(spec.image)
    root_id = spec.root_id or next(iter(image.root_ids), "")
    if not root_id:
        fields = {"image": str(image.reference), "root_id": ""}
        log.info("found no root_id on image or in params", extra={"fields": fields})
    spec = replace(spec, root_id=root_id)
    version = control_plane.version(cluster, order.mesh.namespace, order.mesh.istiod)
    running = sidecars.versions(cluster, workloads)
    if order.mesh.ignore_version:
        log.warning("ignoreVersionCheck is set, skipping ABI version check")
    else:
        proxies.require_support(image, [version, *running])
    # Definitions are large: only those that may be chosen are read.
    schemas: dict[str, Schema | None] = {
        name: _schema(cluster, kind) if target.kind in ("auto", name) else None for name, kind in served.items()
    }
    choice = kinds.choose(
        spec,
        image,
        target,
        served=schemas,
        existing=_kinds_now(existing, spec.id, workloads),
        cache_flags=order.caching.flags,
    )
    if choice.reason:
        log.info(f"deploying as {choice.label}", extra={"fields": {"reason": choice.reason}})
    if choice.kind == "envoyfilter" and target.placement == "daemonset":
        namespaces.require_host_paths(places)
    if choice.kind == "envoyfilter" and target.placement == "image-volume":
        _require_image_volumes(cluster)
    if is_pulled_by_agent(order, choice):
        warn_of_loopback(image, "Istio's agent")
    if choice.kind != "envoyfilter":
        for place in sorted({each.namespace for each in workloads}) or selection.namespaces:
            require_secret(cluster, place, target.pull_secret, "Istio")
    reach.warn_of_everywhere(order, workloads)
    namespaces.warn_of_ambient(each for each in places if any(_has_sidecars(one, each) for one in workloads))
    return Facts(
        spec=spec,
        image=image,
        workloads=workloads,
        existing=existing,
        choice=choice,
        minor=proxies.istio_minor(version),
        proxy=proxies.istio_minor(proxies.oldest(running)),
        schema=schemas.get(choice.kind),
    )


def _kinds_now(existing: Existing, filter_id: str, workloads: Sequence[Workload]) -> list[str]:
    """The kinds by which the filter is on these workloads, or on its targets, now; the one written last at the end."""
    meant = {(each.namespace, each.key) for each in workloads} | {
        (each.namespace, f"/{each.name}") for each in workloads
    }
    names = {kind.kind: name for name, kind in CARRIERS.items()}
    written: dict[str, tuple[str, int]] = {}
    for each in existing.of_filter(filter_id):
        if (each.namespace, each.workload) in meant or not (workloads or each.workload):
            name = names[each.kind.kind]
            written[name] = max(written.get(name, ("", 0)), _age(each.object))
    return sorted(written, key=lambda name: written[name])


def _age(obj: Mapping[str, Any]) -> tuple[str, int]:
    """What an object that was made later has more of; within one second its version tells."""
    metadata = obj["metadata"]
    version = str(metadata.get("resourceVersion", ""))
    return str(metadata.get("creationTimestamp", "")), int(version) if version.isdecimal() else 0


def _fitting(workloads: Sequence[Workload], context: str, *, ignore: bool) -> tuple[Workload, ...]:
    """The workloads in whose proxies the patch context matches anything.

    A gateway is left out where the context is for sidecars: one may well stand among a namespace's applications. Of a
    sidecar there is only a warning, as it may be a gateway that nobody can tell.

    Raises:
        DeployFailed: none is left.
    """
    fitting: list[Workload] = []
    problem = ""
    for each in workloads:
        template = each.object.get("spec", {}).get("template") or {}
        found = proxies.context_problem(template, context)
        if found and proxies.is_gateway(template) and not ignore:
            problem = f"{each.kind.kind} {each.namespace}/{each.name}: {found}"
            log.warning("leaving a gateway out", extra={"fields": {"workload": each.name, "reason": found}})
            continue
        if found:
            log.warning(f"{each.kind.kind} {each.namespace}/{each.name}: {found}")
        fitting.append(each)
    if problem and not fitting:
        raise DeployFailed(problem, hint="--patch-context says where the filter goes")
    return tuple(fitting)


def _require_image_volumes(cluster: Cluster) -> None:
    """Refuse image volumes where Kubernetes has none, and warn where a feature gate must be on
    (https://kubernetes.io/docs/concepts/storage/volumes/#image)."""
    version = cluster.server_version()
    minor = proxies.istio_minor(version.lstrip("v"))
    if minor is not None and minor < _IMAGE_VOLUMES:
        raise DeployFailed(
            f"Kubernetes {version} has no image volumes", hint=f"1.{_IMAGE_VOLUMES} and later have; use the node cache"
        )
    if minor is not None and minor < _IMAGE_VOLUMES_ON:
        log.warning(
            "image volumes need the feature gate ImageVolume before Kubernetes 1.35",
            extra={"fields": {"version": version}},
        )


def _has_sidecars(workload: Workload, namespace: namespaces.Object) -> bool:
    """Whether a workload of this namespace is meant to have sidecars, and is no gateway."""
    template = workload.object.get("spec", {}).get("template") or {}
    return workload.namespace == namespace["metadata"]["name"] and not proxies.is_gateway(template)


def _schema(cluster: Cluster, kind: Kind) -> Schema | None:
    """What a kind can carry; None where one may not look."""
    try:
        return cluster.served().schema(kind)
    except ClusterForbidden as error:
        log.debug("the definition may not be read", extra={"fields": {"kind": kind.kind, "reason": error.message}})
        return None


def is_pulled_by_agent(order: Order, choice: kinds.Choice) -> bool:
    """Whether Istio's agent pulls the image, in each pod by itself."""
    return choice.kind != "envoyfilter" or order.target.placement == "none"


def require_targets_fit(order: Order, choice: kinds.Choice) -> None:
    """Refuse targets for a module that lies on the nodes: whose pods they are is for the mesh to decide.

    Raises:
        InputError: they do not go together.
    """
    if order.target.target_refs and choice.kind == "envoyfilter" and order.target.placement != "none":
        raise InputError(
            "--target does not go with a module on the node: the pods behind a target are not ours to give a volume",
            hint="--cache-mode none lets Istio's agent fetch the module; or use --as wasmplugin or trafficextension",
        )
