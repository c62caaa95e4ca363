"""Workloads as they were read last: the few fields that filters go by, kept as long as the generation is the same.

Everything here is in a workload's spec, so its generation counts every change of it; its labels, which its generation
does not count, come from the store of metadata.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from wasme.deploy.istio import template
from wasme.deploy.istio.annotations import BACKUP, USER_VOLUME, USER_VOLUME_MOUNT
from wasme.deploy.istio.proxies import SIDECAR
from wasme.deploy.istio.workloads import KINDS, Workload
from wasme.operator.informers.facts import WorkloadMeta

Object = dict[str, Any]

_KINDS = {each.kind: each for each in KINDS.values()}
_ANNOTATIONS = (USER_VOLUME, USER_VOLUME_MOUNT, "inject.istio.io/templates")
_PREFIXES = ("wasme.io/", BACKUP)
_ANY = ""  # the entry of workloads with any mark


class Place(NamedTuple):
    """Names a workload."""

    kind: str
    namespace: str
    name: str


class _Shape(NamedTuple):
    uid: str
    generation: int
    marks: frozenset[str]
    packed: bytes


class Shapes:
    """What is remembered of workloads. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shapes: dict[Place, _Shape] = {}
        self._index: dict[tuple[str, str], set[Place]] = {}

    def keep(self, obj: Object) -> Workload:
        """Remember a whole workload as it was read, or as a write of ours was answered; unless a later one is known."""
        meta = obj["metadata"]
        place = Place(obj["kind"], meta.get("namespace", ""), meta["name"])
        slim = slimmed(obj)
        workload = Workload(_KINDS[place.kind], slim)
        generation = int(meta.get("generation") or 0)
        shape = _Shape(workload.uid, generation, _marks(workload), msgspec.json.encode(slim))
        with self._lock:
            before = self._shapes.get(place)
            if before is None or before.uid != shape.uid or before.generation <= shape.generation:
                self._replace(place, before, shape)
        return workload

    def at(self, meta: WorkloadMeta) -> Workload | None:
        """A workload that is known as it is now; None for one that is to be read."""
        with self._lock:
            shape = self._shapes.get(place_of(meta))
        if shape is None or shape.uid != meta.uid or shape.generation < meta.generation:
            return None
        obj: Object = msgspec.json.decode(shape.packed)
        obj["metadata"]["labels"] = dict(meta.labels)
        if meta.deleting:
            obj["metadata"]["deletionTimestamp"] = "now"
        return Workload(_KINDS[meta.kind], obj)

    def last(self, place: Place) -> Workload | None:
        """A workload as it was read last, however long ago."""
        with self._lock:
            shape = self._shapes.get(place)
        return Workload(_KINDS[place.kind], msgspec.json.decode(shape.packed)) if shape is not None else None

    def forget(self, place: Place) -> None:
        """A workload is gone."""
        with self._lock:
            self._replace(place, self._shapes.get(place), None)

    def marked(self, namespace: str) -> list[Place]:
        """The workloads of a namespace whose pod template has marks of ours, as far as they are known."""
        return self.labelled(namespace, _ANY)

    def labelled(self, namespace: str, label: str) -> list[Place]:
        """Those of them that have a label of ours."""
        with self._lock:
            return sorted(self._index.get((namespace, label), ()))

    def __len__(self) -> int:
        return len(self._shapes)

    def _replace(self, place: Place, before: _Shape | None, after: _Shape | None) -> None:
        for mark in before.marks if before else ():
            places = self._index[(place.namespace, mark)]
            places.discard(place)
            if not places:
                del self._index[(place.namespace, mark)]
        for mark in after.marks if after else ():
            self._index.setdefault((place.namespace, mark), set()).add(place)
        if after is not None:
            self._shapes[place] = after
        else:
            self._shapes.pop(place, None)


def _marks(workload: Workload) -> frozenset[str]:
    if not template.is_marked(workload):
        return frozenset()
    return frozenset({_ANY, *(sys.intern(key) for key in workload.template_labels if key.startswith("wasme.io/"))})


def place_of(meta: WorkloadMeta) -> Place:
    """Of a workload."""
    return Place(meta.kind, meta.namespace, meta.name)


def slimmed(obj: Mapping[str, Any]) -> Object:
    """The part of a workload that filters go by: its pods' labels, what of their annotations may be ours, whether its
    proxy is a gateway's, and how it makes its pods anew."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    of_pods = spec.get("template") or {}
    its_meta = of_pods.get("metadata") or {}
    annotations = {key: value for key, value in (its_meta.get("annotations") or {}).items() if _counts(key)}
    containers = list(_proxies(of_pods.get("spec") or {}))
    strategy = (spec.get("updateStrategy") or {}).get("type")
    slim: Object = {
        "selector": spec.get("selector") or {},
        "template": {
            "metadata": {"labels": its_meta.get("labels") or {}, "annotations": annotations},
            "spec": {"containers": containers},
        },
        **({"paused": True} if spec.get("paused") else {}),
        **({"updateStrategy": {"type": strategy}} if strategy else {}),
    }
    named = ("name", "namespace", "uid", "resourceVersion", "generation", "labels", "deletionTimestamp")
    kept = {key: meta[key] for key in named if key in meta}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": kept, "spec": slim}


def _proxies(spec: Mapping[str, Any]) -> Iterator[Object]:
    for each in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if each.get("name") == SIDECAR:
            yield {"name": SIDECAR, "args": list(each.get("args") or ())}


def _counts(annotation: str) -> bool:
    return annotation in _ANNOTATIONS or annotation.startswith(_PREFIXES)
