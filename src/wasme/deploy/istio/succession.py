"""One object takes another's place: the one before goes only when the new one does its work in the pods that run.

An object with a file on the nodes selects only pods with our label, which those that run get when they are made anew.
One whose module Istio's agent pulls reaches the pods that run, and their proxies are asked whether they run it. All
workloads are waited for together, with one list of pods for each namespace and look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import POD
from wasme.deploy.istio.existing import Carrier
from wasme.deploy.istio.sought import asked, can_be_asked, sought
from wasme.deploy.istio.template import Marks
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.probe.dump import Sought
from wasme.deploy.probe.pods import Asked
from wasme.deploy.probe.verdict import Verdict
from wasme.errors import ClusterError, ClusterForbidden

log = logging.getLogger(__name__)

Object = Mapping[str, Any]
Probe = Callable[[Sequence[Asked]], list[Verdict]]

_DECIDED = ("rejected", "failed", "stand-in")
_AT_ONCE = 32  # questions between two looks at the clock
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 3.0


class Heir(NamedTuple):
    """One new object that takes the place of others.

    Attributes:
        label: as messages name it: ``istio/productpage-v1``.
        carrier: the new object, as it was written.
        before: those whose place it takes.
        workload: whose pods it is for; None with targets.
        marks: what these pods must have for it; None where Istio's agent pulls the module.
    """

    label: str
    carrier: dict[str, Any]
    before: tuple[Carrier, ...]
    workload: Workload | None
    marks: Marks | None


class Found(NamedTuple):
    """Whether an object may go.

    Attributes:
        state: ``ready``; ``unverified``, nobody could tell; ``old pods`` run still; ``refused``, proxies were asked and
            do not run the new one.
        reason: in words; "" if it is ready.
    """

    state: Literal["ready", "unverified", "old pods", "refused"]
    reason: str = ""


def kept_pods(workload: Workload) -> str:
    """Why a change of its template makes a workload's pods not anew, so that the filter waits; "" if it does."""
    spec = workload.object.get("spec") or {}
    if spec.get("paused"):
        return "the workload is paused: its pods get the filter when its rollout is resumed"
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return "the workload updates on delete: its pods get the filter when they are deleted"
    return ""


