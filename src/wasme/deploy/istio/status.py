"""How deployed filters do: for each, its workload, and node by node whether module, object and pods fit together.

All but ``look`` is pure. What is unusual is said in words, since each of them has another remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import kind_of
from wasme.deploy.istio import envoyfilter
from wasme.deploy.istio.annotations import CACHE_DIRECTORY
from wasme.deploy.istio.existing import Carrier, carriers
from wasme.deploy.istio.order import Mesh
from wasme.deploy.istio.places import Place, places_of, pods_of
from wasme.deploy.istio.snapshot import Object, Snapshot, take
from wasme.deploy.istio.sought import asked, can_be_asked
from wasme.deploy.istio.status_edits import edits, module_edits
from wasme.deploy.istio.status_targets import targets_of
from wasme.deploy.istio.target import DIGEST, IMAGE
from wasme.deploy.probe.pods import Asked
from wasme.deploy.probe.verdict import Verdict

Probe = Callable[[Sequence[Asked]], list[Verdict]]

_LAST_LEGACY = 18
"""The last minor version of Istio that knows the old names of Envoy's filters (Istio 1.19 release notes)."""
_PLACE = (
    "its place in the filter chain has a name that Istio has not known since 1.19, so it matches nothing: deploy again"
)


class FilterState(msgspec.Struct, frozen=True, rename="camel"):
    """One filter on one workload, or on targets.

    Attributes:
        id: of the filter.
        namespace: of the object and the workload.
        workload: ``Deployment/productpage-v1``; for one with targets ``Service/waypoint`` and the like.
        object: what carries it, ``EnvoyFilter/productpage-v1-auth``.
        image: as typed; "" where nobody knows.
        digest: of the module.
        places: the nodes.
        reasons: what is wrong with it as a whole.
    """

    id: str
    namespace: str
    workload: str
    object: str
    image: str
    digest: str
    places: tuple[Place, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Everything fits: nothing is wrong, and all pods are ready, on nodes that hold the module."""
        return not self.reasons and all(
            each.cached in ("yes", "") and not each.reasons and all(pod.ready and not pod.reasons for pod in each.pods)
            for each in self.places
        )


def look(
    cluster: Cluster, namespace: str | None, filter_id: str, options: CacheOptions, mesh: Mesh,
    probe: Probe | None = None,
) -> list[FilterState]:  # fmt: skip
    """How filters in a mesh do.

    Args:
        cluster: which.
        namespace: where; None for everywhere.
        filter_id: only this one; "" for all.
        options: which node cache.
        mesh: which Istio.
        probe: asks the proxies; None leaves them alone.

    Raises:
        ClusterError: what must be read cannot be.
    """
    snapshot = take(cluster, namespace, options, mesh)
    verdicts: dict[tuple[str, str, str], Verdict] = {}
    if probe is not None:
        questions = list(_questions(snapshot, filter_id))
        answers = probe([each for _, each in questions])
        verdicts = {
            (uid, each.namespace, each.pod): answer
            for (uid, each), answer in zip(questions, answers, strict=True)
        }  # fmt: skip
    return states(snapshot, namespace, filter_id, verdicts)


def states(
    snapshot: Snapshot,
    namespace: str | None = None,
    filter_id: str = "",
    verdicts: Mapping[tuple[str, str, str], Verdict] | None = None,
) -> list[FilterState]:
    """How filters do, by namespace, id and workload.

    Args:
        snapshot: of the cluster.
        namespace: where; None for everywhere.
        filter_id: only this one; "" for all.
        verdicts: what proxies said, by uid of the carrying object, namespace and name of the pod.
    """
    found = list(carriers(snapshot.objects, filter_id))
    together: dict[tuple[str, str, str], list[str]] = {}
    for name, each in found:
        if each.workload:
            together.setdefault(_whose(name, each), []).append(f"{each.kind.kind}/{each.name}")
    result = [
        _state(snapshot, name, each, sorted(together.get(_whose(name, each), ())), verdicts or {})
        for name, each in found
    ]
    carried = {(each.namespace, name) for name, each in found}
    for line in snapshot.wanted.filters:
        mine = (namespace is None or line.namespace == namespace) and filter_id in ("", line.id)
        if mine and (line.namespace, line.id) not in carried:
            carried.add((line.namespace, line.id))
            reason = "the nodes hold its module, but no object carries it: deploy it again, or undeploy it"
            result.append(FilterState(line.id, line.namespace, "", "", line.ref, line.module, reasons=(reason,)))
    return sorted(result, key=lambda each: (each.namespace, each.id, each.workload, each.object))


def module_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """The module's digest as the annotations tell it, and as the object's file says; "" for what is not told."""
    told = str((obj["metadata"].get("annotations") or {}).get(DIGEST, ""))
    prefix = f"{CACHE_DIRECTORY}/"
    files = {each.removeprefix(prefix) for each in _texts(obj.get("spec")) if each.startswith(prefix)}
    return told, f"sha256:{files.pop()}" if len(files) == 1 else ""


def _questions(snapshot: Snapshot, filter_id: str) -> Iterable[tuple[str, Asked]]:
    for name, each in carriers(snapshot.objects, filter_id):
        told, file = module_of(each.object)
        for pod in pods_of(snapshot, each, snapshot.workload(each)):
            if can_be_asked(pod):
                yield each.uid, asked(pod, each.object, name, file or told)


def _whose(name: str, carrier: Carrier) -> tuple[str, str, str]:
    return name, carrier.namespace, carrier.workload_name


def _state(
    snapshot: Snapshot,
    name: str,
    carrier: Carrier,
    together: Sequence[str],
    verdicts: Mapping[tuple[str, str, str], Verdict],
) -> FilterState:
    obj = carrier.object
    told, file = module_of(obj)
    digest = file or told
    workload = snapshot.workload(carrier)
    reasons = list(_object_reasons(obj, snapshot))
    targets = (obj.get("spec") or {}).get("targetRefs") or ()
    if carrier.workload and workload is None:
        reasons.append(f"filter object without its workload {carrier.workload.lstrip('/')}: undeploy it")
    elif not carrier.workload and not targets:
        reasons.append("it names neither workload nor target")
    reasons += [
        f"its target {kind}/{called} is not there, so the filter does not run there: create it, or undeploy the filter"
        for place, kind, called in targets_of(obj)
        if (place, kind, called) in snapshot.lost
    ]
    rivals = [each for each in together if each != f"{carrier.kind.kind}/{carrier.name}"]
    if rivals:
        reasons.append(f"{', '.join(rivals)} carries it too, so it runs twice: deploy again")
    places = tuple(places_of(snapshot, carrier, workload, digest, verdicts))
    return FilterState(
        id=name,
        namespace=carrier.namespace,
        workload=(workload.key if workload else carrier.workload.lstrip("/"))
        or ", ".join(f"{each.get('kind')}/{each.get('name')}" for each in targets),
        object=f"{carrier.kind.kind}/{carrier.name}",
        image=_image(obj, digest, snapshot),
        digest=digest,
        places=places,
        reasons=tuple(reasons),
    )


def _object_reasons(obj: Object, snapshot: Snapshot) -> Iterable[str]:
    meta = obj["metadata"]
    if meta.get("deletionTimestamp"):
        yield "it is being deleted"
    yield from module_edits(obj)
    yield from edits(obj)
    legacy = snapshot.minor is None or snapshot.minor > _LAST_LEGACY
    if legacy and kind_of(obj).kind == envoyfilter.KIND and envoyfilter.MANAGER[0] in set(_texts(obj.get("spec"))):
        yield f"legacy filter names: {_PLACE}"
    status = obj.get("status") or {}
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False":
            yield f"Istio says {condition.get('type')}: {condition.get('message') or condition.get('reason', 'False')}"
    for message in status.get("validationMessages") or ():
        if message.get("level") == "ERROR":
            kind = message.get("type") or {}
            yield f"Istio says {kind.get('name', 'that it is wrong')} ({kind.get('code', '')})"


def _image(obj: Object, digest: str, snapshot: Snapshot) -> str:
    """The image as typed; of an object of the original's, what the nodes call the module."""
    told = (obj["metadata"].get("annotations") or {}).get(IMAGE)
    if told:
        return str(told)
    held = (image for status in (snapshot.holdings or {}).values() for image in status.images)
    return next((each.ref for each in held if each.module == digest and digest), "")


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
