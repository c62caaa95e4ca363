"""Undeploying: whatever a deployment has left of a filter is found and taken away, and nothing else is touched.

A filter is looked for by its objects (by label, annotation or, for the original's, by shape), whatever became of the
workload; by what pod templates still have of it; and by its lines in the node cache. So each half that an interrupted
deployment or undeployment may leave is found from any of the others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from wasme.deploy.cluster import Cluster, parallel
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.istio import rights, sharing, template, workloads
from wasme.deploy.istio.afterwards import Afterwards
from wasme.deploy.istio.caching import places, release
from wasme.deploy.istio.existing import Carrier, Existing, read, served_kinds
from wasme.deploy.istio.meanwhile import put_back, take_rest
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.owner import filter_deployment_of
from wasme.deploy.istio.removal import Removed, Unneeded, take_away, unneeded
from wasme.deploy.istio.rights import Right
from wasme.deploy.istio.target import FILTER_LABEL, filter_label
from wasme.deploy.istio.workloads import KINDS, Selection, Workload, go_map
from wasme.deploy.spec import require_id
from wasme.errors import ClusterError, DeployFailed, InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taking:
    """What is to be taken from one workload.

    Attributes:
        namespace: where.
        workload: as it was read; None for one that is gone, and for a filter with targets.
        carriers: the filter's objects for it.
    """

    namespace: str
    workload: Workload | None
    carriers: tuple[Carrier, ...]

    @property
    def label(self) -> str:
        """As an error names it: ``istio/productpage-v1``."""
        name = self.workload.name if self.workload else next((each.name for each in self.carriers), "")
        return f"{self.namespace}/{name}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that an undeployment takes away.

    Attributes:
        filter_id: the filter.
        takings: workload by workload.
        existing: every object that carries a filter, anybody's, in these namespaces.
        left: objects of the filter that were not meant: of other workloads, or kinds of workload.
        gone: uids of the objects that go.
        secrets: the filter's, which no object that stays names.
    """

    filter_id: str
    takings: tuple[Taking, ...]
    existing: Existing
    left: tuple[Carrier, ...]
    gone: frozenset[str]
    secrets: tuple[dict[str, Any], ...] = ()

    @property
    def pulls(self) -> bool:
        """Whether one of the objects that go has its image pulled by Istio's agent."""
        return any(each.kind != ENVOY_FILTER for taking in self.takings for each in taking.carriers)

    def leaves_volume(self, taking: Taking) -> Workload | None:
        """A workload that loses an object and keeps its volume for other filters; None for any other."""
        workload = taking.workload
        if workload is None or workload.terminating or not taking.carriers:
            return None
        users = self.existing.cache_users(workload.namespace, workload.template_labels, without=self.gone)
        return workload if users else None

    def needless(self, workload: Workload) -> Unneeded:
        """What a workload's pods need no more."""
        return unneeded(self.existing, workload, self.filter_id, self.gone)


def plan(cluster: Cluster, filter_id: str, order: Order) -> Plan:
    """Find everything that is there of a filter; nothing is written.

    Raises:
        UsageError: the id can be none.
        ClusterError: the cluster cannot be read.
    """
    require_id(filter_id)
    selection = order.selection
    existing = read(cluster, selection.namespaces, served_kinds(cluster).values())
    takings: list[Taking] = []
    left: list[Carrier] = []
    for namespace in selection.namespaces:
        everything = replace(selection, labels={}, name="")
        there = {each.name: each for each in workloads.read(cluster, everything, namespace)}
        carriers = [each for each in existing.of_filter(filter_id) if each.namespace == namespace]
        finder = _Finder(cluster, selection, namespace, there)
        meant = [each for each in carriers if finder.means(each)]
        names = {(each.kind.kind, each.name) for each in meant}
        left += [each for each in carriers if (each.kind.kind, each.name) not in names]
        takings += _by_workload(existing, filter_id, finder, meant)
    gone = frozenset(carrier.uid for each in takings for carrier in each.carriers)
    made = Plan(filter_id, tuple(takings), existing, tuple(left), gone)
    secrets = tuple(
        each
        for namespace in selection.namespaces
        if not sharing.is_needed(left, namespace, filter_id)
        for each in sharing.shared(cluster, filter_id, namespace)
    )
    return replace(made, secrets=secrets)


