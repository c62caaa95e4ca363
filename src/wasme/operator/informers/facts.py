"""What is remembered of objects of the cluster: the few fields that reconciling goes by.

A value is equal to another where nothing that counts is different, whatever its resourceVersion says: heartbeats of
nodes and statuses of workloads call nobody.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from wasme.deploy.cache import protocol
from wasme.deploy.cache.agents import pod_trouble
from wasme.deploy.cache.nodes import is_ready
from wasme.deploy.cache.protocol import NodeStatus
from wasme.deploy.cluster.depth import shallow
from wasme.deploy.istio.proxies import sidecar_version
from wasme.errors import CacheError
from wasme.operator.resources.wanted import Key

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A FilterDeployment as the API server has it.

    Attributes:
        key, uid, generation: of it.
        version: its resourceVersion.
        created: creationTimestamp, as text: RFC 3339 in UTC, so that texts sort as times do.
        deleting: it is being deleted.
        id: ``spec.filter.id`` as it stands there; "" for none or no text.
        packed: all of it as JSON, without managedFields.
    """

    key: Key
    uid: str
    generation: int
    version: str
    created: str
    deleting: bool
    id: str
    packed: bytes

    @property
    def object(self) -> Object:
        """All of it, without managedFields; a new value each time."""
        found: Object = msgspec.json.decode(self.packed)
        return found


@dataclass(frozen=True, slots=True)
class WorkloadMeta:
    """The metadata of a Deployment, DaemonSet or StatefulSet.

    Attributes:
        kind: ``Deployment``, ``DaemonSet`` or ``StatefulSet``.
        namespace, name, uid, generation, labels: of the workload itself; its generation counts changes of its spec.
        deleting: it is being deleted.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    labels: Mapping[str, str]
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod.

    Attributes:
        namespace, name, uid, labels: of it.
        node: where it runs; "" for nowhere yet.
        phase: ``Running`` and so on.
        ready: its condition Ready is True.
        deleting: it is being deleted.
        sidecar: the version of Istio's proxy in it, by the image's tag; None for a pod without one.
        owner: ``Kind/name`` of its controller; "" for none.
        trouble: what keeps it from running, in Kubernetes' words; "" for nothing.
    """

    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    node: str = ""
    phase: str = ""
    ready: bool = False
    deleting: bool = False
    sidecar: str | None = None
    owner: str = ""
    trouble: str = ""

    @property
    def runs(self) -> bool:
        """It has a node, and has not ended."""
        return bool(self.node) and self.phase not in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node, and whether its kubelet is well."""

    name: str
    ready: bool


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    """A namespace: its labels tell what pods may have, and the mode of the mesh."""

    name: str
    labels: Mapping[str, str]
    deleting: bool = False
    uid: str = ""

    @property
    def object(self) -> Object:
        """As ``deploy.istio.namespaces`` takes it."""
        return {"metadata": {"name": self.name, "labels": dict(self.labels)}}


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """A ConfigMap that is read whole.

    Attributes:
        namespace, name, uid: of it.
        version: its resourceVersion, which agents tell that they have read; part of the value.
        data: what is in it.
    """

    namespace: str
    name: str
    uid: str
    version: str
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NodeTold:
    """What a node's agent told last.

    Attributes:
        name, uid: of the ConfigMap that says it.
        status: what it says; None where it cannot be read.
    """

    name: str
    uid: str
    status: NodeStatus | None


@dataclass(frozen=True, slots=True)
class Definition:
    """A CustomResourceDefinition; its resourceVersion changes when it is served, too."""

    name: str
    version: str


def resource(obj: Object) -> Resource:
    """Of a FilterDeployment; never raises for what its schema would not let through. What is nested too
    deep in it is cut."""
    obj = shallow(obj)
    meta = obj["metadata"]
    kept = {**obj, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}}
    spec = obj.get("spec")
    wanted = spec.get("filter") if isinstance(spec, dict) else None
    named = wanted.get("id") if isinstance(wanted, dict) else None
    return Resource(
        key=Key(_text(meta, "namespace"), _text(meta, "name")),
        uid=_text(meta, "uid"),
        generation=_number(meta.get("generation")),
        version=_text(meta, "resourceVersion"),
        created=_text(meta, "creationTimestamp"),
        deleting=bool(meta.get("deletionTimestamp")),
        id=named if isinstance(named, str) else "",
        packed=msgspec.json.encode(kept),
    )


def workload(obj: Object) -> WorkloadMeta:
    """Of a workload, whole or its metadata alone."""
    meta = obj["metadata"]
    return WorkloadMeta(
        kind=_same(obj.get("kind")),
        namespace=_same(meta.get("namespace")),
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        generation=_number(meta.get("generation")),
        labels=_labels(meta),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def pod(obj: Object) -> PodFacts:
    """Of a pod."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    conditions = status.get("conditions") or ()
    version = sidecar_version(obj)
    owner = next((each for each in meta.get("ownerReferences") or () if each.get("controller")), None)
    return PodFacts(
        namespace=_same(meta.get("namespace")),
        name=_text(meta, "name"),
        uid=_text(meta, "uid"),
        labels=_labels(meta),
        node=_same(spec.get("nodeName")),
        phase=_same(status.get("phase")),
        ready=any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions),
        deleting=bool(meta.get("deletionTimestamp")),
        sidecar=None if version is None else sys.intern(version),
        owner=f"{owner.get('kind', '')}/{owner.get('name', '')}" if owner else "",
        trouble=pod_trouble(obj),
    )


