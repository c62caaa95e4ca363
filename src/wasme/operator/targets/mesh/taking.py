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
from wasme.errors import LeadershipLost, WasmeError
from wasme.operator.informers.stores import Stores
from wasme.operator.targets.locks import Locks
from wasme.operator.targets.mesh.later import Later
from wasme.operator.targets.mesh.look import Looking
from wasme.operator.targets.mesh.shapes import Place, Shapes

log = logging.getLogger(__name__)

_PAGE = 100  # whole workloads that are in memory at a time


@dataclass
class Taken:
    """What was taken away.

    Attributes:
        objects: ``EnvoyFilter/details-v1-auth`` and so on.
        restarts: pod templates that changed.
        problem: the first thing that could not be; None for nothing.
        again: seconds after which to go on; None for nothing to go on with.
        unsettled: there are marks that nothing needs, which may be somebody's beginning: seconds until it is known;
            None for no such marks.
    """

    objects: list[str] = field(default_factory=list)
    restarts: int = 0
    problem: WasmeError | None = None
    again: float | None = None
    unsettled: float | None = None

    @property
    def anything(self) -> bool:
        """Whether anything was written."""
        return bool(self.objects or self.restarts)

    def go_on(self, seconds: float) -> None:
        """Go on after some seconds, or sooner."""
        self.again = seconds if self.again is None else min(self.again, seconds)

    def do(self, work: Callable[[], removal.Removed]) -> bool:
        """Do one thing, and tell whether it was done; one that fails stops no other."""
        try:
            removed = work()
        except WasmeError as error:
            log.warning(error.message)
            self.problem = self.problem or error
            return False
        self.objects += removed.objects
        self.restarts += removed.restarts
        return True


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
        self._read: dict[str, str] = {}  # the uid of each namespace whose workloads were all read
        self._unread: dict[str, WasmeError] = {}
        self._later = Later()

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
            self._do(taken, place, partial(self._take, filter_id, namespace, place, carriers))
        for place in self._with_volume(filter_id, namespace, meant):
            self._do(taken, place, partial(self._take, filter_id, namespace, place, ()))
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
            place = self._place(each)
            self._do(taken, place, partial(self._take, filter_id, namespace, place, [each]))
        for named in told:
            self._do(taken, named, partial(self._tidy, named))
        taken.unsettled = self._looking.litter.waits(namespace)
        # Nobody knows what lies in a namespace that could not be read.
        taken.problem = taken.problem or self._unread.get(namespace)
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

        All workloads of the namespace are read for it, once. What cannot be tidied then is nobody's here, and keeps
        nobody waiting: it is logged, and tried again alone.

        Raises:
            LeadershipLost: somebody else is to work now.
        """
        taken = Taken()
        if not self._is_read(namespace):
            self._read_all(namespace)
        if not self._is_read(namespace):
            return taken
        for place in self._later.take(namespace):
            tried = Taken()
            if self._do(tried, place, partial(self._settled, place)):
                taken.restarts += tried.restarts
                left = self._looking.litter.left(place)
                if left is not None:
                    self._later.add([place], left)
                    taken.go_on(left)
            if isinstance(tried.problem, LeadershipLost):
                raise tried.problem
            if tried.again is not None:
                taken.go_on(tried.again)
        return taken

    def _read_all(self, namespace: str) -> None:
        """Know all workloads of a namespace; where that fails the next one tries after a while, and not all at once."""
        whole = Place("", namespace, "")
        with self._locks.held(whole):
            uid = self._uid(namespace)
            if self._is_read(namespace) or (
                namespace in self._unread and whole not in self._later.take(namespace, whole)
            ):
                return
            try:
                for kind in KINDS.values():
                    for page in self._cluster.pages(kind, namespace, limit=_PAGE):
                        for each in page.items:
                            self._shapes.keep(each)
            except WasmeError as error:
                fields = {"namespace": namespace, "reason": error.message}
                log.warning("a namespace cannot be searched for what is left", extra={"fields": fields})
                self._unread[namespace] = error
                self._later.failed(whole)
                return
            self._later.went(whole)
            self._later.add(self._shapes.marked(namespace))
            with self._guard:
                self._unread.pop(namespace, None)
                self._read[namespace] = uid

    def _is_read(self, namespace: str) -> bool:
        """Whether all workloads are known that this namespace came with; one of its name from a backup has others."""
        return self._read.get(namespace) == self._uid(namespace)

    def _uid(self, namespace: str) -> str:
        found = self._stores.namespaces.store.get(("", namespace))
        return found.uid if found is not None else ""

    def _do(self, taken: Taken, place: Place | None, work: Callable[[], removal.Removed]) -> bool:
        """Do one thing at a place; where it fails the place is tidied later, too: its objects may be gone already."""
        done = taken.do(work)
        if place is not None and done:
            self._later.went(place)
        elif place is not None:
            taken.go_on(self._later.failed(place))
        return done

    def _settled(self, place: Place) -> removal.Removed:
        """Tidy a place where nobody has just begun something."""
        workload = self._workload(place)
        if workload is None:
            return self._tidy(place)
        found = (
            template.is_marked(workload)
            and not self._is_needed(place)
            and template.unmarked(workload, template.CACHE_VOLUMES, (CACHE_LABEL,)) is not None
        )
        if not self._looking.litter.lies(workload, found=found):
            return removal.Removed(place.namespace, f"{place.kind}/{place.name}", (), False)
        return self._tidy(place)

    def _tidy(self, place: Place) -> removal.Removed:
        """Take the node cache's folder from a pod template if it is ours and no filter needs it."""
        kept = removal.Removed(place.namespace, f"{place.kind}/{place.name}", (), False)
        if self._is_needed(place):
            return kept
        with self._locks.held(place):
            workload = self._workload(place)
            if workload is None or self._is_needed(place):
                return kept
            changed = template.is_marked(workload) and removal.strip(
                self._cluster, workload, lambda each: _cache_if_unused(self._known(place), each)
            )
            self._looking.litter.forget(place)
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
            removed = removal.take_away(
                self._cluster,
                filter_id,
                namespace,
                workload,
                carriers,
                lambda each: removal.unneeded(self._known(place), each, filter_id, gone),
            )
            if removed.restarts:
                self._looking.litter.forget(place)
            return removed

    def _workload(self, place: Place) -> Workload | None:
        """As it is known now; None for one that is gone."""
        meta = self._stores.workloads[place.kind].store.get((place.namespace, place.name))
        if meta is None:
            self._shapes.forget(place)
            self._looking.litter.forget(place)
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
