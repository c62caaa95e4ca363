"""Changing what is otherwise than wanted: one workload after the other, each under its lock."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence

from wasme.deploy.cluster import Cluster, Outcome, Outcomes, parallel
from wasme.deploy.istio import prototext, removal, template
from wasme.deploy.istio.apply import Applying, Done, Step
from wasme.deploy.istio.succession import unasked
from wasme.deploy.istio.workloads import Workload
from wasme.errors import ClusterError, DeployFailed, WasmeError
from wasme.operator.informers.stores import Stores
from wasme.operator.targets.locks import Locks
from wasme.operator.targets.mesh.damping import Damping, others
from wasme.operator.targets.mesh.look import Look, Looking
from wasme.operator.targets.mesh.retries import Retries
from wasme.operator.targets.mesh.shapes import Place

PATIENCE = 2.0
"""Seconds in which pods must be made anew for the new object before the one before goes; later looks go on."""
BUDGET = 5.0
"""Seconds after which a look begins nothing more: its status is told, others have their turn, and it goes on."""
_AT_ONCE = 4


class Changing:
    """Changes.

    Args:
        cluster: tells what it writes.
        stores: know at once what was written.
        looking: plans a step anew where somebody was faster.
        locks: one for each workload.
    """

    def __init__(self, cluster: Cluster, stores: Stores, looking: Looking, locks: Locks) -> None:
        self._cluster = cluster
        self._stores = stores
        self._looking = looking
        self._locks = locks
        self._damping = Damping()
        self._retries = Retries()

    def all(self, look: Look, steps: Sequence[Step], aim: Hashable) -> Outcomes[Step, Done]:
        """Do these steps, or as many of them as there is time for; one that fails stops no other.

        Args:
            look: that found them.
            steps: what there is to do.
            aim: what they bring about; with another one nothing has failed yet.
        """
        work = self.applying(look)
        until = time.monotonic() + BUDGET
        waiting = sorted(steps, key=lambda each: self._retries.last(_place(each)))
        done: list[Outcome[Step, Done]] = []
        while waiting and (not done or time.monotonic() < until):
            now, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            done += parallel(lambda step: self.one(look, work, step), now, bound=_AT_ONCE if len(steps) > 4 else 1)
        outcomes = self.finish(work, Outcomes(tuple(done)))
        for each in outcomes:
            if each.error is None:
                self._retries.went(_place(each.item))
            else:
                self._retries.failed(_place(each.item), _change(each.item, aim), each.error)
        return outcomes

    def resting(self, steps: Sequence[Step], aim: Hashable) -> dict[str, tuple[WasmeError, float]]:
        """Steps that failed and are not to be tried yet: the label of each, why, and the seconds until it is its turn.

        Args:
            steps: what there is to do.
            aim: as in ``all``.
        """
        failed = [each for each in steps if self._retries.last(_place(each))]  # what a step writes is long
        found = {each.label: self._retries.resting(_place(each), _change(each, aim)) for each in failed}
        return {label: each for label, each in found.items() if each is not None}

    def damped(self, steps: Sequence[Step]) -> dict[str, tuple[DeployFailed, float]]:
        """Steps that would write what somebody else has just taken away for the third time: the label of each, what is
        told of it, and the seconds until it is its turn."""
        found = {}
        for step in steps:
            if step.workload is None or step.marks is None or template.is_as_marked(step.workload, step.marks):
                continue
            seconds = self._damping.wait(place_in(step.workload), repr(step.marks))
            if seconds > 0:
                found[step.label] = (self._resetting(step.workload), seconds)
        return found

    def stripped(self, place: Place) -> None:
        """We took the node cache's folder from a workload's pods ourselves: who wants it again, resets nothing."""
        self._damping.forget(place)

    def _resetting(self, workload: Workload) -> DeployFailed:
        try:
            whole = self._cluster.get(workload.kind, workload.name, workload.namespace)
        except ClusterError:
            whole = None
        who = others(whole or {"metadata": {}}) or "somebody else"
        return DeployFailed(
            f"{who} resets the pod template again and again, so it is written more and more seldom",
            hint="have it leave the template's annotations and its labels wasme.io/* alone",
        )

    def applying(self, look: Look) -> Applying:
        """What does the steps of a look."""
        facts = look.facts
        return Applying(
            self._cluster,
            facts.spec.id,
            prototext.of_filter(facts.spec, look.order.target.context),
            facts.existing,
            lambda workload: self._looking.step(look, workload),
            patience=min(PATIENCE, look.order.caching.timeout),
            owner=look.istio.owner,
            probe=unasked,
        )

    def one(self, look: Look, work: Applying, step: Step) -> Done:
        """Do one step, as it is to be done now that nobody else is at that workload.

        Raises:
            WasmeError: it was not done; what is half done the next look mends.
        """
        if step.workload is None:
            return work(self._looking.step(look, None))
        with self._locks.held(place_in(step.workload)):
            workload = self._now(step.workload)
            step = self._looking.step(look, workload)
            done = work(step)
            if done.restarts and step.marks is not None:
                self._damping.written(place_in(workload), repr(step.marks))
            if (
                step.marks is None
                and not step.superseded
                and self._looking.is_littered(workload, work.filter_id, work.existing)
            ):
                removal.strip(
                    self._cluster,
                    self._now(workload),
                    lambda each: removal.unneeded(work.existing, each, work.filter_id, ()),
                )
            return done

    def finish(self, work: Applying, outcomes: Outcomes[Step, Done]) -> Outcomes[Step, Done]:
        """What the new objects take the place of goes, where it may."""
        if not any(each.item.superseded for each in outcomes):
            return outcomes
        return work.finish(outcomes)

    def _now(self, workload: Workload) -> Workload:
        """A workload as it is known now."""
        meta = self._stores.workloads[workload.kind.kind].store.get((workload.namespace, workload.name))
        now = self._looking.workload(meta) if meta is not None and not meta.deleting else None
        if now is None:
            raise DeployFailed(f"{workload.kind.kind} {workload.namespace}/{workload.name} was deleted meanwhile")
        return now


def _place(step: Step) -> Place:
    """Where a step's filter is, as its retries are counted: a workload may have several filters."""
    meta = step.carrier["metadata"]
    return Place(step.carrier["kind"], meta["namespace"], meta["name"])


def _change(step: Step, aim: Hashable) -> Hashable:
    """What a step writes, and over what; where any of that changes, its failure of before says nothing any more."""
    over = (step.workload.uid, step.workload.resource_version) if step.workload else None
    return hash(repr((aim, over, step.live, step.carrier)))


def place_in(workload: Workload) -> Place:
    """Of a workload."""
    return Place(workload.kind.kind, workload.namespace, workload.name)


def left(outcomes: Outcomes[Step, Done]) -> dict[str, str]:
    """Steps whose work is done but for what it takes the place of, by their label, with what that is."""
    return {
        each.item.label: ", ".join(f"{one.kind.kind}/{one.name}" for one in each.item.superseded)
        for each in outcomes
        if each.error is None and each.result is not None and each.item.superseded and not each.result.removed
    }
