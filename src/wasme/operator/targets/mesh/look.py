"""One look at a FilterDeployment of a mesh: which workloads are meant, what there is to do; nothing is written.

Every check of ``deploy istio`` is made, by the same code (``deploy.istio.facts``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster, parallel
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.istio import removal, template
from wasme.deploy.istio.apply import Step
from wasme.deploy.istio.existing import Known, uses_cache
from wasme.deploy.istio.facts import Facts, conclude, fitting, require_targets_fit
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.owner import Owner
from wasme.deploy.istio.provider import Istio
from wasme.deploy.istio.target import DIGEST
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import require_id
from wasme.deploy.stored import is_current
from wasme.errors import NothingMatches, WasmeError
from wasme.operator.informers.facts import WorkloadMeta
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Wanted
from wasme.operator.targets.mesh.around import Around, Remembered
from wasme.operator.targets.mesh.later import Litter
from wasme.operator.targets.mesh.shapes import Place, Shapes, place_of

log = logging.getLogger(__name__)

_AT_ONCE = 4  # workloads that one look reads at a time
_FEW = 4  # that are read one by one, where a list would bring others as well


@dataclass
class Look:
    """What one look found.

    Attributes:
        order: what is asked for, in the object's own namespace.
        matched: the workloads that are meant and stay; none with targets.
        facts: what follows of all that is known.
        istio: plans the steps.
        fit: workloads whose proxies can have the filter.
        failed: workloads for which nothing can be done, with the reason.
        done: steps with nothing to do.
        todo: the others.
        warnings: what works, and should be known.
    """

    order: Order
    matched: Sequence[WorkloadMeta]
    facts: Facts
    istio: Istio
    fit: Sequence[Workload] = ()
    failed: dict[Place, WasmeError] = field(default_factory=dict)
    done: list[Step] = field(default_factory=list)
    todo: list[Step] = field(default_factory=list)
    warnings: tuple[str, ...] = ()


class Looking:
    """Looks.

    Args:
        cluster: where what the stores do not have is read.
        stores: what is known.
        shapes: workloads as they were read.
    """

    def __init__(self, cluster: Cluster, stores: Stores, shapes: Shapes) -> None:
        self._cluster = cluster
        self._stores = stores
        self._shapes = shapes
        self._remembered = Remembered()
        self.litter = Litter()

    def around(self) -> Around:
        """The surroundings, for one look."""
        return Around(self._cluster, self._stores, self._remembered)

    def forget(self) -> None:
        """Believe no answer of before: the API server refused what followed of them."""
        self._remembered.forget()

    def existing(self, namespace: str) -> Known:
        """What carries filters in a namespace."""
        return self._stores.carriers.within(namespace)

    def matched(self, order: Order) -> list[WorkloadMeta]:
        """The workloads that are meant, by name; those that are being deleted too."""
        selection = order.selection
        if order.target.target_refs:
            return []
        (namespace,) = selection.namespaces
        return self._stores.selected(selection.kind, namespace, selection.labels, selection.name)

    def look(
        self, wanted: Wanted, image: ResolvedImage, order: Order, matched: Sequence[WorkloadMeta], around: Around
    ) -> Look:
        """Look once.

        Args:
            wanted: what is asked for.
            image: the filter's.
            order: the same of the mesh, in the object's own namespace.
            matched: the workloads that are meant.
            around: the surroundings.

        Raises:
            WasmeError: what stands in the way of all of it.
        """
        require_id(wanted.filter.id)
        (namespace,) = order.selection.namespaces
        places = [around.namespace(namespace)]
        around.require_targets(order)
        living = [each for each in matched if not each.deleting]
        if not order.target.target_refs and not living:
            raise self._none(order, len(matched))
        read, failed = self._workloads(order, living)
        if failed and not read:
            raise next(iter(failed.values()))  # nothing can be read
        fit = fitting(around, read, order)
        if not around.kinds():
            self._cluster.served().need(ENVOY_FILTER)
        existing = self.existing(namespace)
        facts = conclude(around, wanted.filter, order, image, fit, existing, places)
        require_targets_fit(order, facts.choice)
        owner = Owner(wanted.key.name, wanted.uid, lambda uid: self.lives(namespace, uid))
        istio = Istio(self._cluster, order, lambda _: image, owner=owner)
        found = Look(order, living, facts, istio, fit, failed, warnings=tuple(around.warnings))
        for workload, step in self._steps(found, namespace):
            if isinstance(step, WasmeError):
                assert workload is not None
                found.failed[Place(workload.kind.kind, workload.namespace, workload.name)] = step
            else:
                (found.done if self.is_done(step, existing) else found.todo).append(step)
        reasons = {each.message: each for each in found.failed.values()}
        if len(reasons) == 1 and not found.done and not found.todo:
            raise next(iter(reasons.values()))  # no workload can have it
        return found

    def step(self, look: Look, workload: Workload | None) -> Step:
        """What there is to do for one workload as it is known now, or for the targets.

        Raises:
            WasmeError: see ``Istio.step``; DeployFailed where the workload is gone.
        """
        if workload is None:
            return look.istio.targets_step(look.facts, look.order.selection.namespaces[0])
        return look.istio.step(look.facts, workload)

    def is_done(self, step: Step, existing: Known) -> bool:
        """Whether there is nothing to write for a step, and nothing to take away."""
        if step.live is None or step.superseded or step.live["metadata"].get("deletionTimestamp"):
            return False
        if not is_current(step.live, step.carrier):
            return False
        if step.workload is None:
            return True
        if step.marks is not None:
            return template.is_as_marked(step.workload, step.marks)
        return not self.is_littered(step.workload, step.carrier["metadata"]["annotations"]["wasme.io/id"], existing)

    def is_littered(self, workload: Workload, filter_id: str, existing: Known) -> bool:
        """Whether a pod template has marks of ours that nothing needs, as an interrupted change leaves them, and
        not as somebody has just written them who goes on in a moment."""
        found = template.is_marked(workload)
        if found:
            what = removal.unneeded(existing, workload, filter_id, ())
            found = template.unmarked(workload, what.volumes, what.labels) is not None
        return self.litter.lies(workload, found=found)

    def workload(self, meta: WorkloadMeta) -> Workload | None:
        """A workload as it is known, or read now; None for one that is gone.

        Raises:
            ClusterError: it cannot be read.
        """
        known = self._shapes.at(meta)
        if known is not None:
            return known
        kind = self._stores.workloads[meta.kind].kind
        found = self._cluster.get(kind, meta.name, meta.namespace)
        if found is None:
            self._shapes.forget(place_of(meta))
            return None
        return self._shapes.keep(found)

    def lives(self, namespace: str, uid: str) -> bool:
        """Whether there is a FilterDeployment with that uid."""
        return any(each.uid == uid for each in self._stores.resources.store.all(namespace))

    def _workloads(
        self, order: Order, matched: Sequence[WorkloadMeta]
    ) -> tuple[list[Workload], dict[Place, WasmeError]]:
        """All of them in the order of their names, each read at most once for each of its generations."""
        unknown = [each for each in matched if self._shapes.at(each) is None]
        if len(unknown) > _FEW and 2 * len(unknown) > len(matched):
            selection = order.selection
            pages = self._cluster.pages(
                selection.kind, selection.namespaces[0], labels=selection.label_selector, limit=100
            )
            for page in pages:
                for each in page.items:
                    self._shapes.keep(each)
        outcomes = parallel(self.workload, matched, bound=_AT_ONCE if len(unknown) > 1 else 1)
        failed = {place_of(each.item): each.error for each in outcomes if each.error is not None}
        return [each.result for each in outcomes if each.result is not None and not each.result.terminating], failed

    def _steps(self, look: Look, namespace: str) -> Iterator[tuple[Workload | None, Step | WasmeError]]:
        if look.order.target.target_refs:
            yield None, look.istio.targets_step(look.facts, namespace)
        for each in look.fit:
            try:
                yield each, self.step(look, each)
            except WasmeError as error:
                yield each, error

    def _none(self, order: Order, leaving: int) -> NothingMatches:
        selection = order.selection
        if leaving:
            return NothingMatches(f"every {selection} is being deleted")
        (namespace,) = selection.namespaces
        names = [each.name for each in self._stores.selected(selection.kind, namespace, {})]
        there = f"what is there: {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}"
        others = [kind for kind, each in self._stores.workloads.items() if each.store.all(namespace)]
        if not names and others:
            there = f"there is no {selection.kind.kind} at all; --workload-type {others[0]} would find some"
        return NothingMatches(f"found no {selection}", hint=there if names or others else "there is no workload at all")


def own(wanted: Wanted, options: CacheOptions) -> Order:
    """What a FilterDeployment asks of a mesh: for its own namespace alone, by the operator's node cache, and with
    images by digest, since the operator itself follows tags.

    Args:
        wanted: what is asked for.
        options: the operator's node cache.
    """
    order = wanted.order
    assert order is not None
    return replace(
        order,
        selection=replace(order.selection, namespaces=(wanted.key.namespace,)),
        target=replace(order.target, pull_policy=""),
        caching=replace(order.caching, options=options),
    )


def waits_for_nodes(step: Step) -> bool:
    """Whether a step points proxies at a file that those that run the filter now do not have."""
    if not uses_cache(step.carrier):
        return False
    live = step.live
    if live is None or not uses_cache(live):
        return True
    told = (live["metadata"].get("annotations") or {}).get(DIGEST)
    return bool(told != step.carrier["metadata"]["annotations"][DIGEST])
