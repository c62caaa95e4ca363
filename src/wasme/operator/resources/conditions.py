"""What one look found out, as ``status``: conditions, the original's map of workloads, targets, image and nodes.

Pure. The same outcome tells the same status, but for the time at which a condition's answer changed; and that is
kept as long as the answer stays.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from wasme.errors import ImageError, InputError, ModuleError, NotServed, UsageError, WasmeError
from wasme.operator.resources import listed, reasons
from wasme.operator.resources.outcome import Outcome
from wasme.operator.resources.reasons import Reason
from wasme.operator.resources.remembered import remembered
from wasme.operator.resources.report import Report, TargetState

Word = Literal["True", "False", "Unknown"]

TYPES = ("Accepted", "ImageResolved", "Cached", "Programmed", "Ready", "Degraded")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


# What a place finds when it comes to render: no retry helps, the spec or the cluster must become another.
_UNFIT = (InputError, UsageError, NotServed, ImageError, ModuleError)


class Answer(NamedTuple):
    """What a condition says."""

    status: Word
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A condition whose status word changed, or whose reason did while it is not well.

    Attributes:
        type: of the condition.
        was: the status word before; "" where there was no such condition.
        status: the status word now.
        reason: now.
        message: now.
    """

    type: str
    was: str
    status: str
    reason: str
    message: str

    @property
    def well(self) -> bool:
        """Whether it is good news."""
        return self.status == ("False" if self.type == "Degraded" else "True")


def status(
    before: Mapping[str, Any] | None, obj: Mapping[str, Any], outcome: Outcome, *, now: str = ""
) -> dict[str, Any]:
    """The status that tells an outcome; equal to ``before`` where that tells the same.

    What was not looked at (the object is suspended, its image cannot be had, …) is told as it was known last; only
    the conditions say that nobody knows.

    Args:
        before: the object's status as it is stored, by whatever version.
        obj: the object.
        outcome: what one look found out.
        now: the time as RFC 3339; "" takes the clock's.
    """
    known = _Before(before if isinstance(before, Mapping) else {})
    generation = _generation(obj)
    made: dict[str, Any] = {"observedGeneration": generation}
    made |= _told(known, obj, outcome)
    made["conditions"] = _conditions(known, _answers(known, outcome, generation), generation, now)
    if reason := _reason(outcome):
        made["reason"] = listed.cut(reason, listed.MESSAGE)
    return made


def transitions(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Transition]:
    """What changed, in the order of the conditions.

    What was not there before and is not known now is no change, nor is a new object's Degraded=False.
    """
    was = _Before(before if isinstance(before, Mapping) else {})
    found = []
    for each in after["conditions"]:
        old = was.condition(each["type"])
        word = str(old.get("status", ""))
        change = Transition(each["type"], word, each["status"], each["reason"], each["message"])
        changed = word != change.status or (not change.well and old.get("reason") != change.reason)
        if changed and (word or (change.status != "Unknown" and not (change.type == "Degraded" and change.well))):
            found.append(change)
    return found


class _Before:
    """The status as it is stored: by this version, by the original (no conditions), or by nobody sensible."""

    def __init__(self, value: Mapping[str, Any]) -> None:
        self.value = value
        listing = value.get("conditions")
        self._conditions = {
            str(each.get("type")): each
            for each in (listing if isinstance(listing, list) else ())
            if isinstance(each, Mapping)
        }

    def condition(self, name: str) -> Mapping[str, Any]:
        return self._conditions.get(name, {})

    def holds(self, name: str, reason: Reason) -> bool:
        found = self.condition(name)
        return found.get("status") == "True" and found.get("reason") == reason

    @property
    def cached(self) -> int:
        nodes = listed.known(self.value.get("nodes"), {"cached": int})
        return int((nodes or {}).get("cached", 0))

    @property
    def succeeded(self) -> set[tuple[str, ...]]:
        """Targets that were well."""
        found = self.value.get("targets")
        return {
            tuple(str(each.get(name)) for name in ("provider", "kind", "namespace", "name"))
            for each in (found if isinstance(found, list) else ())
            if isinstance(each, Mapping) and each.get("state") == "Succeeded"
        }


def _generation(obj: Mapping[str, Any]) -> int:
    found = (obj.get("metadata") or {}).get("generation")
    return found if isinstance(found, int) else 0


