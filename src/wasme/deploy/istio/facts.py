"""All that a deployment to a mesh must know before it writes anything; read once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from wasme.deploy.cluster import Cluster, Kind, Schema, Served
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.gateways import loopback_problem, require_secret
from wasme.deploy.istio import control_plane, kinds, namespaces, proxies, reach, sidecars
from wasme.deploy.istio.existing import CARRIERS, Known, read, served_kinds
from wasme.deploy.istio.kinds import CarrierName
from wasme.deploy.istio.order import Mesh, Order
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
    existing: Known
    choice: kinds.Choice
    minor: int | None = None
    proxy: int | None = None
    schema: Schema | None = None

    @property
    def kind(self) -> Kind:
        """The kind of object that carries the filter."""
        return CARRIERS[self.choice.kind]


class Around(Protocol):
    """What is known of a cluster beside workloads and carriers: read from it, or remembered."""

    def kinds(self) -> Mapping[CarrierName, Kind]:
        """The kinds that can carry a filter, oldest first."""
        ...

    def schema(self, kind: Kind) -> Schema | None:
        """What a kind can carry; None where it cannot be told."""
        ...

    def istio(self, mesh: Mesh) -> str:
        """The version that a control plane says; "" for none."""
        ...

    def proxies(self, workloads: Sequence[Workload]) -> frozenset[str]:
        """The versions of the proxies that run in the pods of these workloads."""
        ...

    def kubernetes(self) -> str:
        """The API server's version."""
        ...

    def require_secret(self, namespace: str, name: str) -> None:
        """Refuse a pull secret that Istio could not use; "" is no name."""
        ...

    def warn(self, message: str, **fields: str) -> None:
        """Tell what works, and may not be meant so."""
        ...


