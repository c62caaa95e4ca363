"""What a look and its changes came to, as a report's targets. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Outcomes
from wasme.deploy.istio.apply import Done, Step
from wasme.deploy.istio.order import Order
from wasme.errors import DeployFailed, NothingMatches, WasmeError
from wasme.operator.informers.facts import WorkloadMeta
from wasme.operator.resources.report import Held, Report, State, TargetState
from wasme.operator.resources.wanted import Key
from wasme.operator.targets.mesh.change import left
from wasme.operator.targets.mesh.look import Look
from wasme.operator.targets.mesh.shapes import Place
from wasme.operator.targets.mesh.taking import Taken
from wasme.operator.targets.mesh.words import in_fields, told

_ISTIO = "istio"
_MOST = 3  # nodes that a reason names


@dataclass
class Telling:
    """Gathers how each target of a look does.

    Attributes:
        look: the look.
        left: steps whose work is done but for what they take the place of.
    """

    look: Look
    left: dict[str, str] = field(default_factory=dict)
    _states: dict[Place | None, tuple[State, str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, error in self.look.failed.items():
            self._states[place] = ("Failed", told(error), "")
        for each in self.look.done:
            self._states[_place(each)] = ("Succeeded", "", _shown(each))

    def wait(self, steps: Iterable[Step], reason: str) -> None:
        """These have not begun."""
        for each in steps:
            self._states[_place(each)] = ("Pending", reason, _shown(each) if each.live is not None else "")

    def fail(self, steps: Iterable[Step], error: WasmeError) -> None:
        """These were not done."""
        for each in steps:
            self._states[_place(each)] = ("Failed", told(error), _shown(each) if each.live is not None else "")

    def changed(self, outcomes: Outcomes[Step, Done]) -> None:
        """These were done, or failed."""
        self.left = left(outcomes)
        for each in outcomes:
            step = each.item
            if each.error is not None:
                self.fail([step], each.error)
            elif step.label in self.left:
                reason = f"{self.left[step.label]} goes when its pods are made anew"
                self._states[_place(step)] = ("Pending", reason, _shown(step))
            else:
                self._states[_place(step)] = ("Succeeded", "", _shown(step))

    def targets(self, held: Held) -> tuple[TargetState, ...]:
        """All of them, by name."""
        order = self.look.order
        (namespace,) = order.selection.namespaces
        if order.target.target_refs:
            state, reason, shown = self._states.get(None, ("Pending", "", ""))
            return tuple(
                TargetState(_ISTIO, each.kind, namespace, each.name, state, reason, shown)
                for each in order.target.target_refs
            )
        final = held.final
        return tuple(
            TargetState(_ISTIO, place.kind, namespace, place.name, _state(state, final=final), reason, shown)
            for place, (state, reason, shown) in sorted(
                ((place, value) for place, value in self._states.items() if place is not None),
                key=lambda item: item[0].name,
            )
        )


def failed(order: Order, matched: Sequence[WorkloadMeta], problem: WasmeError, known: Iterable[str]) -> Report:
    """All that is meant, where something stands in the way of all of it.

    Args:
        order: what is asked for.
        matched: the workloads that are meant.
        problem: what stands in the way, in the words of a FilterDeployment.
        known: warnings.
    """
    (namespace,) = order.selection.namespaces
    meant = [(each.kind, each.name) for each in order.target.target_refs]
    meant += [(each.kind, each.name) for each in matched if not each.deleting]
    targets = tuple(TargetState(_ISTIO, kind, namespace, name, "Failed", told(problem)) for kind, name in meant)
    # Workloads call when they come. Of targets only some do, so what is missing is looked for now and then.
    missing = DeployFailed if order.target.target_refs else NothingMatches
    return Report(targets, problem=problem, warnings=warnings(known), retry=not isinstance(problem, missing))


def listed(options: CacheOptions) -> TargetState:
    """The node cache's list, while a filter's lines are being taken from it."""
    return TargetState(
        _ISTIO, "ConfigMap", options.namespace, options.name, "Pending", "the filter's lines are being taken away"
    )


def rolling(key: Key) -> TargetState:
    """A FilterDeployment whose rollout is being ended."""
    return TargetState(_ISTIO, "FilterDeployment", key.namespace, key.name, "Pending", "its rollout is being ended")


def littered(key: Key) -> TargetState:
    """A namespace with marks of which it is not known yet whether somebody goes on with them."""
    reason = "a pod template has marks that no filter needs: they go in a moment, unless somebody uses them"
    return TargetState(_ISTIO, "Namespace", key.namespace, key.namespace, "Pending", reason)


def with_taken(report: Report, taken: Taken) -> Report:
    """A report that tells what was taken away, too."""
    again = min((each for each in (report.again, taken.again) if each is not None), default=None)
    warnings = report.warnings
    if taken.problem is not None and taken.problem is not report.problem:
        warnings = (*warnings, f"something could not be taken away: {told(taken.problem)}")
    return replace(
        report,
        removed=(*report.removed, *taken.objects),
        changed=report.changed or taken.anything,
        warnings=warnings,
        again=again,
        retry=report.retry or taken.problem is not None,
    )


def missing(held: Held) -> str:
    """Why proxies are not pointed at the module yet."""
    if held.complete:
        return "the node cache closes its gates"
    nodes = [f"{node}: {why}" for node, why in held.missing[:_MOST]]
    more = f"; and {len(held.missing) - _MOST} more" if len(held.missing) > _MOST else ""
    return f"{held.held} of {held.nodes} nodes hold the module: {'; '.join(nodes)}{more}"


def warnings(messages: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the words of a FilterDeployment."""
    return tuple(dict.fromkeys(map(in_fields, messages)))


def _state(state: State, *, final: bool) -> State:
    return "Failed" if final and state == "Pending" else state


def _place(step: Step) -> Place | None:
    workload = step.workload
    return Place(workload.kind.kind, workload.namespace, workload.name) if workload else None


def _shown(step: Step) -> str:
    return f"{step.carrier['kind']}/{step.carrier['metadata']['name']}"
