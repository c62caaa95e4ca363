"""Workloads of a mesh under a rollout: how they are, and how a change of one is taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wasme.deploy.cache.nodes import is_ready
from wasme.deploy.cluster import Cluster, Kind, kind_of
from wasme.deploy.cluster.kinds import DAEMON_SET, NODE, POD
from wasme.deploy.istio import rights
from wasme.deploy.istio.annotations import BACKUP, USER_VOLUME, USER_VOLUME_MOUNT
from wasme.deploy.istio.apply import Step
from wasme.deploy.istio.existing import carrier
from wasme.deploy.istio.rights import Right
from wasme.deploy.istio.snapshot import by_workload, place_of
from wasme.deploy.istio.sought import asked, can_be_asked
from wasme.deploy.istio.target import DIGEST
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.probe.pods import Asked
from wasme.deploy.probe.verdict import Verdict
from wasme.deploy.rollout.health import WELL, Before, Health, before, health
from wasme.deploy.rollout.restored import ours_of, remake
from wasme.deploy.stored import write
from wasme.errors import ClusterForbidden, Conflict

Object = dict[str, Any]
Probe = Callable[[Sequence[Asked]], list[Verdict]]

_ATTEMPTS = 8
_LABELS = "wasme.io/"  # what all labels of ours on pods begin with
_ANNOTATIONS = (USER_VOLUME, USER_VOLUME_MOUNT, BACKUP + USER_VOLUME, BACKUP + USER_VOLUME_MOUNT)
_PORTS = Kind("", "v1", "Pod", "pods/portforward")
_DECIDED = ("rejected", "failed", "stand-in")


@dataclass
class Workloads:
    """The steps of a deployment, as a rollout sees them.

    Attributes:
        cluster: where.
        filter_id: the filter.
        probe: asks proxies whether they run it; None where only the workloads' own health counts.
    """

    cluster: Cluster
    filter_id: str
    probe: Probe | None = None
    _earlier: dict[str, Before] = field(default_factory=dict)
    _suspects: set[tuple[str, str]] = field(default_factory=set)

    def name(self, step: Step) -> str:
        """``istio/productpage-v1``."""
        return step.label

    def examine(self, items: Sequence[Step], *, changed: bool) -> list[Health]:
        """How the steps' workloads are; what has only targets is well.

        Raises:
            ClusterError: they cannot be read.
        """
        if not changed:
            rights.require(self.cluster, self._rights(items))
        seen = self._seen(items)
        dead = self._dead(items)
        states: list[Health] = []
        for step in items:
            if step.workload is None:
                states.append(WELL)
                continue
            live, pods = seen[step.label]
            if not changed:
                self._earlier[step.label] = before(pods)
            if live is None:
                states.append(Health("failed", "it was deleted meanwhile"))
            else:
                states.append(health(live, pods, self._earlier.get(step.label, Before({})), dead))
        if changed and self.probe is not None:
            self._ask(self.probe, items, states, seen)
        return states

    def turn_back(self, step: Step) -> None:
        """Make one workload, and what carries the filter for it, be as they were read.

        The object goes first where it is new, so that no proxy is pointed at a file that its pod then loses; where it
        replaced another kind, that one comes back before it goes. What this run did not change is not written, and of
        an object that is changed back only what is ours in it.

        Raises:
            ClusterError: the server did not do it.
        """
        kind, meta = kind_of(step.carrier), step.carrier["metadata"]
        now = self.cluster.get(kind, meta["name"], meta["namespace"])
        if step.live is not None:
            self._write_back(step.live, now)
        elif now is not None and not step.superseded:
            self._delete(kind, now)
        if step.workload is not None:
            self._restore(step.workload)
        for each in step.superseded:
            if self.cluster.get(each.kind, each.name, each.namespace) is None:
                remake(self.cluster, each.object)
        if step.live is None and now is not None and step.superseded:
            self._delete(kind, now)

    def _write_back(self, live: Object, now: Object | None) -> None:
        """Make an object be as it was; one that was not changed since, or is somebody else's, is left alone."""
        if now is None:
            remake(self.cluster, live)
        elif not _same(now, live) and carrier(now, self.filter_id) is not None:
            write(self.cluster, ours_of(live), now)

    def _delete(self, kind: Kind, obj: Object) -> None:
        meta = obj["metadata"]
        if carrier(obj, self.filter_id) is not None:
            self.cluster.delete(kind, meta["name"], meta["namespace"], uid=meta["uid"])

    def _restore(self, workload: Workload) -> None:
        for attempt in range(_ATTEMPTS):
            found = self.cluster.get(workload.kind, workload.name, workload.namespace)
            if found is None or found["metadata"].get("uid") != workload.uid:
                return
            now = Workload(workload.kind, found)
            patch = _back(now, workload)
            if not patch:
                return
            guard = {"uid": now.uid, "resourceVersion": now.resource_version}
            changes = {"metadata": guard, "spec": {"template": {"metadata": patch}}}
            try:
                self.cluster.patch(now.kind, now.name, now.namespace, changes)
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _rights(self, items: Sequence[Step]) -> Iterator[Right]:
        """What turning back and asking proxies needs beside the deployment itself."""
        for step in items:
            namespace = step.carrier["metadata"]["namespace"]
            if step.live is None:
                yield Right("delete", kind_of(step.carrier), namespace)
            for each in step.superseded:
                yield Right("create", each.kind, namespace)
            if self.probe is not None and step.workload is not None:
                yield Right("get", _PORTS, namespace)

    def _dead(self, items: Sequence[Step]) -> frozenset[str]:
        """Nodes that are not ready, where that matters: the pods of a DaemonSet there can be neither new nor ready."""
        if not any(step.workload is not None and step.workload.kind == DAEMON_SET for step in items):
            return frozenset()
        try:
            nodes = self.cluster.list(NODE)
        except ClusterForbidden:
            return frozenset()
        return frozenset(each["metadata"]["name"] for each in nodes if not is_ready(each))

    def _seen(self, items: Sequence[Step]) -> dict[str, tuple[Object | None, list[Object]]]:
        """Each step's workload and its pods, by the step's label; two lists for a namespace, however many there are."""
        seen: dict[str, tuple[Object | None, list[Object]]] = {}
        groups: dict[tuple[str, Kind], list[Step]] = {}
        for step in items:
            if step.workload is not None:
                groups.setdefault((step.workload.namespace, step.workload.kind), []).append(step)
        for (namespace, kind), steps in groups.items():
            one = steps[0].workload if len(steps) == 1 else None
            if one is not None:
                live = {one.name: self.cluster.get(kind, one.name, namespace)}
                pods = self.cluster.list(POD, namespace, labels=_equalities(one))
            else:
                live = {each["metadata"]["name"]: each for each in self.cluster.list(kind, namespace)}
                pods = self.cluster.list(POD, namespace)
            of = by_workload([each.workload for each in steps if each.workload], pods)
            for step in steps:
                assert step.workload
                seen[step.label] = (live.get(step.workload.name), of[place_of(step.workload)])
        return seen

    def _ask(
        self,
        probe: Probe,
        items: Sequence[Step],
        states: list[Health],
        seen: Mapping[str, tuple[Object | None, list[Object]]],
    ) -> None:
        """Replace the health of well workloads by what their proxies say.

        What a proxy refused may be an earlier configuration, so only what it says twice in a row decides.
        """
        questions: list[tuple[int, str, Asked]] = []
        for number, step in enumerate(items):
            if step.workload is None or states[number].state != "well":
                continue
            module = str((step.carrier["metadata"].get("annotations") or {}).get(DIGEST, ""))
            for pod in seen[step.label][1]:
                if can_be_asked(pod):
                    question = asked(pod, step.carrier, self.filter_id, module)
                    questions.append((number, step.label, question))
        suspects: set[tuple[str, str]] = set()
        for (number, label, question), verdict in zip(questions, probe([each[2] for each in questions]), strict=True):
            if verdict.well:
                continue
            told = f"the proxy of {question.pod}: {verdict}"
            suspect = (label, question.pod)
            if verdict.state in _DECIDED:
                suspects.add(suspect)
            decided = verdict.state in _DECIDED and suspect in self._suspects
            if states[number].state != "failed":
                states[number] = Health("failed" if decided else "coming", told)
        self._suspects = suspects


def _back(now: Workload, then: Workload) -> Object:
    """The part of a merge patch that brings our labels and annotations of a template back."""
    result: Object = {}
    for part, current, wanted in (
        ("labels", now.template_labels, then.template_labels),
        ("annotations", now.template_annotations, then.template_annotations),
    ):
        keys = [key for key in {**current, **wanted} if key.startswith(_LABELS) or key in _ANNOTATIONS]
        changes = {key: wanted.get(key) for key in keys if current.get(key) != wanted.get(key)}
        if changes:
            result[part] = changes
    return result


def _equalities(workload: Workload) -> str:
    wanted = workload.pod_selector.get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(wanted.items()))


def _same(now: Object, live: Object) -> bool:
    """Whether nobody has written an object since it was read."""
    return all(now["metadata"].get(key) == live["metadata"].get(key) for key in ("uid", "resourceVersion"))
