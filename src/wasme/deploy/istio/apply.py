"""One workload at a time: its pods get the volume, then the filter's object is written; then what they replace goes.

The order makes each moment safe. The object selects only pods that have the volume, so one that is written late, or
never, harms nobody; and an object of another kind goes only when its successor does its work (``succession``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from wasme.deploy.cluster import Cluster, Kind, Outcome, Outcomes, kind_of, parallel
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.istio import removal, template
from wasme.deploy.istio.existing import Carrier, Known, needs_volume, selector_of
from wasme.deploy.istio.owner import Owner
from wasme.deploy.istio.succession import Found, Heir, Probe, Succession, asking, kept_pods
from wasme.deploy.istio.template import Marks
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.stored import Action, write
from wasme.errors import Conflict, DeployFailed

log = logging.getLogger(__name__)

ATTEMPTS = 8
"""How often a workload that others change all the time is read again."""
_OURS = "wasme.io/"  # what all labels of ours on pods begin with
_RESOURCE = {
    "EnvoyFilter": "envoy_filter_resource",
    "WasmPlugin": "wasm_plugin_resource",
    "TrafficExtension": "traffic_extension_resource",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What is done for one workload; or for the targets of a filter, of which there is one object.

    Attributes:
        carrier: the object that carries the filter.
        live: that object as it is now; None if it is not there.
        workload: as it was read; None with targets.
        marks: what its pods must have; None where Istio's agent brings the module.
        superseded: objects of the same filter that this one takes the place of.
    """

    carrier: dict[str, Any]
    live: dict[str, Any] | None
    workload: Workload | None = None
    marks: Marks | None = None
    superseded: tuple[Carrier, ...] = ()

    @property
    def label(self) -> str:
        """As an error names it: ``istio/productpage-v1``."""
        metadata = self.carrier["metadata"]
        return f"{metadata['namespace']}/{self.workload.name if self.workload else metadata['name']}"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one step.

    Attributes:
        namespace, workload: of the workload (``Deployment/productpage-v1``); "" with targets.
        kind, name: of the object that carries the filter.
        action: what was done to it.
        restarts: the pod template changed, so its pods are made anew.
        removed: names of the objects that it replaced, as ``EnvoyFilter/productpage-v1-test``.
    """

    namespace: str
    workload: str
    kind: str
    name: str
    action: Action
    restarts: bool = False
    removed: tuple[str, ...] = ()


Apply = Callable[[Step], Done]
Finish = Callable[[Outcomes[Step, Done]], Outcomes[Step, Done]]


class Walk(Protocol):
    """How the steps are gone through: all at once, or some after the others."""

    def __call__(self, work: Apply, items: Sequence[Step], finish: Finish | None = None) -> Outcomes[Step, Done]:
        """Call ``work`` with each step, and ``finish`` with the outcomes of those that belong together; report how each
        ended."""
        ...


def at_once(work: Apply, items: Sequence[Step], finish: Finish | None = None) -> Outcomes[Step, Done]:
    """All steps in parallel, bounded; one that fails stops no other."""
    outcomes = parallel(work, items)
    return finish(outcomes) if finish else outcomes


def _flag(carrier: Mapping[str, Any]) -> str:
    """How a user names the kind of an object: ``--as=wasmplugin``."""
    return f"--as={str(carrier['kind']).lower()}"


def _leaves_pods(live: Mapping[str, Any], carrier: Mapping[str, Any]) -> bool:
    """Whether an object selected pods by a label of ours, and by another one from now on."""
    before, after = ({key for key in selector_of(each).items() if key[0].startswith(_OURS)} for each in (live, carrier))
    return bool(after) and bool(before - after)


def _outcome(kind: Kind, action: Action) -> str:
    """What is told of an object; of an EnvoyFilter always what the original said, which scripts look for."""
    if kind.kind == ENVOY_FILTER.kind:
        return f"created Istio {kind.kind} resource"
    if action == "unchanged":
        return f"Istio {kind.kind} resource is as it should be"
    return f"{action} Istio {kind.kind} resource"


@dataclass(frozen=True, slots=True)
class Applying:
    """Applies steps of one filter.

    Attributes:
        cluster: where.
        filter_id: the filter.
        shown: the same as log lines print it.
        existing: what was there before, for what others on the same pods need.
        again: makes a step anew, for a workload that somebody changed meanwhile.
        dry_run: the server checks and stores nothing.
        patience: seconds to wait, all steps together, for pods to be made anew or proxies to run the new object, before
            what they run with is taken away.
        owner: whose object it becomes; None for nobody's.
        probe: asks proxies whether they run the new object; None asks them through the API server.
    """

    cluster: Cluster
    filter_id: str
    shown: str
    existing: Known
    again: Callable[[Workload], Step]
    dry_run: bool = False
    patience: float = 60.0
    owner: Owner | None = None
    probe: Probe | None = None

    def __call__(self, step: Step) -> Done:
        """Do one step.

        Raises:
            ClusterError: the server did not do it; nothing of this workload is half changed that a second deployment
                would not mend.
        """
        restarts = False
        for _ in range(ATTEMPTS):
            try:
                restarts = self._mark(step)
                break
            except Conflict:
                step = self._fresh(step)
        else:
            raise Conflict(
                f"{step.label} is changed by somebody else all the time",
                hint="run it again when its rollout is over",
            )
        if step.live is not None and _leaves_pods(step.live, step.carrier):
            log.warning(
                "the filter's file is elsewhere now: pods that run have no filter until they are made anew",
                extra={"fields": {"workload": step.label}},
            )
        live = step.live
        if self.owner is not None and live is not None:
            live = self.owner.freed(self.cluster, live)
        written = write(self.cluster, step.carrier, live, dry_run=self.dry_run)
        metadata = step.carrier["metadata"]
        kind = kind_of(step.carrier)
        self._tell(_outcome(kind, written.action), step, kind)
        workload = step.workload
        return Done(
            namespace=metadata["namespace"],
            workload=workload.key if workload else "",
            kind=kind.kind,
            name=metadata["name"],
            action=written.action,
            restarts=restarts,
        )

    def _mark(self, step: Step) -> bool:
        """Give the pods what they need; whether anything had to be written."""
        if step.workload is None or step.marks is None:
            return False
        changes = not template.is_as_marked(step.workload, step.marks)
        if changes:
            self._write_marks(step.workload, step.marks)
            kept = kept_pods(step.workload)
            if kept:
                log.warning(kept, extra={"fields": {"workload": step.workload.name}})
        self._tell("updated workload sidecar annotations", step, None)
        return changes

    def _write_marks(self, workload: Workload, marks: Marks) -> None:
        # Only this state of this very object: what is merged was read from it, and a workload that was deleted
        # meanwhile must not come back as a torso.
        guarded = {"uid": workload.uid, "resourceVersion": workload.resource_version}
        wanted = template.rendered(workload, marks)
        surplus = template.leftovers(workload, marks)
        if not surplus:
            wanted["metadata"] = {**wanted["metadata"], **guarded}
            self.cluster.apply(wanted, force=True, dry_run=self.dry_run)
            return
        # In one request, since each change of a template makes its pods anew.
        ours = wanted["spec"]["template"]["metadata"]
        merged = {part: {**ours[part], **surplus.get(part, {})} for part in ours}
        patch = {"metadata": guarded, "spec": {"template": {"metadata": merged}}}
        self.cluster.patch(workload.kind, workload.name, workload.namespace, patch, dry_run=self.dry_run)

    def _fresh(self, step: Step) -> Step:
        assert step.workload
        workload = step.workload
        found = self.cluster.get(workload.kind, workload.name, workload.namespace)
        if found is None or found["metadata"].get("deletionTimestamp"):
            raise DeployFailed(
                f"{workload.kind.kind} {workload.namespace}/{workload.name} was deleted meanwhile",
                hint="deploy again when its successor is there",
            )
        return self.again(Workload(workload.kind, found))

    def finish(self, outcomes: Outcomes[Step, Done]) -> Outcomes[Step, Done]:
        """When the new objects of all these steps are written: what each takes the place of goes, if it may.

        Returns:
            The same, with what was deleted; a step whose proxies do not run the new object failed.
        """
        if self.dry_run:
            return outcomes
        done = [each for each in outcomes if each.error is None]
        heirs = [
            Heir(step.label, step.carrier, step.superseded, step.workload, step.marks)
            for step in (each.item for each in done)
            if step.superseded
        ]
        succession = Succession(self.cluster, self.filter_id, self.patience, self.probe or asking(self.cluster))
        found = succession.await_all(heirs)
        ended = parallel(lambda each: self._supersede(each, found), done)
        after = {each.item.item.label: Outcome(each.item.item, each.result, each.error) for each in ended}
        return Outcomes(tuple(after.get(each.item.label, each) for each in outcomes))

    def _supersede(self, outcome: Outcome[Step, Done], found: Mapping[str, Found]) -> Done:
        """Take away what this filter was before, now that the new object is stored.

        Raises:
            DeployFailed: the proxies do not run the new one, and the one before is still there.
            ClusterError: the server did not do it.
        """
        step, done = outcome.item, outcome.result
        assert done
        names = tuple(f"{each.kind.kind}/{each.name}" for each in step.superseded)
        if step.superseded:
            state, reason = found[step.label]
            fields = {"object": ", ".join(names), "workload": step.label, "reason": reason}
            if state == "old pods":
                again = {"flag": _flag(step.carrier)}
                log.warning(
                    "the object before stays until the workload's pods are made anew; deploy again then",
                    extra={"fields": {**fields, **again}},
                )
                return done
            if state == "refused":
                raise DeployFailed(
                    f"{step.label} does not run the {step.carrier['kind']}, so {', '.join(names)} stays: {reason}",
                    hint=f"wasme status --probe shows each pod; deploy again with {_flag(step.carrier)} when that is "
                    f"mended, or with {_flag(step.superseded[0].object)} to go back",
                )
            if state == "unverified":
                log.warning("deleting the object before, though nobody can tell whether the new one runs",
                            extra={"fields": fields})  # fmt: skip
        for each in step.superseded:
            removal.delete(self.cluster, each)
        before = [*(each.object for each in step.superseded), *([step.live] if step.live else [])]
        if step.workload is None or step.marks is not None or not any(map(needs_volume, before)):
            return replace(done, removed=names)
        gone = {each["metadata"]["uid"] for each in before}
        stripped = removal.strip(
            self.cluster,
            step.workload,
            lambda workload: removal.unneeded(self.existing, workload, self.filter_id, gone),
        )
        return replace(done, removed=names, restarts=done.restarts or stripped)

    def _tell(self, message: str, step: Step, kind: Kind | None) -> None:
        fields: dict[str, str] = {"filter": self.shown}
        if kind is not None:
            metadata = step.carrier["metadata"]
            fields[_RESOURCE[kind.kind]] = f"{metadata['name']}.{metadata['namespace']}"
        if step.workload is not None:
            fields["workload"] = step.workload.name
        log.info(message + (" (server dry run)" if self.dry_run else ""), extra={"fields": fields})