def _told(known: _Before, obj: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """All but conditions and reason."""
    made: dict[str, Any] = {}
    facts = outcome.facts
    if facts is not None:
        made["image"] = facts.as_status()
    elif (image := last_image(known.value, obj)) is not None:
        # It may be all that is left of what a tag meant: IfNotPresent goes by it.
        made["image"] = image
    if outcome.removing or outcome.former:
        made |= listed.last(known.value) | _left(outcome.report)
    elif outcome.report is not None:
        targets, held = outcome.report.targets, outcome.report.held
        if held.needed:
            made["nodes"] = {"total": held.nodes, "cached": held.held, "summary": f"{held.held}/{held.nodes}"}
        else:
            made["nodes"] = {"total": 0, "cached": 0, "summary": "-"}
        made |= _targets(targets)
    elif outcome.refused_as != Reason.ID_TAKEN:
        made |= listed.last(known.value)
    return {name: value for name, value in made.items() if value not in ([], {})}


def _targets(targets: tuple[TargetState, ...]) -> dict[str, Any]:
    return {
        "targets": listed.targets(targets),
        "targetCount": len(targets),
        "workloads": listed.workloads(targets),
    }


def _left(report: Report | None) -> dict[str, Any]:
    """Of a removal: what is still there. Nothing where it does not say: then all of before may be."""
    left = tuple(each for each in report.targets if each.state != "Succeeded") if report is not None else ()
    return _targets(left) if left else {}


_IMAGE = {"reference": str, "resolved": str, "manifest": str, "module": str, "layout": str, "rootIDs": list,
          "abiVersions": list}  # fmt: skip


def last_image(before: Mapping[str, Any] | None, obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """``status.image`` of before where it speaks of the reference that the spec has now."""
    found = listed.known((before or {}).get("image"), _IMAGE)
    spec = obj.get("spec")
    wanted = spec.get("filter") if isinstance(spec, Mapping) else None
    reference = wanted.get("image") if isinstance(wanted, Mapping) else None
    return found if found and reference and found.get("reference") == reference else None


def _conditions(known: _Before, answers: Mapping[str, Answer], generation: int, now: str) -> list[dict[str, Any]]:
    made = []
    for name in TYPES:
        answer, old = answers[name], known.condition(name)
        since = old.get("lastTransitionTime")
        if old.get("status") != answer.status or not _is_time(since):
            now = now or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            since = now
        made.append(
            {
                "type": name,
                "status": answer.status,
                "observedGeneration": generation,
                "lastTransitionTime": since,
                "reason": str(answer.reason),
                "message": listed.cut(answer.message, listed.MESSAGE),
            }
        )
    return made


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _answers(known: _Before, outcome: Outcome, generation: int) -> dict[str, Answer]:
    first = {
        "Accepted": _accepted(outcome),
        "ImageResolved": _resolved(outcome),
        "Cached": _cached(outcome),
        "Programmed": _still_rolled_back(known, outcome, generation) or _programmed(outcome),
    }
    ready = _ready(first, outcome)
    return {**first, "Ready": ready, "Degraded": _degraded(known, outcome, ready, generation)}


def _accepted(outcome: Outcome) -> Answer:
    refused = _refused(outcome)
    if refused is None:
        return Answer("True", Reason.ACCEPTED, "the spec is understood")
    return Answer("False", outcome.refused_as or reasons.of(refused), _words(refused))


def _refused(outcome: Outcome) -> WasmeError | None:
    if outcome.refused is None and outcome.report is not None and isinstance(outcome.report.problem, _UNFIT):
        return outcome.report.problem
    return outcome.refused


def _resolved(outcome: Outcome) -> Answer:
    facts = outcome.facts
    if facts is not None:
        remembered_only = outcome.image is facts and outcome.image_problem is not None
        return Answer(
            "True", Reason.KEPT if remembered_only else Reason.RESOLVED, f"{facts.reference} is {facts.resolved}"
        )
    if outcome.image_problem is not None:
        return Answer("False", reasons.of(outcome.image_problem), _words(outcome.image_problem))
    return _unknown(outcome)


def _unknown(outcome: Outcome) -> Answer:
    """For what was not reached: what stood in the way."""
    if outcome.removing:
        return Answer("Unknown", Reason.REMOVING, "it is being deleted")
    if outcome.suspended:
        return Answer("Unknown", Reason.SUSPENDED, "spec.suspend is true: nothing is looked at, nothing is changed")
    if _refused(outcome) is not None:
        return Answer("Unknown", Reason.NOT_ACCEPTED, "the spec is not accepted")
    if outcome.former:
        return Answer("Unknown", Reason.MOVING, "it is being taken from where it was before")
    problem = outcome.problem or (outcome.report.problem if outcome.report is not None else outcome.image_problem)
    if problem is not None:
        return Answer("Unknown", reasons.of(problem), _words(problem))
    return Answer("Unknown", Reason.NOT_REACHED, "not looked at yet")


def _cached(outcome: Outcome) -> Answer:
    report = outcome.report
    if report is None or outcome.former or outcome.removing or (report.problem and not report.held.needed):
        if outcome.image_problem is not None and outcome.facts is None:
            return Answer("Unknown", Reason.IMAGE_NOT_RESOLVED, "the image is not known")
        return _unknown(outcome)
    held = report.held
    if not held.needed:
        return Answer("True", Reason.NOT_NEEDED, "no node needs a file for it")
    if held.complete:
        return Answer("True", Reason.CACHED, listed.nodes(held))
    return Answer("False", Reason.CACHE_FAILED if held.final else Reason.NODES_MISSING, listed.nodes(held))


def _programmed(outcome: Outcome) -> Answer:
    report = outcome.report
    if _refused(outcome) is not None:
        return Answer("False", Reason.NOT_ACCEPTED, "the spec is not accepted")
    if report is None:
        if outcome.image_problem is not None and outcome.facts is None:
            return Answer("False", Reason.IMAGE_NOT_RESOLVED, "the image is not known")
        return _unknown(outcome)
    total, well = len(report.targets), sum(each.state == "Succeeded" for each in report.targets)
    told = f"{well} of {total} targets have the filter as wanted"
    if report.problem is not None:
        return Answer("False", reasons.of(report.problem), _words(report.problem))
    if outcome.former or outcome.removing:
        left = [f"{each.kind} {each.name}" for each in report.targets if each.state != "Succeeded"]
        told = f"it is being taken from where it was before: {listed.some(sorted(left)) or 'not over yet'}"
        return Answer("False", Reason.MOVING if outcome.former else Reason.REMOVING, told)
    if failed := _named(report, "Failed"):
        return Answer("False", Reason.TARGETS_FAILED, f"{told}; {listed.some(failed)}")
    if report.progress:
        return Answer("False", Reason.ROLLING_OUT, f"{told}; {report.progress}")
    if pending := _named(report, "Pending"):
        return Answer("False", Reason.TARGETS_PENDING, f"{told}; {listed.some(pending)}")
    if not total:
        return Answer("False", Reason.NO_TARGETS, "nothing matches spec.deployment")
    if not report.held.complete:
        return Answer("False", Reason.NOT_CACHED, f"{told}, but not every node holds the module")
    warnings = f"; {listed.some(report.warnings)}" if report.warnings else ""
    return Answer("True", Reason.PROGRAMMED, told + warnings)


def _still_rolled_back(known: _Before, outcome: Outcome, generation: int) -> Answer | None:
    """What was turned back stays so while nobody can look, or the next operator would try it again."""
    if outcome.report is not None or outcome.suspended or outcome.removing or _refused(outcome) is not None:
        return None
    error = remembered(known.value, generation, outcome.facts.manifest if outcome.facts is not None else "")
    return Answer("False", Reason.ROLLED_BACK, _words(error)) if error is not None else None


def _named(report: Report, state: str) -> list[str]:
    return sorted(
        f"{each.kind} {each.name}: {each.reason}" if each.reason else f"{each.kind} {each.name}"
        for each in report.targets
        if each.state == state
    )


def _ready(answers: Mapping[str, Answer], outcome: Outcome) -> Answer:
    if outcome.removing:
        told = f"it is being deleted: {_words(outcome.problem)}" if outcome.problem else "it is being deleted"
        return Answer("False", Reason.REMOVING, told)
    # What is known to be wrong says more than what nobody knows for that reason.
    for word in ("False", "Unknown"):
        for answer in answers.values():
            if answer.status == word:
                return answer
    return Answer("True", Reason.READY, answers["Programmed"].message)


def _degraded(known: _Before, outcome: Outcome, ready: Answer, generation: int) -> Answer:
    if outcome.facts is not None and outcome.image_problem is not None:
        return Answer("True", Reason.IMAGE_NOT_CHECKED, _words(outcome.image_problem))
    if outcome.retrying:
        return Answer("True", Reason.RETRYING, _words(_first_problem(outcome)) or ready.message)
    if ready.status == "False" and outcome.report is not None and not outcome.former and not outcome.removing:
        still = known.holds("Degraded", Reason.LOST) and known.value.get("observedGeneration") == generation
        if still or _lost(known, outcome.report):
            return Answer("True", Reason.LOST, f"it worked before: {ready.message}")
    return Answer("False", Reason.AS_WANTED)


def _lost(known: _Before, report: Report) -> bool:
    """Whether something that worked does not now; a rollout takes what it changes out of order, which is no loss."""
    if report.progress:
        return False
    well, held = known.succeeded, report.held
    if any(
        each.state != "Succeeded" and (each.provider, each.kind, each.namespace, each.name) in well
        for each in report.targets
    ):
        return True
    return held.needed and not held.complete and held.held < known.cached


def _problems(outcome: Outcome) -> Iterator[WasmeError | None]:
    yield outcome.refused
    yield outcome.image_problem if outcome.facts is None else None
    yield outcome.report.problem if outcome.report is not None else None
    yield outcome.problem


def _first_problem(outcome: Outcome) -> WasmeError | None:
    return next((each for each in _problems(outcome) if each is not None), None)


def _reason(outcome: Outcome) -> str:
    """The original's one line: the error itself, in its words."""
    found = _first_problem(outcome)
    return found.message if found is not None else ""


def _words(error: WasmeError | None) -> str:
    """An error for people: with its hint, unless that speaks of flags, which nobody gave here."""
    if error is None:
        return ""
    return error.message if not error.hint or "--" in error.hint else f"{error.message} ({error.hint})"
