"""The one verb of ``deploy istio``: everything is read and checked, the nodes get the module, then the workloads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wasme.deploy import configuration
from wasme.deploy.cache.waiting import Tell
from wasme.deploy.cluster import Cluster, Outcome, Outcomes
from wasme.deploy.istio import caching, rights, template
from wasme.deploy.istio.apply import Done, Step, Walk, at_once
from wasme.deploy.istio.caching import Access
from wasme.deploy.istio.existing import Carrier
from wasme.deploy.istio.facts import Facts, Resolve
from wasme.deploy.istio.order import DryRun, Order
from wasme.deploy.istio.provider import Istio
from wasme.deploy.istio.rights import Right
from wasme.deploy.provider import Rendered
from wasme.deploy.spec import FilterSpec
from wasme.deploy.stored import is_current

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of a deployment.

    Attributes:
        facts: what was known of the cluster and the image.
        objects: what was rendered.
        done: what became of each workload; none in a client's dry run.
    """

    facts: Facts
    objects: Sequence[Rendered]
    done: Sequence[Done] = ()


def deploy(
    cluster: Cluster,
    spec: FilterSpec,
    order: Order,
    resolve: Resolve,
    *,
    access: Access | None = None,
    walk: Walk = at_once,
    dry_run: DryRun = "",
    tell: Tell | None = None,
) -> Deployed:
    """Deploy a filter to workloads of a mesh.

    Args:
        cluster: where.
        spec: the filter; its root id may be "".
        order: which workloads, and how.
        resolve: from a reference to its image.
        access: how the nodes reach the image's registry.
        walk: how the workloads are gone through.
        dry_run: ``client`` only renders; with ``server`` the API server checks all, and stores nothing.
        tell: is told how many nodes hold the module.

    Raises:
        WasmeError: see ``facts.gather``, ``caching.prepare`` and ``apply``; the message names every workload for which
            it was not done, and for the others it was.
    """
    provider = Istio(cluster, order, resolve, walk=walk, dry_run=dry_run == "server")
    facts = provider.facts(spec)
    log.debug("configuration", extra={"fields": {"bytes": configuration.shown(facts.spec.config)}})
    steps = provider.steps(facts)
    objects = provider.render(facts.spec, facts)
    if dry_run == "client":
        return Deployed(facts, objects)
    rights.require(cluster, _rights(steps, facts))
    if dry_run:
        outcomes = provider.apply_steps(facts, steps)
        return Deployed(facts, objects, outcomes.require(_label, f"deploying {spec.id}"))
    on_nodes = facts.choice.kind == "envoyfilter" and order.target.placement == "daemonset"
    registration = caching.prepare(cluster, order.caching, facts, access or Access(), tell) if on_nodes else None
    try:
        outcomes = provider.apply_steps(facts, steps)
    except BaseException:
        # A walk that raises has turned everything back.
        caching.undo_quietly(registration)
        raise
    if on_nodes or any(map(_used_nodes, steps)):
        namespaces = sorted({each.carrier["metadata"]["namespace"] for each in steps})
        carriers = _carriers(facts, outcomes)
        caching.settle_quietly(cluster, order.caching.options, facts.spec.id, namespaces, carriers)
    return Deployed(facts, objects, outcomes.require(_label, f"deploying {spec.id}"))


def _label(step: Step) -> str:
    return step.label


def _rights(steps: Iterable[Step], facts: Facts) -> Iterable[Right]:
    """What must be allowed for what there is to write; nothing where nothing is."""
    for step in steps:
        namespace = step.carrier["metadata"]["namespace"]
        if step.workload and step.marks and not template.is_as_marked(step.workload, step.marks):
            yield Right("patch", step.workload.kind, namespace)
        if step.live is None:
            yield Right("create", facts.kind, namespace)
        if step.live is None or not is_current(step.live, step.carrier):
            yield Right("patch", facts.kind, namespace)
        for each in step.superseded:
            yield Right("delete", each.kind, namespace)


def _used_nodes(step: Step) -> bool:
    return any(each.kind.kind == "EnvoyFilter" for each in step.superseded) or (
        step.live is not None and step.live.get("kind") == "EnvoyFilter"
    )


def _carriers(facts: Facts, outcomes: Outcomes[Step, Done]) -> list[Carrier]:
    """The objects that carry the filter now, on whatever workload; where a step failed, those before and after it."""
    replaced = {
        uid
        for each in outcomes
        if each.error is None
        for uid in _uids(each)
    }  # fmt: skip
    before = [each for each in facts.existing.of_filter(facts.spec.id) if each.uid not in replaced]
    return [
        *before,
        *(Carrier(each.item.carrier, each.item.workload.key if each.item.workload else "") for each in outcomes),
    ]


def _uids(outcome: Outcome[Step, Done]) -> Iterable[str]:
    """Of what a step took the place of."""
    step = outcome.item
    if step.live is not None:
        yield str(step.live["metadata"]["uid"])
    yield from (each.uid for each in step.superseded)