def undeploy(
    cluster: Cluster, filter_id: str, order: Order, *, dry_run: bool = False, must_exist: bool = True
) -> list[Removed]:
    """Take a filter away.

    Args:
        cluster: where.
        filter_id: the filter.
        order: from which workloads.
        dry_run: the server checks everything and stores nothing.
        must_exist: whether it is an error that there is nothing.

    Returns:
        What was done, workload by workload.

    Raises:
        UsageError: the id can be none.
        DeployFailed: there is nothing of the filter; or some of it could not be taken away, and all else was.
        ClusterError: the cluster cannot be read.
    """
    selection = order.selection
    params = f"{{{go_map(selection.labels)} {','.join(selection.namespaces)} {selection.kind.kind.lower()}}}"
    log.info("removing filter from one or more workloads...", extra={"fields": {"filter": filter_id, "params": params}})
    found = plan(cluster, filter_id, order)

    _warn_of_owners(found)
    if not dry_run:
        rights.require(cluster, _rights(found))

    def work(taking: Taking) -> Removed:
        return take_away(
            cluster, filter_id, taking.namespace, taking.workload, taking.carriers, found.needless, dry_run=dry_run
        )

    outcomes = parallel(work, found.takings)
    stays = [*found.left, *(each for failed in outcomes.failures for each in failed.item.carriers)]
    after = Afterwards()
    lines = 0
    secrets: list[sharing.Taken] = []
    if not dry_run:
        stripped = [each.item.workload for each in outcomes if each.result and each.result.restarts]
        kept = [each for each in map(found.leaves_volume, found.takings) if each]
        stripped += after.do(lambda: take_rest(cluster, kept, filter_id), [])
        after.do(lambda: put_back(cluster, filter(None, stripped)), None)
        secrets = after.do(
            lambda: sharing.take_back(cluster, filter_id, selection.namespaces, hinted=found.pulls), secrets
        )
        had_files = any(each.kind == ENVOY_FILTER for taking in found.takings for each in taking.carriers)
        for place in places((each for taking in found.takings for each in taking.carriers), order.caching.options):
            release_there = partial(release, cluster, place, filter_id, selection.namespaces, stays, needed=had_files)
            lines += after.do(release_there, 0)
    removed = after.require(outcomes, lambda taking: taking.label, f"undeploying {filter_id}")
    removed += [Removed(each.namespace, "", (f"Secret/{each.name}",), False) for each in secrets]
    done = [each for each in removed if each.objects or each.restarts]
    if not done and not lines and not (dry_run and found.secrets) and must_exist:
        raise nothing(cluster, found, selection)
    return done


def _warn_of_owners(found: Plan) -> None:
    """Tell of what an operator makes anew as soon as it is gone."""
    for namespace, name in sorted(
        {
            (each.namespace, owner)
            for taking in found.takings
            for each in taking.carriers
            if (owner := filter_deployment_of(each.object))
        }
    ):
        log.warning(
            "the operator brings the filter back: delete the FilterDeployment that it belongs to",
            extra={"fields": {"filterdeployment": f"{namespace}/{name}"}},
        )


def nothing(cluster: Cluster, found: Plan, selection: Selection) -> DeployFailed:
    """The error that there is nothing of the filter; its hint says where it is instead."""
    return DeployFailed(f"found nothing of a filter {found.filter_id} on {selection}", hint=_elsewhere(cluster, found))


def _rights(found: Plan) -> Iterator[Right]:
    """What must be allowed for what there is to take away."""
    for each in found.takings:
        yield from (Right("delete", one.kind, one.namespace) for one in each.carriers)
        workload = each.workload
        if workload is not None and not workload.terminating:
            what = found.needless(workload)
            if _unmarked(workload, what):
                yield Right("patch", workload.kind, workload.namespace)


