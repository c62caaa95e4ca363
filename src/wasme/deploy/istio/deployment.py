"""The one verb of ``deploy istio``: everything is read and checked, the nodes get the module, then the workloads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wasme.deploy import configuration
from wasme.deploy.cache.waiting import Tell
from wasme.deploy.cluster import Cluster, Outcome, Outcomes
from wasme.deploy.istio import caching, meanwhile, rights, sharing, template
from wasme.deploy.istio.afterwards import Afterwards
from wasme.deploy.istio.apply import Done, Step, Walk, at_once
from wasme.deploy.istio.existing import Carrier, read, served_kinds
from wasme.deploy.istio.facts import Facts
from wasme.deploy.istio.order import DryRun, Order
from wasme.deploy.istio.provider import Istio
from wasme.deploy.istio.rights import Right
from wasme.deploy.provider import Rendered
from wasme.deploy.resolved import resolve
from wasme.deploy.rollout.walk import Interrupted
from wasme.deploy.spec import FilterSpec
from wasme.deploy.stored import is_current
from wasme.errors import ClusterError, WasmeError
from wasme.registry.session import Session

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of a deployment.

    Attributes:
        facts: what was known of the cluster and the image.
        objects: what was rendered, for a dry run.
        done: what became of each workload; none in a client's dry run.
    """

    facts: Facts
    objects: Sequence[Rendered]
    done: Sequence[Done] = ()


def deploy(
    cluster: Cluster,
    spec: FilterSpec,
    order: Order,
    session: Session,
    *,
    walk: Walk = at_once,
    dry_run: DryRun = "",
    tell: Tell | None = None,
) -> Deployed:
    """Deploy a filter to workloads of a mesh.

    Args:
        cluster: where.
        spec: the filter; its root id may be "".
        order: which workloads, and how.
        session: how the image's registry is reached.
        walk: how the workloads are gone through.
        dry_run: ``client`` only renders; with ``server`` the API server checks all, and stores nothing.
        tell: is told how many nodes hold the module.

    Raises:
        WasmeError: see ``facts.gather``, ``caching.prepare`` and ``apply``; the message names every workload for which
            it was not done, and for the others it was.
    """
    provider = Istio(
        cluster,
        order,
        lambda image: resolve(image, session),
        walk=at_once if dry_run else walk,
        dry_run=dry_run == "server",
    )
    facts = provider.facts(spec)
    if facts.spec.config:
        log.info("configuration of the filter", extra={"fields": {"config": _configuration(facts)}})
    if dry_run == "client":
        return Deployed(facts, provider.render(facts.spec, facts))
    planned = provider.plan(facts)
    steps = planned.results
    _require_some(planned)
    rights.require(cluster, _rights(steps, facts))
    if dry_run:
        outcomes = provider.apply_steps(facts, steps)
        done = _together(planned, outcomes).require(doing=f"deploying {spec.id}")
        return Deployed(facts, provider.render(facts.spec, facts), done)
    on_nodes = facts.choice.kind == "envoyfilter" and order.target.placement == "daemonset"
    if on_nodes:
        caching.prepare(cluster, order.caching, facts, session, tell)
    try:
        if order.caching.share_credentials and facts.choice.kind != "envoyfilter":
            credential = caching.own_credential(session, facts.image.reference.domain)
            namespaces = sorted({each.carrier["metadata"]["namespace"] for each in steps})
            host = facts.image.address.partition("/")[0]
            staying = {each.live["metadata"]["uid"] for each in steps if each.live}
            sharing.share(cluster, spec.id, namespaces, host, credential, staying)
        outcomes = provider.apply_steps(facts, steps)
    except (WasmeError, Interrupted):
        # A rollout, which has turned back, as far as it could: the nodes need what the objects say that are there now.
        # Ctrl-C in any other deployment leaves some objects written, so the nodes go on holding what those name.
        if on_nodes:
            _settle_anew(cluster, order, facts.spec.id, sorted({each.namespace for each in facts.workloads}))
        _settle_secrets(cluster, facts, steps)
        raise
    after = Afterwards()
    after.do(lambda: _look_again(cluster, outcomes), None)
    if on_nodes or any(map(_used_nodes, steps)):
        namespaces = sorted({each.carrier["metadata"]["namespace"] for each in steps})
        carriers = _carriers(facts, outcomes)
        for place in caching.places(facts.existing.of_filter(facts.spec.id), order.caching.options):
            caching.settle_quietly(cluster, place, facts.spec.id, namespaces, carriers)
    changed = any(each.result is None or each.result.action != "unchanged" or each.result.removed for each in outcomes)
    if changed or order.caching.share_credentials:
        _settle_secrets(cluster, facts, steps)
    return Deployed(facts, (), after.require(_together(planned, outcomes), str, f"deploying {spec.id}"))


def _settle_secrets(cluster: Cluster, facts: Facts, steps: Sequence[Step]) -> None:
    """Take a credential back that no object names now: after a change of kind, and where a write was refused."""
    namespaces = sorted({each.carrier["metadata"]["namespace"] for each in steps})
    before = facts.existing.of_filter(facts.spec.id)
    hinted = any(sharing.is_needed(before, each, facts.spec.id) for each in namespaces)
    sharing.settle_quietly(cluster, facts.spec.id, namespaces, hinted=hinted)


def _look_again(cluster: Cluster, outcomes: Outcomes[Step, Done]) -> None:
    """Where something was written somebody may have undeployed another filter of the same pods meanwhile."""
    written = [
        each.item for each in outcomes if each.result and (each.result.action != "unchanged" or each.result.restarts)
    ]
    meanwhile.keep_marks(cluster, written)
    stripped = [each.result for each in outcomes if each.result and each.result.restarts and each.item.marks is None]
    places = {(each.namespace, each.workload) for each in stripped}
    workloads = [each.workload for each in written if each.workload]
    meanwhile.put_back(cluster, (each for each in workloads if (each.namespace, each.key) in places))


def _require_some(planned: Outcomes[str, Step]) -> None:
    """Refuse what no workload can have, in the words of its one reason.

    Raises:
        WasmeError: that reason, or all of them.
    """
    errors = [each.error for each in planned.failures if each.error]
    if len(errors) == len(planned.all):
        if len({each.message for each in errors}) == 1:
            raise errors[0]
        planned.require()


def _together(planned: Outcomes[str, Step], outcomes: Outcomes[Step, Done]) -> Outcomes[str, Done]:
    """How it ended for each workload, with those for which it could not begin."""
    ended = [Outcome(each.item.label, each.result, each.error) for each in outcomes]
    never: list[Outcome[str, Done]] = [Outcome(each.item, error=each.error) for each in planned.failures]
    return Outcomes((*ended, *never))


def _configuration(facts: Facts) -> str:
    """The exact bytes that the filter will get."""
    text = facts.spec.config
    if facts.choice.kind != "envoyfilter":
        text = configuration.as_istio_writes(configuration.as_object(text))
    return configuration.shown(text)


def _settle_anew(cluster: Cluster, order: Order, filter_id: str, namespaces: Sequence[str]) -> None:
    try:
        there = read(cluster, namespaces, served_kinds(cluster).values()).of_filter(filter_id)
    except ClusterError as error:
        log.warning("the nodes go on holding the image", extra={"fields": {"reason": error.message}})
    else:
        caching.settle_quietly(cluster, order.caching.options, filter_id, namespaces, there)


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