@dataclass
class Succession:
    """Waits until new objects do the work of those before.

    Attributes:
        cluster: where.
        filter_id: of all of them.
        patience: seconds for all of them together; 0 looks once and asks no proxy.
        probe: asks proxies.
    """

    cluster: Cluster
    filter_id: str
    patience: float
    probe: Probe
    _found: dict[str, Found] = field(default_factory=dict)
    _suspects: set[tuple[str, str]] = field(default_factory=set)

    def await_all(self, heirs: Iterable[Heir]) -> dict[str, Found]:
        """What came of each, by its label; nothing is written."""
        waiting = list(heirs)
        for each in [each for each in waiting if each.workload is None]:
            self._found[each.label] = Found("unverified", "whose pods are behind its targets is for the mesh to know")
        until, pause, told = time.monotonic() + self.patience, _FIRST_PAUSE, False
        while True:
            open_now = [each for each in waiting if each.label not in self._found]
            reasons = self._look(open_now, until)
            open_now = [each for each in open_now if each.label not in self._found]
            if not open_now:
                return self._found
            if time.monotonic() + pause > until:
                for each in open_now:
                    self._found[each.label] = Found("old pods" if each.marks else "refused", reasons[each.label])
                return self._found
            if not told:
                told = True
                fields = {"workloads": len(open_now), "reason": next(iter(reasons.values())),
                          "timeout": f"{self.patience:g}s"}  # fmt: skip
                log.info("waiting before the objects of before are deleted", extra={"fields": fields})
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look(self, heirs: Sequence[Heir], until: float) -> dict[str, str]:
        """Look at all of them once; why those that are not decided are not, by label."""
        reasons: dict[str, str] = {}
        questions: list[tuple[Heir, Asked]] = []
        for each, pods in self._pods(heirs):
            assert each.workload
            if each.marks is None:
                proxies = [pod for pod in pods if can_be_asked(pod)]
                if self.patience == 0:
                    self._found[each.label] = Found("unverified", "no time to wait for its proxies")
                elif not proxies:
                    self._found[each.label] = Found("unverified", "no pod of it runs whose proxy could be asked")
                questions += [(each, self._asked(each, pod)) for pod in proxies if each.label not in self._found]
                continue
            old = [pod["metadata"]["name"] for pod in pods if _lacks(pod, each.marks)]
            kept = kept_pods(each.workload)
            if not old:
                self._found[each.label] = Found("ready")
            elif kept:
                self._found[each.label] = Found("old pods", kept)
            else:
                reasons[each.label] = f"{len(old)} pods of {each.label} are not made anew yet ({old[0]})"
        return {**reasons, **self._ask(questions, until)}

    def _pods(self, heirs: Sequence[Heir]) -> Iterator[tuple[Heir, list[Object]]]:
        """The living pods of each; who may not look at them is told so as an outcome."""
        groups: dict[str, list[Heir]] = {}
        for each in heirs:
            assert each.workload
            groups.setdefault(each.workload.namespace, []).append(each)
        for namespace, group in groups.items():
            labels = group[0].workload.selector_labels if len(group) == 1 and group[0].workload else {}
            selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
            try:
                pods = [each for each in self.cluster.list(POD, namespace, labels=selector) if _lives(each)]
            except ClusterForbidden as error:
                for each in group:
                    state: Literal["old pods", "unverified"] = "old pods" if each.marks else "unverified"
                    self._found[each.label] = Found(state, f"its pods may not be looked at: {error.message}")
                continue
            for each in group:
                yield each, [pod for pod in pods if each.workload and each.workload.selects(_labels(pod))]

    def _asked(self, heir: Heir, pod: Object) -> Asked:
        """A pod asked about the new object alone: those before may have the same plugin, and names that end alike."""
        names = _names(heir)
        return replace(asked(pod, heir.carrier, self.filter_id, ""), sought=Sought(names[0], names))

    def _ask(self, questions: Sequence[tuple[Heir, Asked]], until: float) -> dict[str, str]:
        answers: list[tuple[Heir, Asked, Verdict]] = []
        for start in range(0, len(questions), _AT_ONCE):
            if start and time.monotonic() > until:
                break
            part = questions[start : start + _AT_ONCE]
            told = self.probe([each for _, each in part])
            answers += [(heir, each, verdict) for (heir, each), verdict in zip(part, told, strict=True)]
        reasons: dict[str, str] = {}
        suspects: set[tuple[str, str]] = set()
        by_label: dict[str, list[tuple[Asked, Verdict]]] = {heir.label: [] for heir, _ in questions}
        for heir, each, verdict in answers:
            by_label[heir.label].append((each, verdict))
        for label, told_of in by_label.items():
            ill = [(each, verdict) for each, verdict in told_of if not verdict.well and verdict.state != "unknown"]
            decided = {(label, each.pod) for each, verdict in ill if verdict.state in _DECIDED}
            suspects |= decided
            if ill:
                reasons[label] = f"the proxy of {ill[0][0].pod}: {ill[0][1]}"
                if decided & self._suspects:  # what a proxy said once may be about an earlier configuration
                    self._found[label] = Found("refused", reasons[label])
            elif any(verdict.well for _, verdict in told_of):
                self._found[label] = Found("ready")
            else:
                why = next((verdict.reason for _, verdict in told_of), "there was no time to ask its proxies")
                self._found[label] = Found("unverified", why)
        self._suspects = suspects
        return reasons


def asking(cluster: Cluster) -> Probe:
    """Asks proxies through the API server."""

    def ask(questions: Sequence[Asked]) -> list[Verdict]:
        from wasme.deploy.probe.pods import probe

        try:
            return probe(cluster, questions)
        except ClusterError as error:
            return [Verdict("unknown", error.message)] * len(questions)

    return ask


def unasked(questions: Sequence[Asked]) -> list[Verdict]:
    """Asks nobody: for those who have no right to forward ports."""
    return [Verdict("unknown", "its proxies are not asked")] * len(questions)


def _names(heir: Heir) -> tuple[str, ...]:
    """The names that only the new object's place in a filter chain has (as ``sought`` tells them)."""
    kinds = {each.kind.kind for each in heir.before}
    common, translated, own = sought(heir.carrier, "").names
    if heir.carrier["kind"] == "EnvoyFilter":
        return (own,)
    if heir.carrier["kind"] == "TrafficExtension":
        return (common,)
    # Where there are TrafficExtensions, a WasmPlugin has its mark; without it the name would be the other's.
    return (translated,) if "TrafficExtension" in kinds else (common, translated)


def _labels(pod: Object) -> Mapping[str, str]:
    return pod["metadata"].get("labels") or {}


def _lives(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")


def _lacks(pod: Object, marks: Marks) -> bool:
    """Whether a pod has not our labels."""
    labels = _labels(pod)
    return any(labels.get(key) != value for key, value in marks.labels.items())
