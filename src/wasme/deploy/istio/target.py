"""What a filter is put on in a mesh, and how: the settings that only Istio has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from wasme.deploy.spec import FilterSpec, object_name, require_id
from wasme.errors import UsageError

As = Literal["auto", "envoyfilter", "wasmplugin", "trafficextension"]
Phase = Literal["", "authn", "authz", "stats"]
Placement = Literal["daemonset", "image-volume", "none"]
"""Where the proxy finds the module: in the node cache's folder, in a volume of the image, or with Istio's agent."""

CONTEXTS = ("any", "inbound", "outbound", "gateway")

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "wasme"
FILTER_LABEL = "wasme.io/filter"
WORKLOAD = "wasme.io/workload"
IMAGE = "wasme.io/image"
DIGEST = "wasme.io/digest"
MANIFEST = "wasme.io/manifest"


class Schema(Protocol):
    """What a served kind can carry, read from its CRD."""

    def has(self, path: str) -> bool:
        """Whether there is a field, such as ``spec.vmConfig.env``."""
        ...

    def enum(self, path: str) -> tuple[str, ...]:
        """The words that a field takes; () where it takes any."""
        ...


@dataclass(frozen=True, slots=True)
class TargetRef:
    """An object that a filter is attached to, in its own namespace.

    Attributes:
        kind: ``Gateway``, ``Service``, ``GatewayClass`` or ``ServiceEntry``.
        name: its name.
        group: its API group; "" is the core group.
    """

    kind: str
    name: str
    group: str = ""

    @classmethod
    def parse(cls, text: str) -> TargetRef:
        """Read KIND/NAME, the kind in any case.

        Raises:
            UsageError: it is not that, or a kind that Istio attaches nothing to.
        """
        kind, slash, name = text.partition("/")
        known = _TARGETS.get(kind.lower())
        if not slash or not name or known is None:
            raise UsageError(
                f"{text[:100]!r} is no target",
                hint="use Gateway/NAME, Service/NAME, ServiceEntry/NAME or GatewayClass/NAME",
            )
        return cls(known[0], name, known[1])

    def rendered(self) -> dict[str, str]:
        """As it stands in ``targetRefs``."""
        return {"group": self.group, "kind": self.kind, "name": self.name}


_TARGETS = {
    "gateway": ("Gateway", "gateway.networking.k8s.io"),
    "gatewayclass": ("GatewayClass", "gateway.networking.k8s.io"),
    "service": ("Service", ""),
    "serviceentry": ("ServiceEntry", "networking.istio.io"),
}


@dataclass(frozen=True, slots=True)
class IstioTarget:
    """Where in a mesh's proxies the filter goes.

    Attributes:
        kind: the kind of object that carries it (``--as``).
        patch_context: one of ``CONTEXTS``, in any case; "" is ``inbound``, and ``any`` for what has target references.
        phase: before which of Istio's own filters; "" is after all of them, before the router.
        priority: among filters of one phase the higher one sees a request first; None leaves it to Istio (0).
        ports: only traffic to these; () for all.
        target_refs: attach to these instead of workloads.
        pull_secret: name of the Secret for the image, where Istio's agent pulls it.
        pull_policy: ``IfNotPresent`` or ``Always``; "" leaves it to Istio.
        placement: where the proxy finds the module; for EnvoyFilter.
    """

    kind: As = "auto"
    patch_context: str = ""
    phase: Phase = ""
    priority: int | None = None
    ports: tuple[int, ...] = ()
    target_refs: tuple[TargetRef, ...] = ()
    pull_secret: str = ""
    pull_policy: str = ""
    placement: Placement = "daemonset"

    @property
    def context(self) -> str:
        """``patch_context`` in lower case, never "".

        Raises:
            UsageError: it is none of ``CONTEXTS``; the original's words.
        """
        context = (self.patch_context or ("any" if self.target_refs else "inbound")).lower()
        if context not in CONTEXTS:
            raise UsageError(
                f"unknown patch context {self.patch_context}, must be one of the following values: "
                + ", ".join(CONTEXTS)
            )
        return context


@dataclass(frozen=True, slots=True)
class Attachment:
    """One object to make: its name, and what it selects.

    Attributes:
        name, namespace: the object's own.
        labels: of the pods that it selects; empty with ``target_refs``.
        target_refs: what it is attached to instead.
        workload: ``Kind/name`` of the workload that it was made for; "" with ``target_refs``.
    """

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    target_refs: tuple[TargetRef, ...] = ()
    workload: str = ""

    @classmethod
    def to_workload(cls, filter_id: str, kind: str, name: str, namespace: str, labels: Mapping[str, str]) -> Attachment:
        """For one workload.

        Args:
            labels: all those of its pod template.

        Raises:
            UsageError: workload and id make no name; or the pods have no label to select them by.
        """
        if not labels:
            raise UsageError(
                f"the pods of {kind.lower()} {namespace}/{name} have no labels, so that nothing selects them alone"
            )
        return cls(object_name(name, filter_id), namespace, dict(labels), workload=f"{kind}/{name}")

    @classmethod
    def to_targets(cls, filter_id: str, namespace: str, target_refs: tuple[TargetRef, ...]) -> Attachment:
        """For gateways and services; one object called as the filter."""
        require_id(filter_id)
        return cls(filter_id, namespace, target_refs=target_refs)


def filter_label(filter_id: str) -> str:
    """The value of the label ``FILTER_LABEL``: the id, or the beginning of one that is too long and its hash."""
    if len(filter_id) <= 63:
        return filter_id
    import hashlib

    return f"{filter_id[:46].rstrip('.-')}-{hashlib.sha256(filter_id.encode()).hexdigest()[:16]}"


def metadata(attachment: Attachment, spec: FilterSpec, module: str, manifest: str) -> dict[str, object]:
    """Name, labels and annotations, by which the object is known as wasme's.

    Args:
        module, manifest: digests of the image.
    """
    told = {WORKLOAD: attachment.workload} if attachment.workload else {}
    return {
        "name": attachment.name,
        "namespace": attachment.namespace,
        "labels": {MANAGED_BY: MANAGER, FILTER_LABEL: filter_label(spec.id)},
        "annotations": {
            **told,
            "wasme.io/id": spec.id,
            IMAGE: spec.image,
            DIGEST: module,
            MANIFEST: manifest,
        },
    }
