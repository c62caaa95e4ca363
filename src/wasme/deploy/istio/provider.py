"""Istio as a place that runs filters: from facts to objects, and from objects to the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.cluster import Cluster, Outcomes, parallel
from wasme.deploy.istio import claim, envoyfilter, existing, plugin, prototext, sharing, template, undeployment
from wasme.deploy.istio.annotations import volume_name
from wasme.deploy.istio.apply import Applying, Done, Step, Walk, at_once
from wasme.deploy.istio.caching import with_place
from wasme.deploy.istio.existing import Carrier
from wasme.deploy.istio.facts import Facts, Resolve, gather, is_pulled_by_agent, require_targets_fit
from wasme.deploy.istio.kinds import CARRIERS as PULLED
from wasme.deploy.istio.order import Order
from wasme.deploy.istio.owner import Owner
from wasme.deploy.istio.target import Attachment
from wasme.deploy.istio.template import Marks
from wasme.deploy.istio.workloads import Workload
from wasme.deploy.provider import Rendered, Status
from wasme.deploy.spec import FilterSpec
from wasme.errors import DeployFailed


class Istio:
    """Deploys one filter to workloads of a mesh; a ``Provider``.

    Args:
        cluster: where.
        order: which workloads, and how.
        resolve: from a reference to its image.
        walk: how the workloads are gone through.
        dry_run: the server checks everything and stores nothing.
        owner: whose the objects become; None for nobody's.
    """

    def __init__(
        self,
        cluster: Cluster,
        order: Order,
        resolve: Resolve,
        *,
        walk: Walk = at_once,
        dry_run: bool = False,
        owner: Owner | None = None,
    ) -> None:
        self._cluster = cluster
        self._order = order
        self._resolve = resolve
        self._walk = walk
        self._dry_run = dry_run
        self.owner = owner
        self._facts: Facts | None = None

    def facts(self, spec: FilterSpec) -> Facts:
        """Read the cluster and the image (``facts.gather``)."""
        self._facts = gather(self._cluster, spec, self._order, self._resolve)
        return self._facts

    def render(self, spec: FilterSpec, facts: Facts) -> list[Rendered]:
        """The part of each workload that is ours, and the object that carries the filter; as if nothing were there.

        Raises:
            InputError: the kind cannot carry the filter, or a workload's annotations cannot be read.
            UnsupportedImage: whoever must pull or unpack the image cannot.
        """
        del spec  # ``facts`` has it with its root id
        steps = self.plan(facts).require(doing=f"deploying {facts.spec.id}")
        return [each for step in steps for each in _objects(step)]

    def plan(self, facts: Facts) -> Outcomes[str, Step]:
        """What there is to do: one step for each workload, or one for each namespace of a filter with targets.

        A workload that cannot have the filter fails alone.
        """
        require_targets_fit(self._order, facts.choice)
        if self._order.target.target_refs:
            todo = {each: partial(self.targets_step, facts, each) for each in self._order.selection.namespaces}
        else:
            todo = {f"{each.namespace}/{each.name}": partial(self.step, facts, each) for each in facts.workloads}
        return parallel(lambda name: todo[name](), todo, bound=1)

    def step(self, facts: Facts, workload: Workload) -> Step:
        """What there is to do for one workload; nothing is written.

        Raises:
            WasmeError: its annotations cannot be read, it cannot have the filter, or somebody else's object has the
                name that the filter's would have.
        """
        marks = self._marks(facts, workload)
        if marks is not None:
            template.rendered(workload, marks)
        labels = template.selected_labels(workload, marks)
        attachment = Attachment.to_workload(
            facts.spec.id, workload.kind.kind, workload.name, workload.namespace, labels
        )
        live = facts.existing.find(facts.kind, workload.namespace, attachment.name)
        if live is not None and marks is not None and _selects_all_along(live, workload):
            labels.pop(CACHE_LABEL, None)
            attachment = Attachment.to_workload(
                facts.spec.id, workload.kind.kind, workload.name, workload.namespace, labels
            )
        return self._step(facts, attachment, live, workload, marks)

    def apply(self, objects: Sequence[Rendered]) -> None:
        """Send what ``render`` made of the facts read last.

        Raises:
            DeployFailed: for some workloads it was not done; the message tells all of them.
            ClusterError: for the only one it was not done.
        """
        assert self._facts is not None, "facts come first"
        wanted = {_identity(each) for each in objects}
        planned = self.plan(self._facts).require(doing=f"deploying {self._facts.spec.id}")
        steps = [each for each in planned if _identity(each.carrier) in wanted]
        self.apply_steps(self._facts, steps).require(lambda step: step.label, f"deploying {self._facts.spec.id}")

    def apply_steps(self, facts: Facts, steps: Sequence[Step]) -> Outcomes[Step, Done]:
        """Do the steps; one that fails stops no other."""
        work = Applying(
            self._cluster,
            facts.spec.id,
            prototext.of_filter(facts.spec, self._order.target.context),
            facts.existing,
            lambda workload: self.step(facts, workload),
            self._dry_run,
            self._order.caching.timeout,
        )
        return self._walk(work, steps, work.finish)

    def remove(self, filter_id: str) -> None:
        """Take the filter from the workloads that are meant; nothing happens where it is not."""
        undeployment.undeploy(self._cluster, filter_id, self._order, dry_run=self._dry_run, must_exist=False)

    def status(self, filter_id: str) -> Status:
        """Whether the workloads that are meant have the filter's object; what their proxies do with it is for
        ``status`` of this package to ask them."""
        kinds = existing.served_kinds(self._cluster).values()
        found = existing.read(self._cluster, self._order.selection.namespaces, kinds).of_filter(filter_id)
        if not found:
            return Status("absent")
        going = [each.name for each in found if each.object["metadata"].get("deletionTimestamp")]
        if going:
            return Status("pending", f"{', '.join(going)} is being deleted")
        return Status(
            "ready", addresses=tuple((f"{each.kind.kind}", f"{each.namespace}/{each.name}") for each in found)
        )

    def _step(
        self,
        facts: Facts,
        attachment: Attachment,
        live: Rendered | None,
        workload: Workload | None = None,
        marks: Marks | None = None,
    ) -> Step:
        if live is not None:
            claim.require(self._cluster, live, facts.spec.id, workload, self.owner)
        carrier = self._carrier(facts, attachment)
        return Step(
            carrier=self.owner.owning(carrier) if self.owner else carrier,
            live=live,
            workload=workload,
            marks=marks,
            superseded=tuple(_superseded(facts, attachment, workload)),
        )

    def targets_step(self, facts: Facts, namespace: str) -> Step:
        """What there is to do for the targets in one namespace; raises as ``step``."""
        attachment = Attachment.to_targets(facts.spec.id, namespace, self._order.target.target_refs)
        return self._step(facts, attachment, facts.existing.find(facts.kind, namespace, attachment.name))

    def _carrier(self, facts: Facts, attachment: Attachment) -> Rendered:
        spec, image, target = facts.spec, facts.image, self._order.target
        if self._order.caching.share_credentials and is_pulled_by_agent(self._order, facts.choice):
            target = replace(target, pull_secret=sharing.secret_name(spec.id))
        if facts.choice.kind == "envoyfilter":
            made = envoyfilter.render(attachment, spec, image, target, facts.minor, facts.schema, facts.proxy)
            return with_place(made, self._order.caching.options) if target.placement == "daemonset" else made
        return plugin.render(PULLED[facts.choice.kind], attachment, spec, image, target, facts.schema)

    def _marks(self, facts: Facts, workload: Workload) -> Marks | None:
        if facts.choice.kind != "envoyfilter" or self._order.target.placement == "none":
            return None
        caching = self._order.caching
        own = {each.uid for each in _now(facts, workload.namespace, workload)}
        others = facts.existing.cache_users(workload.namespace, workload.template_labels, without=own)
        if self._order.target.placement == "daemonset":
            before = workload.template_labels.get(CACHE_LABEL, caching.options.name)
            if others and before != caching.options.name:
                # Its label would change, and the other filters' objects would select none of its pods any more.
                named = f"{workload.namespace}/{workload.name}"
                raise DeployFailed(
                    f"{named} has filters of the node cache {before} ({', '.join(others)})",
                    hint=f"--cache-name {before}; a workload's filters share one node cache",
                )
            marks = template.cache_marks(caching.options.name, workload.namespace, gate=caching.gate)
            own_volume, own_label = volume_name(facts.spec.id), template.volume_label(facts.spec.id)
            return replace(marks, unwanted=(*marks.unwanted, own_volume), unwanted_labels=(own_label,))
        marks = template.image_marks(facts.spec.id, facts.image.pinned)
        if others:
            return marks
        return Marks(marks.labels, marks.entries, template.CACHE_VOLUMES, (CACHE_LABEL,))


def _objects(step: Step) -> Iterable[Rendered]:
    if step.workload is not None and step.marks is not None:
        yield template.rendered(step.workload, step.marks)
    yield step.carrier


def _now(facts: Facts, namespace: str, workload: Workload | None) -> list[Carrier]:
    """What carries the filter now, for one workload or for targets."""
    if workload is None:
        return facts.existing.of_targets(facts.spec.id, namespace)
    return facts.existing.of_workload(facts.spec.id, workload.kind, namespace, workload.name)


def _superseded(facts: Facts, attachment: Attachment, workload: Workload | None) -> Iterable[Carrier]:
    """What carries the filter for the same workload, or for targets, in another kind or by another name."""
    for each in _now(facts, attachment.namespace, workload):
        if each.kind.kind != facts.kind.kind or each.name != attachment.name:
            yield each


def _selects_all_along(live: Rendered, workload: Workload) -> bool:
    """Whether the object has selected pods without our label, and they have had the volume all along.

    So the original deployed. Adding the label would take the filter from the pods that run, until they are replaced.
    """
    selector = existing.selector_of(live)
    return bool(selector) and CACHE_LABEL not in selector and template.has_cache_volume(workload)


def _identity(obj: Rendered) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]