class _Finder:
    """Which objects of a filter are meant by a selection, in one namespace.

    Args:
        there: the workloads of the selected kind there, by name.
    """

    def __init__(self, cluster: Cluster, selection: Selection, namespace: str, there: dict[str, Workload]) -> None:
        self._cluster = cluster
        self._selection = selection
        self.namespace = namespace
        self.there = there
        self._others: dict[str, set[str]] = {}

    @property
    def selected(self) -> Iterable[Workload]:
        """The workloads that are meant, with a filter or without."""
        return (each for each in self.there.values() if self._selects(each))

    @property
    def is_narrow(self) -> bool:
        """Whether the user named the workloads, and did not only mean all of a namespace."""
        return bool(self._selection.name or self._selection.labels)

    def means(self, carrier: Carrier) -> bool:
        """Whether an object is to be taken away."""
        selection = self._selection
        if not carrier.workload:
            return not self.is_narrow  # it is for targets, and no workload's
        kind, _, name = carrier.workload.partition("/")
        if kind not in ("", selection.kind.kind) or (selection.name and name != selection.name):
            return False
        if name in self.there:
            return self._selects(self.there[name])
        if not kind and self._is_of_another_kind(name):
            return False
        # The workload is gone, or has another name now: its labels are known from what the object selects.
        pods = carrier.selector
        return all(pods.get(key) == value for key, value in selection.labels.items())

    def _selects(self, workload: Workload) -> bool:
        selection, labels = self._selection, workload.labels
        named = not selection.name or workload.name == selection.name
        return named and all(labels.get(key) == value for key, value in selection.labels.items())

    def _is_of_another_kind(self, name: str) -> bool:
        """The original told nowhere of which kind a workload was."""
        for kind in KINDS.values():
            if kind == self._selection.kind:
                continue
            if kind.kind not in self._others:
                objects = self._cluster.list(kind, self.namespace)
                self._others[kind.kind] = {each["metadata"]["name"] for each in objects}
            if name in self._others[kind.kind]:
                return True
        return False


def _by_workload(existing: Existing, filter_id: str, finder: _Finder, meant: Sequence[Carrier]) -> list[Taking]:
    """The objects of each workload with the workload, and workloads that have only a volume left."""
    by_name: dict[str, list[Carrier]] = {}
    for each in meant:
        by_name.setdefault(each.workload_name, []).append(each)
    takings = [Taking(finder.namespace, finder.there.get(name), tuple(carriers)) for name, carriers in by_name.items()]
    gone = {each.uid for each in meant}
    for workload in finder.selected:
        if workload.name in by_name or workload.terminating:
            continue
        if not _unmarked(workload, unneeded(existing, workload, filter_id, gone)):
            continue
        if template.is_marked(workload) or finder.is_narrow:
            takings.append(Taking(finder.namespace, workload, ()))
        else:
            # What the original left has no mark, and the user may have written it: it goes where it is asked for.
            log.warning(
                "workload has a volume of the node cache that no filter uses; --name takes it away",
                extra={"fields": {"workload": workload.name}},
            )
    return takings


def _unmarked(workload: Workload, what: Unneeded) -> bool:
    """Whether there is anything to take from a template; nothing where nobody can read what is there."""
    try:
        return template.unmarked(workload, what.volumes, what.labels) is not None
    except InputError as error:
        log.warning(error.message)
        return False


def _elsewhere(cluster: Cluster, found: Plan) -> str:
    """Where the filter is instead, or which filters there are."""
    if found.left:
        shown = sorted({f"{each.namespace}/{each.workload.lstrip('/') or each.name}" for each in found.left})
        return f"it is on {', '.join(shown[:5])}: --workload-type, --labels and --name choose"
    label = f"{FILTER_LABEL}={filter_label(found.filter_id)}"
    places: set[str] = set()
    try:
        for kind in served_kinds(cluster).values():
            places |= {each["metadata"]["namespace"] for each in cluster.list(kind, None, labels=label)}
    except ClusterError:
        places = set()
    if places:
        return f"it is in the namespaces {', '.join(sorted(places)[:5])}: --namespaces chooses"
    ids = {(each["metadata"].get("labels") or {}).get(FILTER_LABEL, "") for each in found.existing.objects} - {""}
    return f"filters there: {', '.join(sorted(ids)[:10])}" if ids else "there is no filter of wasme's at all"
