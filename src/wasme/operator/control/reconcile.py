"""One look at one FilterDeployment: from what is wanted to what is, and what is told of it.

The order is the promise. What cannot be understood, or whose id is another's, makes nothing. The image is known
before anything is touched. The finalizer stands before the first thing is made, and goes when the last one is gone.
Where something is going to be is noted before (``whereabouts``), and what belongs to a former id or a former place goes
before that. The status says what was found, and is sent only where it says something else than before.

Whatever goes wrong here is this object's: it stands in its status, and is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import FILTER_DEPLOYMENT
from wasme.errors import (
    ClusterUnreachable,
    Conflict,
    InputError,
    InternalError,
    LeadershipLost,
    NotServed,
    ObjectRefused,
    WasmeError,
)
from wasme.operator.control.roster import Roster, filter_id
from wasme.operator.control.whereabouts import Spot, asked, noting, whereabouts
from wasme.operator.control.workers import Looked
from wasme.operator.informers.facts import Resource
from wasme.operator.informers.stores import Stores
from wasme.operator.names import FINALIZER
from wasme.operator.registries.images import Images
from wasme.operator.registries.lookups import Unanswered
from wasme.operator.resources import conditions
from wasme.operator.resources.conditions import Transition
from wasme.operator.resources.kept import as_image, kept
from wasme.operator.resources.outcome import ImageFacts, Outcome
from wasme.operator.resources.report import Report
from wasme.operator.resources.wanted import Key, Provider
from wasme.operator.targets.places import Place

log = logging.getLogger(__name__)

_ATTEMPTS = 4
_TURN = 5.0  # seconds until it is seen whether another one has let go of an id
_PATIENCE = 60.0
"""Seconds until a registry that was to answer is asked again in any case."""

Object = dict[str, Any]


class Reconciler:
    """Looks at FilterDeployments. Safe to use from many threads, with different keys.

    Args:
        cluster: where; it writes only while this process leads.
        stores: what is known of it.
        roster: of FilterDeployments.
        images: from references to images.
        places: by provider.
        owned: ids of the filters whose objects name a FilterDeployment as their owner.
        tell: makes events of what changed in a status.
    """

    def __init__(
        self,
        cluster: Cluster,
        stores: Stores,
        roster: Roster,
        images: Images,
        places: dict[Provider, Place],
        owned: Callable[[Key], set[str]],
        tell: Callable[[Object, Iterable[Transition]], None],
    ) -> None:
        self._cluster = cluster
        self._stores = stores
        self._roster = roster
        self._images = images
        self._places = places
        self._owned = owned
        self._tell = tell

    def look(self, key: Key) -> Looked:
        """Make one FilterDeployment so, and tell how that went.

        Raises:
            LeadershipLost: somebody else is to work now.
            ClusterError: the status cannot be written.
        """
        resource = self._stores.resource(key)
        if resource is None:
            return self._gone(key)
        try:
            return self._look(resource)
        except _Overtaken:
            return Looked("waiting", 0.0)

    def _look(self, resource: Resource) -> Looked:
        key, obj = resource.key, resource.object
        outcome = Outcome()
        again: float | None = None
        try:
            if resource.deleting:
                again = self._leave(resource, obj, outcome)
                if again is None and outcome.problem is None:
                    return Looked("gone")
            else:
                again = self._work(resource, obj, outcome)
        except (LeadershipLost, _Overtaken):
            raise
        except WasmeError as error:
            outcome.problem = error
        except Exception as error:
            log.exception("a bug in wasme", extra={"fields": {"filterdeployment": str(key)}})
            told = " ".join(f"a bug in wasme: {type(error).__name__}: {error}".split())
            outcome.problem = InternalError(told[:500], hint="the operator's log has the whole of it: please report it")
        if outcome.suspended or outcome.refused is not None:
            for each in self._places.values():
                each.pause(key)
        failed, report = _failed(outcome), outcome.report
        outcome.retrying = failed is not None or (report is not None and report.retry)
        if failed is not None:
            fields = {"filterdeployment": str(key), "reason": failed.message}
            log.warning("a FilterDeployment failed, and is tried again", extra={"fields": fields})
        if outcome.retrying or not _soon_known(obj, report):
            self._say(resource, outcome)
        if failed is not None:  # what waits for pods or proxies goes on, however long the image takes
            return Looked("failed", report.again if report is not None else None)
        if outcome.retrying:  # a part of it; all else goes on
            return Looked("failed", again)
        waiting = outcome.removing or (report is not None and not report.programmed)
        return Looked("waiting" if waiting else "ok", again)

    def _work(self, resource: Resource, obj: Object, outcome: Outcome) -> float | None:
        """Everything but the status; the seconds after which to look again."""
        try:
            wanted = self._roster.wanted(resource)
        except InputError as error:
            outcome.refused = error
            return None
        if wanted.suspend:
            outcome.suspended = True
            return None
        here = Spot(wanted.provider, wanted.filter.id)
        holder = self._roster.holder(resource.key.namespace, here.id)
        if holder is not None and holder != resource.key:
            outcome.refused = InputError(
                f"spec.filter.id: {wanted.filter.id} is the id of the FilterDeployment {holder.name}",
                hint="take another id, or delete one of the two",
            )
            outcome.refused_as = "IdTaken"
            # Of two that swap their ids each waits for what the other has: it goes before the new one is free.
            left = self._without(resource, {Spot("istio", each) for each in self._owned(resource.key)} - {here})
            outcome.problem = left.problem if left is not None else None
            return _TURN
        status = _status(obj)
        try:
            image = self._images.resolve(wanted, status)
        except (LeadershipLost, ClusterUnreachable):
            raise
        except WasmeError as error:
            facts = kept(wanted, status, error)
            if facts is None:
                outcome.image_problem = error
                return _PATIENCE
            outcome.image = facts
            outcome.image_problem = self._images.problem(wanted) if isinstance(error, Unanswered) else error
            outcome.report = self._places[wanted.provider].kept(wanted, as_image(facts), error.message)
            return _PATIENCE
        outcome.image = image
        outcome.image_problem = self._images.problem(wanted)
        former = self._where(resource) - {here}
        if former:
            self._hold(resource)
            left = self._without(resource, former)
            if left is not None:
                outcome.report, outcome.former = left, True
                return left.again
        self._hold(resource, here)
        outcome.report = report = self._places[wanted.provider].reconcile(wanted, image)
        times = [each for each in (report.again, self._images.again(wanted)) if each is not None]
        return min(times, default=None)

    def _where(self, resource: Resource) -> set[Spot]:
        return whereabouts(resource, self._owned(resource.key))

    def _without(self, resource: Resource, spots: set[Spot]) -> Report | None:
        """Take a filter from some spots; what is left, None for nothing."""
        for each in sorted(spots):
            if not self._is_anothers(resource, each):
                report = self._places[each.provider].remove(resource.key, each.id)
                if not _over(report):
                    return report
        return None

    def _is_anothers(self, resource: Resource, spot: Spot) -> bool:
        """Whether who has the id of a spot now is another one, and is there or will be."""
        holder = self._roster.holder(resource.key.namespace, spot.id)
        other = self._stores.resource(holder) if holder is not None and holder != resource.key else None
        return other is not None and spot in self._where(other) | asked(other)

    def _leave(self, resource: Resource, obj: Object, outcome: Outcome) -> float | None:
        """Everything of an object that is being deleted goes, then its finalizer; None when that is done."""
        finalizers = obj["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return None
        outcome.removing = True
        report = self._without(resource, self._where(resource))
        if report is not None:
            outcome.report = report
            outcome.problem = report.problem
            return report.again if report.again is not None else 5.0
        self._let_go(resource)
        self._images.forget(resource.key)
        outcome.removing = False
        log.info("removed all of a FilterDeployment", extra={"fields": {"filterdeployment": str(resource.key)}})
        return None

    def _gone(self, key: Key) -> Looked:
        """It is not there any more. Where somebody took the finalizer away, what still names it as its owner goes."""
        self._images.forget(key)
        ended = [each.pause(key) for each in self._places.values()]
        if not all(ended):
            return Looked("waiting", 0.5)
        owned = sorted(self._owned(key))
        if owned and not self._is_absent(key):
            return Looked("waiting", 1.0)
        for name in owned:
            if self._roster.holder(key.namespace, name) is None:
                report = self._places["istio"].remove(key, name)
                if report.problem is not None:
                    raise report.problem
                if not _over(report):
                    return Looked("waiting", report.again)
        for each in self._places.values():
            each.forget(key)
        return Looked("gone")

    def _is_absent(self, key: Key) -> bool:
        """Whether there is no such FilterDeployment, by the API server's own word.

        Raises:
            NotServed: the kind is not served for now, so nobody knows.
        """
        try:
            return self._cluster.get(FILTER_DEPLOYMENT, key.name, key.namespace) is None
        except NotServed:
            if self._stores.resources.missing:
                return True  # all of them went with their definition
            raise

    def _hold(self, resource: Resource, at: Spot | None = None) -> None:
        """Have our finalizer among the others, and note where the filter is going to be; None leaves that note alone.

        Raises:
            _Overtaken: it is wanted in another way, or not at all: nothing may be made for it.
        """
        self._write(resource, lambda obj: {**_finalizers(obj, hold=True), **(noting(obj, at) if at else {})})

    def _let_go(self, resource: Resource) -> None:
        """Take our finalizer from the others."""
        self._write(resource, lambda obj: _finalizers(obj, hold=False))

    def _write(self, resource: Resource, change: Callable[[Object], Object]) -> None:
        """Change the metadata of an object as it is now, where there is anything to change."""
        for _ in range(_ATTEMPTS):
            obj = self._now(resource).object
            changed = change(obj)
            if not changed:
                return
            guarded = {"uid": resource.uid, "resourceVersion": obj["metadata"]["resourceVersion"], **changed}
            name, namespace = resource.key.name, resource.key.namespace
            try:
                written = self._cluster.patch(FILTER_DEPLOYMENT, name, namespace, {"metadata": guarded})
            except (Conflict, ObjectRefused):
                self._refresh(resource)
                continue
            if resource.deleting and not written["metadata"].get("finalizers"):
                self._stores.drop(written)
            else:
                self._stores.put(written)
            return
        raise Conflict(f"FilterDeployment {resource.key}: others change it all the time")

    def _say(self, resource: Resource, outcome: Outcome) -> None:
        """The status, where it says something else than before, and events of what changed."""
        for _ in range(_ATTEMPTS):
            obj = self._now(resource).object
            before = obj.get("status")
            after = conditions.status(before, obj, outcome)
            made = self._made(resource, outcome) or _status(obj).get("filterID")
            if made:
                after = {**after, "filterID": made}
            if after == before:
                return
            try:
                written = self._cluster.replace_status({**obj, "status": after})
            except Conflict:
                self._refresh(resource)
                continue
            except ObjectRefused:
                self._refresh(resource)
                # A spec of another shape than the definition's, stored before that: no status goes with it.
                self._tell(obj, conditions.transitions(before, after))
                raise
            self._stores.put(written)
            self._tell(written, conditions.transitions(before, after))
            return
        raise Conflict(f"FilterDeployment {resource.key}: others write its status all the time")

    def _made(self, resource: Resource, outcome: Outcome) -> str:
        """The id under which there is something of it from now on; "" where nothing was made."""
        nothing = outcome.report is None or outcome.former or isinstance(outcome.image, ImageFacts)
        return "" if nothing else filter_id(resource)

    def _now(self, resource: Resource) -> Resource:
        """As the store has it now.

        Raises:
            _Overtaken: it is wanted in another way, or not at all.
        """
        now = self._stores.resource(resource.key)
        if now is None or (now.uid, now.generation, now.deleting) != (
            resource.uid,
            resource.generation,
            resource.deleting,
        ):
            raise _Overtaken
        return now

    def _refresh(self, resource: Resource) -> None:
        """Read the object anew, for what the store has is old.

        Raises:
            _Overtaken: it is gone.
        """
        found = self._cluster.get(FILTER_DEPLOYMENT, resource.key.name, resource.key.namespace)
        if found is None:
            self._stores.drop(resource.object)
            raise _Overtaken
        self._stores.put(found)


class _Overtaken(Exception):
    """The object changed under the look at it, which begins anew."""


def _finalizers(obj: Object, *, hold: bool) -> Object:
    """The change of an object's metadata that puts our finalizer to the others, or takes it from them; {} for none."""
    before = obj["metadata"].get("finalizers") or []
    after = [each for each in before if each != FINALIZER] + ([FINALIZER] if hold else [])
    return {"finalizers": after} if after != before else {}


def _status(obj: Object) -> Object:
    found = obj.get("status")
    return found if isinstance(found, dict) else {}


def _soon_known(obj: Object, report: Report | None) -> bool:
    """Whether a new object waits for our own word in the cache's list alone, which is there in a moment.

    Of a thousand new objects each would be told twice otherwise: that it waits, and that it is ready.
    """
    return (
        report is not None
        and not _status(obj).get("conditions")
        and report.problem is None
        and not report.progress
        and report.again is None
        and report.held.needed
        and report.held.complete
        and bool(report.targets)
        and all(each.state != "Failed" for each in report.targets)
        and not report.programmed
    )


def _over(report: Report) -> bool:
    """Whether a removal has left nothing."""
    return report.problem is None and all(each.state == "Succeeded" for each in report.targets)


def _failed(outcome: Outcome) -> WasmeError | None:
    """What stands in the way of all of it and is tried again with growing patience; None where somebody will call."""
    if outcome.problem is not None:
        return outcome.problem
    if outcome.image_problem is not None and not isinstance(outcome.image_problem, Unanswered):
        return outcome.image_problem
    report = outcome.report
    return report.problem if report is not None and report.retry else None
