"""Taking a filter from where it is not meant any more: strays, what is left of interrupted changes, everything.

What is to go is found by what lies in the cluster, never by what this process remembers; so whoever comes after one
that was killed finds the rest.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.cluster import Cluster
from wasme.deploy.istio import removal, template
from wasme.deploy.istio.caching import places, settle_quietly
from wasme.deploy.istio.existing import Carrier, Known
from wasme.deploy.istio.owner import controller_of, is_filter_deployment
from wasme.deploy.istio.workloads import KINDS, Workload
from wasme.errors import WasmeError
from wasme.operator.mesh.locks import Locks
from wasme.operator.mesh.look import Looking
from wasme.operator.mesh.shapes import Place, Shapes
from wasme.operator.stores import Stores

log = logging.getLogger(__name__)

_PAGE = 100  # whole workloads that are in memory at a time


@dataclass
class Taken:
    """What was taken away.

    Attributes:
        objects: ``EnvoyFilter/details-v1-auth`` and so on.
        restarts: pod templates that changed.
        problem: the first thing that could not be; None for nothing.
    """

    objects: list[str] = field(default_factory=list)
    restarts: int = 0
    problem: WasmeError | None = None

    @property
    def anything(self) -> bool:
        """Whether anything was written."""
        return bool(self.objects or self.restarts)

    def do(self, work: Callable[[], removal.Removed]) -> None:
        """Do one thing; one that fails stops no other."""
        try:
            removed = work()
        except WasmeError as error:
            log.warning(error.message)
            self.problem = self.problem or error
        else:
            self.objects += removed.objects
            self.restarts += removed.restarts


class Taking:
    """Takes away.

    Args:
        cluster: tells what it writes.
        stores: what is known.
        shapes: workloads as they were read.
        looking: reads workloads.
        locks: one for each workload.
    """

    def __init__(self, cluster: Cluster, stores: Stores, shapes: Shapes, looking: Looking, locks: Locks) -> None:
        self._cluster = cluster
        self._stores = stores
        self._shapes = shapes
        self._looking = looking
        self._locks = locks
        self._guard = threading.Lock()
        self._swept: set[str] = set()

    def strays(self, uid: str, filter_id: str, namespace: str, matched: Iterable[Place], *, targets: bool) -> Taken:
        """Take the filter from what is not meant.

        Args:
            uid: of the FilterDeployment.
            filter_id: of its filter.
            namespace: of both.
            matched: the workloads that are meant, those that are being deleted too.
            targets: whether an object for targets is meant.
        """
        taken = self.sweep(namespace)
        meant = set(matched)
        gone: dict[Place | None, list[Carrier]] = {}
        for each in self.own(uid, filter_id, namespace):
            place = self._place(each)
            is_meant = place in meant if each.workload else targets
            if not is_meant and not self._is_leaving(place):
                gone.setdefault(place, []).append(each)
        for place, carriers in gone.items():
            taken.do(partial(self._take, filter_id, namespace, place, carriers))
        for place in self._with_volume(filter_id, namespace, meant):
            taken.do(partial(self._take, filter_id, namespace, place, ()))
        self._remember(namespace, taken)
        return taken

    def everything(self, uid: str, filter_id: str, namespace: str, told: Iterable[Place] = ()) -> Taken:
        """Take away all that is there of a filter in a namespace, but for what another FilterDeployment controls.

        Args:
            uid, filter_id, namespace: as in ``strays``.
            told: workloads that the FilterDeployment's status names. The cluster's garbage collector may have been
                faster with the objects, and nothing else would lead to their pod templates.
        """
        taken = self.strays(uid, filter_id, namespace, (), targets=False)
        for each in self.own(uid, filter_id, namespace):  # of workloads that are being deleted
            taken.do(partial(self._take, filter_id, namespace, self._place(each), [each]))
        for place in told:
            taken.do(partial(self._tidy, place))
        self._remember(namespace, taken)
        return taken

    def own(self, uid: str, filter_id: str, namespace: str) -> list[Carrier]:
        """What carries the filter in a namespace, but for what another FilterDeployment controls."""
        found = self._stores.carriers.of_filter(filter_id, namespace)
        return [each for each in found if not self._is_anothers(each, uid)]

    def settle_elsewhere(
        self, filter_id: str, namespace: str, before: Sequence[Carrier], options: CacheOptions
    ) -> None:
        """Have other node caches forget a filter whose objects named them: a deployment by hand chose one."""
        elsewhere = [each for each in places(before, options) if each.shown != options.shown]
        now = self._stores.carriers.of_filter(filter_id, namespace) if elsewhere else []
        for each in elsewhere:
            settle_quietly(self._cluster, each, filter_id, [namespace], now)

    def sweep(self, namespace: str) -> Taken:
        """Take from the pod templates of a namespace what an interrupted change has left and nothing needs.

        All workloads of the namespace are read for it, once, and again when something could not be taken away.
        """
        taken = Taken()
        if namespace in self._swept:
            return taken
        with self._locks.held(("all of", namespace)):
            if namespace in self._swept:
                return taken
            try:
                for kind in KINDS.values():
                    for page in self._cluster.pages(kind, namespace, limit=_PAGE):
                        for each in page.items:
                            self._shapes.keep(each)
            except WasmeError as error:
                taken.problem = error
                return taken
            for place in self._shapes.marked(namespace):
                taken.do(partial(self._tidy, place))
            with self._guard:
                self._swept.add(namespace)
        self._remember(namespace, taken)
        return taken

    def _remember(self, namespace: str, taken: Taken) -> None:
        if taken.problem is not None:
            with self._guard:
                self._swept.discard(namespace)

    def _tidy(self, place: Place) -> removal.Removed:
        """Take the node cache's folder from a pod template if it is ours and no filter needs it."""
        kept = removal.Removed(place.namespace, f"{place.kind}/{place.name}", (), False)
        if self._is_needed(place):
            return kept
        with self._locks.held(place):
            workload = self._workload(place)
            if workload is None or self._is_needed(place) or not template.is_marked(workload):
                return kept
            changed = removal.strip(self._cluster, workload, lambda each: _cache_if_unused(self._known(place), each))
        return removal.Removed(place.namespace, f"{place.kind}/{place.name}", (), changed)

    def _is_needed(self, place: Place) -> bool:
        workload = self._workload(place)
        if workload is None or workload.terminating:
            return True
        return bool(self._known(place).cache_users(place.namespace, workload.template_labels))

    def _known(self, place: Place) -> Known:
        return self._looking.existing(place.namespace)

    def _take(
        self, filter_id: str, namespace: str, place: Place | None, carriers: Sequence[Carrier]
    ) -> removal.Removed:
        if place is None:
            return removal.take_away(self._cluster, filter_id, namespace, None, carriers, _nothing)
        with self._locks.held(place):
            workload = self._workload(place)
            gone = {each.uid for each in carriers}
            return removal.take_away(
                self._cluster,
                filter_id,
                namespace,
                workload,
                carriers,
                lambda each: removal.unneeded(self._known(place), each, filter_id, gone),
            )

    def _workload(self, place: Place) -> Workload | None:
        """As it is known now; None for one that is gone."""
        meta = self._stores.workloads[place.kind].store.get((place.namespace, place.name))
        if meta is None:
            self._shapes.forget(place)
            return None
        return self._looking.workload(meta)

    def _place(self, carrier: Carrier) -> Place | None:
        """The workload that an object was made for; None for one with targets."""
        if not carrier.workload:
            return None
        kind, _, name = carrier.workload.partition("/")
        if not kind:  # the original told nowhere of which kind it was
            key = (carrier.namespace, name)
            kind = next(
                (each for each, informer in self._stores.workloads.items() if informer.store.get(key)), "Deployment"
            )
        if kind not in self._stores.workloads:
            return None
        return Place(kind, carrier.namespace, name)

    def _is_leaving(self, place: Place | None) -> bool:
        """Whether a workload is being deleted: its object goes when it is gone, as its pods still run."""
        if place is None:
            return False
        meta = self._stores.workloads[place.kind].store.get((place.namespace, place.name))
        return meta is not None and meta.deleting

    def _is_anothers(self, carrier: Carrier, uid: str) -> bool:
        owner = controller_of(carrier.object)
        if owner is None or not is_filter_deployment(owner) or owner.get("uid") == uid:
            return False
        return self._looking.lives(carrier.namespace, str(owner.get("uid", "")))

    def _with_volume(self, filter_id: str, namespace: str, meant: set[Place]) -> list[Place]:
        """Workloads that are not meant whose pods have the filter's own volume, and nothing that carries it."""
        found = []
        for place in self._shapes.labelled(namespace, template.volume_label(filter_id)):
            kind = self._stores.workloads[place.kind].kind
            if place in meant or self._is_leaving(place) or self._workload(place) is None:
                continue
            if not self._known(place).of_workload(filter_id, kind, namespace, place.name):
                found.append(place)
        return found


def _nothing(_: Workload) -> removal.Unneeded:
    return removal.Unneeded((), ())


def _cache_if_unused(existing: Known, workload: Workload) -> removal.Unneeded:
    """What of the node cache a workload's pods need no more; nothing where a filter came meanwhile."""
    if existing.cache_users(workload.namespace, workload.template_labels):
        return removal.Unneeded((), ())
    return removal.Unneeded(template.CACHE_VOLUMES, (CACHE_LABEL,))