class _Now:
    """A cluster, read when it is asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def kinds(self) -> Mapping[CarrierName, Kind]:
        return served_kinds(self._cluster)

    def schema(self, kind: Kind) -> Schema | None:
        return read_schema(self._cluster.served(), kind)

    def istio(self, mesh: Mesh) -> str:
        return control_plane.version(self._cluster, mesh.namespace, mesh.istiod)

    def proxies(self, workloads: Sequence[Workload]) -> frozenset[str]:
        return sidecars.versions(self._cluster, workloads)

    def kubernetes(self) -> str:
        return self._cluster.server_version()

    def require_secret(self, namespace: str, name: str) -> None:
        require_secret(self._cluster, namespace, name, "Istio")

    def warn(self, message: str, **fields: str) -> None:
        log.warning(message, extra={"fields": fields})


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
    selection, target = order.selection, order.target
    target.context  # noqa: B018 - an unknown patch context is told before anything is asked
    around = _Now(cluster)
    places = namespaces.read(cluster, selection.namespaces)
    reach.require_targets(cluster, order)
    found = () if target.target_refs else find(cluster, selection)
    workloads = fitting(around, found, order)
    if not around.kinds():
        cluster.served().need(ENVOY_FILTER)
    existing = read(cluster, selection.namespaces, around.kinds().values())
    image = resolve(spec.image)
    if not completed(spec, image).root_id:
        fields = {"image": str(image.reference), "root_id": ""}
        log.info("found no root_id on image or in params", extra={"fields": fields})
    facts = conclude(around, spec, order, image, workloads, existing, places)
    if facts.choice.reason:
        log.info(f"deploying as {facts.choice.label}", extra={"fields": {"reason": facts.choice.reason}})
    return facts


def conclude(
    around: Around,
    spec: FilterSpec,
    order: Order,
    image: ResolvedImage,
    workloads: Sequence[Workload],
    existing: Known,
    places: Sequence[namespaces.Object],
) -> Facts:
    """What follows of all that is known; what cannot work is told here.

    Args:
        around: asked for the rest.
        spec: the filter; its root id may be "".
        order: what is asked for.
        image: the filter's.
        workloads: those that are meant (``fitting``).
        existing: what carries filters in their namespaces.
        places: their namespaces.

    Raises:
        UnsupportedImage: the proxies cannot run the module.
        InputError: no kind, or not the one asked for, can carry the filter.
        DeployFailed: the module cannot lie where it should, or could not be pulled.
        WasmeError: the cluster did not answer.
    """
    selection, target = order.selection, order.target
    spec = completed(spec, image)
    version = around.istio(order.mesh)
    running = around.proxies(workloads)
    if order.mesh.ignore_version:
        around.warn("ignoreVersionCheck is set, skipping ABI version check")
    else:
        proxies.require_support(image, [version, *running])
    # Definitions are large: only those that may be chosen are read.
    schemas: dict[str, Schema | None] = {
        name: around.schema(kind) if target.kind in ("auto", name) else None for name, kind in around.kinds().items()
    }
    choice = kinds.choose(
        spec,
        image,
        target,
        served=schemas,
        existing=_kinds_now(existing, spec.id, workloads, selection.namespaces),
        cache_flags=order.caching.flags,
    )
    if choice.kind == "envoyfilter" and target.placement == "daemonset":
        namespaces.require_host_paths(places)
    if choice.kind == "envoyfilter" and target.placement == "image-volume":
        _require_image_volumes(around)
    if is_pulled_by_agent(order, choice) and (told := loopback_problem(image, "Istio's agent")):
        around.warn(told)
    if choice.kind != "envoyfilter":
        for place in sorted({each.namespace for each in workloads}) or selection.namespaces:
            around.require_secret(place, target.pull_secret)
    _warn_of_everywhere(around, order, workloads)
    for each in places:
        if namespaces.is_ambient(each) and any(_has_sidecars(one, each) for one in workloads):
            around.warn(
                "the namespace is in ambient mode, where pods have no sidecar; --target puts a filter on a waypoint",
                namespace=each["metadata"]["name"],
            )
    return Facts(
        spec=spec,
        image=image,
        workloads=tuple(workloads),
        existing=existing,
        choice=choice,
        minor=proxies.istio_minor(version),
        proxy=proxies.istio_minor(proxies.oldest(running)),
        schema=schemas.get(choice.kind),
    )


def completed(spec: FilterSpec, image: ResolvedImage) -> FilterSpec:
    """A filter whose root id is the first of its image where none is said; "" where the image names none either."""
    return replace(spec, root_id=spec.root_id or next(iter(image.root_ids), ""))


def _kinds_now(existing: Known, filter_id: str, workloads: Sequence[Workload], places: Collection[str]) -> list[str]:
    """The kinds by which the filter is on these workloads, or on its targets, now; the one written last at the end."""
    meant = {(each.namespace, each.key) for each in workloads} | {
        (each.namespace, f"/{each.name}") for each in workloads
    }
    names = {kind.kind: name for name, kind in CARRIERS.items()}
    written: dict[str, tuple[str, int]] = {}
    for each in existing.of_filter(filter_id):
        is_of_targets = not (workloads or each.workload) and each.namespace in places
        if (each.namespace, each.workload) in meant or is_of_targets:
            name = names[each.kind.kind]
            written[name] = max(written.get(name, ("", 0)), _age(each.object))
    return sorted(written, key=lambda name: written[name])


def _age(obj: Mapping[str, Any]) -> tuple[str, int]:
    """What an object that was made later has more of; within one second its version tells."""
    metadata = obj["metadata"]
    version = str(metadata.get("resourceVersion", ""))
    return str(metadata.get("creationTimestamp", "")), int(version) if version.isdecimal() else 0


def fitting(around: Around, workloads: Sequence[Workload], order: Order) -> tuple[Workload, ...]:
    """The workloads in whose proxies the patch context matches anything.

    A gateway is left out where the context is for sidecars: one may well stand among a namespace's applications. Of a
    sidecar there is only a warning, as it may be a gateway that nobody can tell.

    Raises:
        DeployFailed: none is left.
    """
    fit: list[Workload] = []
    problem = ""
    for each in workloads:
        template = each.object.get("spec", {}).get("template") or {}
        found = proxies.context_problem(template, order.target.context)
        if found and proxies.is_gateway(template) and not order.mesh.ignore_version:
            problem = f"{each.kind.kind} {each.namespace}/{each.name}: {found}"
            around.warn("leaving a gateway out", workload=each.name, reason=found)
            continue
        if found:
            around.warn(f"{each.kind.kind} {each.namespace}/{each.name}: {found}")
        fit.append(each)
    if problem and not fit:
        raise DeployFailed(problem, hint="--patch-context says where the filter goes")
    return tuple(fit)


def _warn_of_everywhere(around: Around, order: Order, workloads: Sequence[Workload]) -> None:
    """Tell that Istio applies what lies in its own namespace to all namespaces
    (https://istio.io/latest/docs/reference/config/networking/envoy-filter/)."""
    names = [each.name for each in workloads if each.namespace == order.mesh.namespace]
    if names:
        around.warn(
            "what lies in Istio's own namespace selects pods of all namespaces by their labels",
            namespace=order.mesh.namespace,
            workloads=", ".join(names[:5]),
        )


def _require_image_volumes(around: Around) -> None:
    """Refuse image volumes where Kubernetes has none, and warn where a feature gate must be on
    (https://kubernetes.io/docs/concepts/storage/volumes/#image)."""
    version = around.kubernetes()
    minor = proxies.istio_minor(version.lstrip("v"))
    if minor is not None and minor < _IMAGE_VOLUMES:
        raise DeployFailed(
            f"Kubernetes {version} has no image volumes", hint=f"1.{_IMAGE_VOLUMES} and later have; use the node cache"
        )
    if minor is not None and minor < _IMAGE_VOLUMES_ON:
        around.warn("image volumes need the feature gate ImageVolume before Kubernetes 1.35", version=version)


def _has_sidecars(workload: Workload, namespace: namespaces.Object) -> bool:
    """Whether a workload of this namespace is meant to have sidecars, and is no gateway."""
    template = workload.object.get("spec", {}).get("template") or {}
    return workload.namespace == namespace["metadata"]["name"] and not proxies.is_gateway(template)


def read_schema(served: Served, kind: Kind) -> Schema | None:
    """What a kind can carry; None where one may not look."""
    try:
        return served.schema(kind)
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
