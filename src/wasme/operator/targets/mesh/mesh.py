"""Makes a FilterDeployment's filter be on the workloads of a mesh as it is wanted; nothing waits in here."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cluster import Cluster
from wasme.deploy.istio.apply import Step
from wasme.deploy.istio.workloads import KINDS
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.rollout.workloads import Workloads
from wasme.errors import ClusterError, DeployFailed, LeadershipLost, NotServed, ObjectRefused, WasmeError
from wasme.operator.informers.facts import Resource
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.holding import Holding
from wasme.operator.resources.remembered import remembered
from wasme.operator.resources.report import Held, Report
from wasme.operator.resources.wanted import Key, Wanted
from wasme.operator.targets.locks import Locks
from wasme.operator.targets.mesh import lines, tell
from wasme.operator.targets.mesh.change import Changing
from wasme.operator.targets.mesh.cluster import Telling
from wasme.operator.targets.mesh.look import Look, Looking, own, waits_for_nodes
from wasme.operator.targets.mesh.meanwhile import Meanwhile
from wasme.operator.targets.mesh.rollouts import PAUSE, Aim, Rollouts, Run
from wasme.operator.targets.mesh.shapes import Place, Shapes, place_of
from wasme.operator.targets.mesh.taking import Taken, Taking
from wasme.operator.targets.mesh.words import reworded

log = logging.getLogger(__name__)

Object = dict[str, Any]

_WORKLOADS = frozenset(each.kind for each in KINDS.values())
_SOON = 5.0
"""Seconds after which something is looked at again that nobody may call for: pods that are made anew, proxies."""
_ENDING = 2.0
"""Seconds that a rollout has to end, when all of it is to be taken away."""
_UNFOLLOWED = 60.0
"""The same for targets: only Gateways among them call."""


class Mesh:
    """One place that runs filters. Safe to use from many threads, with different keys; one for each term of a leader.

    Args:
        cluster: where; its writes are guarded by the lease.
        stores: what is known of it.
        holding: of the modules on the nodes.
        call: called with a key that is to be looked at again.
    """

    def __init__(self, cluster: Cluster, stores: Stores, holding: Holding, call: Callable[[Key], None]) -> None:
        self._stores = stores
        self._holding = holding
        self._shapes = Shapes()
        self._cluster = Telling.of(cluster, self._stored, stores.drop)
        self._meanwhile = Meanwhile(self._cluster, stores)
        self._looking = Looking(self._cluster, stores, self._shapes)
        locks = Locks()
        self._changing = Changing(self._cluster, stores, self._looking, locks)
        self._taking = Taking(self._cluster, stores, self._shapes, self._looking, locks)
        self._rollouts = Rollouts(call)
        self._ids: dict[Key, str] = {}
        self._subscribed = [
            (informer, _forgetting(weakref.ref(self._shapes), informer.kind.kind))
            for informer in stores.workloads.values()
        ]
        for informer, forgetting in self._subscribed:
            informer.subscribe(forgetting)

    def reconcile(self, wanted: Wanted, image: ResolvedImage) -> Report:
        """Make it as wanted, as far as that can be done now.

        Args:
            wanted: with an order of a mesh.
            image: the filter's.

        Raises:
            LeadershipLost: somebody else is to work now.
        """
        self._remember(wanted, image)
        self._ids[wanted.key] = wanted.filter.id
        order = own(wanted, self._holding.options)
        matched = self._looking.matched(order)
        taken = self._taking.strays(
            wanted.uid,
            wanted.filter.id,
            wanted.key.namespace,
            map(place_of, matched),
            targets=bool(order.target.target_refs),
        )
        _require_lead(taken)
        around = self._looking.around()
        try:
            look = self._looking.look(wanted, image, order, matched, around)
            report = self._make(wanted, look)
        except LeadershipLost:
            raise
        except WasmeError as error:
            if isinstance(error, NotServed | ObjectRefused):
                self._looking.forget()
            if isinstance(error, DeployFailed) or not isinstance(error, ClusterError):
                self._keep(wanted, ())  # where the server only did not answer, what is asked for stays asked for
            report = tell.failed(order, matched, reworded(error), around.warnings)
        # What may be mended here or there is a failure as others are; only what is missing elsewhere calls nobody.
        if order.target.target_refs and (report.problem is None or not report.retry):
            report = replace(report, again=min(_UNFOLLOWED, report.again or _UNFOLLOWED))
        return tell.with_taken(report, taken)

    def kept(self, wanted: Wanted, image: ResolvedImage, why: str) -> Report:
        """What is so already, while nobody can look at the image; nothing is written.

        Args:
            wanted: with an order of a mesh.
            image: as the status remembers it.
            why: what the others wait for.
        """
        self._remember(wanted, image)
        order = own(wanted, self._holding.options)
        matched = self._looking.matched(order)
        around = self._looking.around()
        try:
            look = self._looking.look(wanted, image, order, matched, around)
        except WasmeError as error:
            return tell.failed(order, matched, reworded(error), around.warnings)
        needed = lines.needed(look.facts, order, wanted.key.namespace)
        self._holding.waiting(wanted.key, needed)
        held = self._holding.standing(needed, around.nodes(look.fit))
        report = tell.Telling(look)
        run = self._rollouts.of(wanted.key)
        aim = Aim(wanted.uid, wanted.generation, image.manifest.digest)
        turned = reworded(run.error) if run is not None and run.error is not None and run.aim == aim else None
        if turned is not None:
            report.fail(look.todo, turned)
        else:
            report.wait(look.todo, why)
        return Report(report.targets(held), held, turned, warnings=tell.warnings(look.warnings))

    def pause(self, key: Key) -> bool:
        """End a rollout that runs, and turn nothing back; whether it has ended already."""
        return self._rollouts.end(key)

    def forget(self, key: Key) -> None:
        """A FilterDeployment is gone, and nothing of it is left: it is called no more."""
        self._rollouts.forget(key)
        self._holding.waiting(key, ())
        self._ids.pop(key, None)

    def remove(self, key: Key, filter_id: str) -> Report:
        """Take away everything of a filter in the key's namespace, but for what another FilterDeployment controls.

        Returns:
            A report without a problem and without targets when nothing is left.

        Raises:
            LeadershipLost: somebody else is to work now.
        """
        if not self._rollouts.end(key, wait=_ENDING):
            return Report(targets=(tell.rolling(key),), again=1.0)
        self._rollouts.forget(key)
        resource = self._stores.resource(key)
        uid = resource.uid if resource is not None else ""
        before = self._taking.own(uid, filter_id, key.namespace)
        told = _told(resource) if resource is not None else []
        taken = self._taking.everything(uid, filter_id, key.namespace, told)
        if taken.problem is not None:
            _require_lead(taken)
            return tell.with_taken(Report(problem=reworded(taken.problem), retry=True), taken)
        if taken.unsettled is not None:
            return tell.with_taken(Report(targets=(tell.littered(key),), again=taken.unsettled), taken)
        try:
            self._taking.settle_elsewhere(filter_id, key.namespace, before, self._holding.options)
            forgotten = self._holding.forget(key.namespace, filter_id, key)
        except LeadershipLost:
            raise
        except WasmeError as error:
            return tell.with_taken(Report(problem=error, retry=True), taken)
        if forgotten and self._ids.get(key) == filter_id:
            del self._ids[key]
        report = Report() if forgotten else Report(targets=(tell.listed(self._holding.options),), again=_SOON)
        return tell.with_taken(report, taken)

    def owned(self, key: Key) -> set[str]:
        """The ids of the filters whose objects a FilterDeployment of this name controls, and the one that it had last:
        the nodes may have been asked for its module before the first object came."""
        last = self._ids.get(key)
        return self._stores.carriers.owned(key) | ({last} if last else set())

    def close(self) -> None:
        """End what is under way, and turn nothing back: who leads next takes it up where it stands."""
        self._meanwhile.close()
        self._rollouts.close()
        for informer, forgetting in self._subscribed:
            informer.unsubscribe(forgetting)

    def _stored(self, obj: Object) -> None:
        """Know at once what a write of ours was answered."""
        self._stores.put(obj)
        if obj.get("kind") in self._stores.workloads:
            place = Place(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
            before = self._shapes.last(place)
            self._shapes.keep(obj)
            if self._meanwhile.written(place, before, obj):
                self._changing.stripped(place)

    def _remember(self, wanted: Wanted, image: ResolvedImage) -> None:
        """Know what an operator before this one has turned back, before anything else may stand in the status."""
        if not wanted.rollout or self._rollouts.of(wanted.key) is not None:
            return
        resource = self._stores.resource(wanted.key)
        if resource is None or resource.uid != wanted.uid:
            return
        status, manifest = resource.object.get("status"), image.manifest.digest
        error = remembered(status if isinstance(status, dict) else None, wanted.generation, manifest)
        if error is not None:
            self._rollouts.remember(wanted.key, Aim(wanted.uid, wanted.generation, manifest), error)

    def _make(self, wanted: Wanted, look: Look) -> Report:
        needed = lines.needed(look.facts, look.order, wanted.key.namespace)
        aim = Aim(wanted.uid, wanted.generation, look.facts.image.manifest.digest)
        run = self._rollouts.of(wanted.key)
        if wanted.rollout and run is not None and run.error is not None and run.aim == aim:
            return self._turned_back(wanted, look, run.error)
        report = tell.Telling(look)
        ready, held, problem = self._hold(wanted, look, needed)
        blocked = [] if ready else [each for each in look.todo if waits_for_nodes(each)]
        free = [each for each in look.todo if each not in blocked]
        again: float | None = None
        progress = ""
        changed = False
        retry = problem is not None or bool(look.failed)
        is_under_way = run is not None and not run.over
        if is_under_way or (wanted.rollout is not None and (run is None or run.aim != aim or not run.done)):
            progress = self._roll(wanted, look, aim, run, free, blocked)
            report.wait(free, progress)
            again = PAUSE if progress else None  # it calls by itself, but while it waits for workloads to be well
        elif free:
            resting = self._changing.resting(free, aim)
            damped = self._changing.damped([each for each in free if each.label not in resting])
            later = {**resting, **damped}
            for step in free:
                if step.label in later:
                    report.fail([step], later[step.label][0])
            free = [each for each in free if each.label not in later]
            outcomes = self._changing.all(look, free, aim)
            for each in outcomes.failures:
                if isinstance(each.error, LeadershipLost):
                    raise each.error
                if isinstance(each.error, NotServed | ObjectRefused):
                    self._looking.forget()
            report.changed(outcomes)
            changed = any(
                each.result and (each.result.action != "unchanged" or each.result.restarts) for each in outcomes
            )
            begun = {each.item.label for each in outcomes}
            rest = [each for each in free if each.label not in begun]
            report.wait(rest, "its turn comes")
            resting |= self._changing.resting([each.item for each in outcomes.failures], aim)
            retry = retry or bool(resting)
            times = [wait for _, wait in (*resting.values(), *damped.values())]
            times += [_SOON] if report.left else []
            again = 0.0 if rest else min(times, default=None)
        report.wait(blocked, tell.missing(held))
        settling = self._looking.litter.waits(wanted.key.namespace)
        if settling is not None:
            again = settling if again is None else min(again, settling)
        if held.again is not None:
            again = held.again if again is None else min(again, held.again)
        self._keep(wanted, needed)
        return Report(
            targets=report.targets(held),
            held=held,
            problem=reworded(problem) if problem is not None else None,
            progress=progress,
            warnings=tell.warnings(look.warnings),
            changed=changed,
            again=again,
            retry=retry,
        )

    def _hold(self, wanted: Wanted, look: Look, needed: Sequence[FilterLine]) -> tuple[bool, Held, WasmeError | None]:
        """Ask the nodes for the module; whether proxies may be pointed at it, how many hold it, and what went wrong."""
        if not needed:
            self._holding.waiting(wanted.key, ())
            return True, Held(), None
        nodes = self._looking.around().nodes(look.fit)
        try:
            listed = self._holding.want(needed, wanted)
            held = self._holding.standing(needed, nodes)
            waits = any(map(waits_for_nodes, look.todo))
            active = listed and (held.complete or not waits) and self._holding.activate(needed)
        except LeadershipLost:
            raise
        except WasmeError as error:
            return False, self._holding.standing(needed, nodes), error
        return active and held.complete, held, None

    def _keep(self, wanted: Wanted, needed: Sequence[FilterLine]) -> None:
        """Have the nodes hold what the objects that are there need, and what is wanted; and no more."""
        key, filter_id = wanted.key, wanted.filter.id
        carriers = self._stores.carriers.of_filter(filter_id, key.namespace)
        there = lines.of_carriers(carriers, self._holding.options, filter_id)
        try:
            self._holding.keep(key.namespace, filter_id, (*needed, *there))
        except LeadershipLost:
            raise
        except WasmeError as error:  # it costs room on the nodes, and no more; the next look tries again
            fields = {"filterdeployment": str(key), "reason": error.message}
            log.warning("the nodes go on holding what is out of use", extra={"fields": fields})

    def _roll(
        self, wanted: Wanted, look: Look, aim: Aim, run: Run | None, free: Sequence[Step], blocked: Sequence[Step]
    ) -> str:
        """Go on with a rollout, or begin one; how far it is, "" where there is nothing to roll out."""
        if run is not None and not run.over:
            if run.aim == aim:
                return run.progress
            self._rollouts.end(wanted.key)
            return "the rollout before is being ended"
        assert wanted.rollout is not None
        if blocked:
            return "it begins when the nodes hold the module"
        if not free:
            self._rollouts.settled(wanted.key, aim)
            return ""
        if run is not None and run.unwell is not None and run.aim == aim and time.monotonic() < run.until:
            return f"it waits: {run.unwell.message}"
        work = self._changing.applying(look)
        begun = self._rollouts.begin(
            wanted.key,
            aim,
            wanted.rollout,
            Workloads(self._cluster, wanted.filter.id),
            free,
            partial(self._changing.one, look, work),
            partial(self._changing.finish, work),
        )
        return begun.progress

    def _turned_back(self, wanted: Wanted, look: Look, error: WasmeError) -> Report:
        """A rollout that failed is not tried again before something else is wanted; the nodes hold what is there."""
        carriers = self._taking.own(wanted.uid, wanted.filter.id, wanted.key.namespace)
        there = lines.of_carriers(carriers, self._holding.options, wanted.filter.id)
        self._holding.waiting(wanted.key, there)
        self._keep(wanted, there)
        problem = reworded(error)
        report = tell.Telling(look)
        report.fail([*look.todo], problem)
        held = self._holding.standing(there, self._looking.around().nodes(look.fit))
        return Report(report.targets(held), held, problem, warnings=tell.warnings(look.warnings), again=600.0)


def _forgetting(shapes: weakref.ref[Shapes], kind: str) -> Callable[[Key, Any, Any], None]:
    """Forgets workloads that are gone, for as long as there is anybody who remembers."""

    def changed(key: Key, _before: Any, after: Any) -> None:
        remembered = shapes()
        if after is None and remembered is not None:
            remembered.forget(Place(kind, *key))

    return changed


def _told(resource: Resource) -> list[Place]:
    """The workloads of its namespace that a FilterDeployment's status names."""
    status = resource.object.get("status")
    targets = status.get("targets") if isinstance(status, dict) else None
    return [
        Place(each["kind"], resource.key.namespace, str(each.get("name")))
        for each in (targets if isinstance(targets, list) else ())
        if isinstance(each, dict) and each.get("kind") in _WORKLOADS
    ]


def _require_lead(taken: Taken) -> None:
    if isinstance(taken.problem, LeadershipLost):
        raise taken.problem