def node(obj: Object) -> NodeFacts:
    """Of a node."""
    return NodeFacts(_same(obj["metadata"].get("name")), is_ready(obj))


def namespace(obj: Object) -> NamespaceFacts:
    """Of a namespace, whole or its metadata alone."""
    meta = obj["metadata"]
    deleting = bool(meta.get("deletionTimestamp"))
    return NamespaceFacts(_same(meta.get("name")), _labels(meta), deleting, _text(meta, "uid"))


def config(obj: Object) -> ConfigFacts:
    """Of a ConfigMap."""
    meta = obj["metadata"]
    return ConfigFacts(
        _text(meta, "namespace"),
        _text(meta, "name"),
        _text(meta, "uid"),
        _text(meta, "resourceVersion"),
        {str(key): str(value) for key, value in (obj.get("data") or {}).items()},
    )


def told(obj: Object) -> NodeTold:
    """Of a node's ConfigMap."""
    meta = obj["metadata"]
    text = (obj.get("data") or {}).get(protocol.STATUS_KEY, "")
    try:
        status: NodeStatus | None = _shared(protocol.decode_status(text))
    except CacheError:
        status = None
    return NodeTold(_text(meta, "name"), _text(meta, "uid"), status)


def definition(obj: Object) -> Definition:
    """Of a CustomResourceDefinition, whole or its metadata alone."""
    meta = obj["metadata"]
    return Definition(_text(meta, "name"), _text(meta, "resourceVersion"))


def _shared(status: NodeStatus) -> NodeStatus:
    """The same texts stand in what each node tells: they are kept once."""
    images = tuple(
        msgspec.structs.replace(
            each, ref=sys.intern(each.ref), manifest=sys.intern(each.manifest), module=sys.intern(each.module)
        )
        for each in status.images
    )
    return msgspec.structs.replace(status, images=images, ready=tuple(map(sys.intern, status.ready)))


def _labels(meta: Object) -> Mapping[str, str]:
    found = meta.get("labels")
    if not isinstance(found, dict) or not found:
        return _NONE
    return _one(tuple((sys.intern(str(key)), sys.intern(str(value))) for key, value in found.items()))


@functools.lru_cache(maxsize=4096)
def _one(pairs: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(pairs)


_NONE: Mapping[str, str] = {}


def _text(meta: Object, name: str) -> str:
    return str(meta.get(name) or "")


def _same(value: object) -> str:
    """A text of which many objects have the same."""
    return sys.intern(str(value or ""))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
