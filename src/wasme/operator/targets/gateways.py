"""FilterDeployments in gateways: Gloo's Gateways, and objects of the Gateway API that Envoy Gateway serves.

Whose entry is it? Envoy Gateway's policies have an annotation that says which filters are wasme's. Gloo's entries have
nothing but a name: whatever has the name of the filter's id is taken to be this filter, as the original took it and as
``wasme deploy gloo`` does. So an id that a user has given to an entry of his own is overwritten; ids are
``<name>.<namespace>`` unless somebody says otherwise.

No ownerReference here: a Gateway of Gloo is the user's, and a policy is shared by all filters of its target, so neither
may go with one FilterDeployment. The finalizer takes the filter out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from wasme.deploy.cluster import Cluster, Kind, Outcome
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GLOO_GATEWAY
from wasme.deploy.envoy_gateway import configuration, targets
from wasme.deploy.envoy_gateway import selection as policies
from wasme.deploy.envoy_gateway.provider import EnvoyGateway
from wasme.deploy.envoy_gateway.provider import Wanted as Deployable
from wasme.deploy.envoy_gateway.standing import standing as judged_policy
from wasme.deploy.gateways import Change, Standing, loopback_problem
from wasme.deploy.gloo import provider as gloo
from wasme.deploy.gloo.entry import Settings
from wasme.deploy.gloo.standing import standing as judged_gateway
from wasme.deploy.resolved import ResolvedImage
from wasme.errors import (
    ClusterError,
    ClusterUnreachable,
    DeployFailed,
    InputError,
    LeadershipLost,
    NothingMatches,
    NotServed,
    UnsupportedImage,
    WasmeError,
)
from wasme.image.reference import Reference
from wasme.operator.resources.report import Report, State, TargetState
from wasme.operator.resources.wanted import EnvoyGatewayTarget, GlooTarget, Provider, TargetReference, Wanted
from wasme.operator.targets.locks import Locks

WATCHED: Final[Mapping[Provider, tuple[Kind, ...]]] = {
    "gloo": (GLOO_GATEWAY,),
    "envoyGateway": (ENVOY_EXTENSION_POLICY, *targets.KINDS.values()),
}
"""The kinds whose changes in a FilterDeployment's namespace call it, by its provider.

Of the first of each the status counts too, with which the gateway's controller judges it; of the others, which are
Gateways and routes of the Gateway API, only that they are there, their labels and their generation.
"""
FRESH = 10.0
"""Seconds for which it is believed what the server serves: CRDs come and go while an operator runs."""
JUDGING = 3.0
"""Seconds that Gloo gets to judge a Gateway: its status does not say which generation it is of."""
_KINDS: Final[Mapping[Provider, Kind]] = {"gloo": GLOO_GATEWAY, "envoyGateway": ENVOY_EXTENSION_POLICY}
_STATES: Final[Mapping[str, State]] = {"pending": "Pending", "ready": "Succeeded", "failed": "Failed"}
_FLAG = re.compile(r"(?:^|[\s(])--?[a-z]")
_Taking = Callable[[], Iterable[Outcome[dict[str, Any], Change]]]
Item = TypeVar("Item")


@dataclass(slots=True)
class _Found:
    """What is being found out for a report."""

    targets: list[TargetState] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problem: WasmeError | None = None
    changed: bool = False
    again: float | None = None
    refused: bool = False

    def report(self) -> Report:
        return Report(
            targets=tuple(self.targets),
            problem=self.problem,
            warnings=tuple(self.warnings),
            removed=tuple(self.removed),
            changed=self.changed,
            again=self.again,
            # A Gateway that comes calls.
            retry=self.refused or (self.problem is not None and not isinstance(self.problem, NothingMatches)),
        )


class Gateways:
    """The gateways of one cluster, as its operator changes them: in the FilterDeployment's own namespace only.

    Args:
        cluster: which.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        # One at a time changes a namespace's gateways: filters share them, and would only conflict.
        self._locks = Locks()

    def reconcile(self, wanted: Wanted, image: ResolvedImage) -> Report:
        """Make the gateways as wanted, and tell how their controllers judge them; what is so already is not written.

        What has the filter and is not meant any more loses it, unless the whole is refused (``problem`` with a filter,
        an image or a cluster that cannot do it): then nothing is changed.

        Args:
            wanted: a FilterDeployment for Gloo or for Envoy Gateway.
            image: what its image's reference stands for.

        Raises:
            ClusterUnreachable: the API server does not answer.
            LeadershipLost: somebody else is to work now.
        """
        # The reference as it is typed now: what Gloo is told, and what policies note, must not depend on how it was
        # looked up.
        image = replace(image, typed=wanted.image.reference, reference=Reference.parse(wanted.image.reference))
        found = _Found()
        if told := loopback_problem(image, "Gloo" if wanted.gloo is not None else "Envoy Gateway"):
            found.warnings.append(told)
        with self._locks.held(wanted.key.namespace):
            try:
                self._cluster.served(within=FRESH)
                if wanted.gloo is not None:
                    self._in_gloo(wanted, wanted.gloo, image, found)
                elif wanted.envoy_gateway is not None:
                    self._in_envoy_gateway(wanted, wanted.envoy_gateway, image, found)
            except (ClusterUnreachable, LeadershipLost):
                raise
            except WasmeError as error:
                found.problem = _in_fields(error)
        return found.report()

    def remove(self, namespace: str, filter_id: str, provider: Provider) -> Report:
        """Take a filter out of everything in a namespace that has it; a kind that is not served has nothing.

        Args:
            namespace: the FilterDeployment's.
            filter_id: which filter.
            provider: ``gloo`` or ``envoyGateway``.

        Raises:
            ClusterUnreachable: the API server does not answer.
            LeadershipLost: somebody else is to work now.
        """
        found = _Found()
        kind = _KINDS[provider]
        with self._locks.held(namespace):
            try:
                self._take(kind, self._taking(namespace, filter_id, provider), found)
            except (ClusterUnreachable, LeadershipLost):
                raise
            except NotServed as error:
                # In this version it is not; in another it would have to stay.
                found.problem = error if self._cluster.served(within=0).newest(kind) else None
            except WasmeError as error:
                found.problem = _in_fields(error)
        return found.report()

    def _in_gloo(self, wanted: Wanted, target: GlooTarget, image: ResolvedImage, found: _Found) -> None:
        _require_carriable(wanted, "Gloo Edge", host_env=False)
        if image.reference.digest:
            raise UnsupportedImage(
                f"spec.filter.image: Gloo pulls by tag only, and {image.typed} names a digest",
                hint="leave the digest away; a tag of its own for each build never changes under Gloo",
            )
        if wanted.image.pull_secret:
            found.warnings.append("Gloo pulls with credentials of its own, not with spec.filter.pullSecret")
        namespace, spec = wanted.key.namespace, wanted.filter
        settings = Settings(fail_open=spec.settings.fail_policy == "open")
        meant = gloo.Selection((namespace,), target.labels)
        provider = gloo.Gloo(self._cluster, meant, settings, image, quiet=True)
        kept: set[str] = set()
        try:
            facts = provider.facts(spec)
        except DeployFailed as error:  # no Gateway is meant
            found.problem = _in_fields(error)
        else:
            kept = {each["metadata"]["name"] for each in facts.gateways}
            left_out = (each["metadata"]["name"] for each in facts.skipped)
            found.warnings += [f"Gateway {each} is left out: it has no spec.httpGateway" for each in sorted(left_out)]
            for put in provider.put(spec, facts):
                name = put.item["metadata"]["name"]
                state = TargetState("gloo", GLOO_GATEWAY.kind, namespace, name, "Pending", object=f"Gateway/{name}")
                found.targets.append(self._judged(state, put, judged_gateway, found))
        self._take(GLOO_GATEWAY, self._taking(namespace, spec.id, "gloo", kept), found)

    def _in_envoy_gateway(
        self, wanted: Wanted, target: EnvoyGatewayTarget, image: ResolvedImage, found: _Found
    ) -> None:
        _require_carriable(wanted, "Envoy Gateway", host_env=True)
        namespace, spec = wanted.key.namespace, wanted.filter
        meant = tuple(dict.fromkeys(_target(number, each) for number, each in enumerate(target.references)))
        deployable = Deployable(
            image,
            configuration.parse(spec.config, "spec.filter.config"),
            fail_open=spec.settings.fail_policy == "open",
            pull_secret=wanted.image.pull_secret,
        )
        selection = policies.Selection(meant, namespace=namespace)
        provider = EnvoyGateway(self._cluster, selection, deployable, quiet=True)
        kept: set[str] = set()
        try:
            done = provider.put(spec)
        except DeployFailed as error:  # a Secret that is missing
            found.problem = _in_fields(error)
            done = ()
        for put in done:
            carrier = put.result.object["metadata"]["name"] if put.result else ""
            if carrier:
                kept.add(carrier)
            state = TargetState(
                "envoyGateway", put.item.kind, namespace, _shown(put.item), "Pending",
                object=f"{ENVOY_EXTENSION_POLICY.kind}/{carrier}" if carrier else "",
            )  # fmt: skip
            found.targets.append(self._judged(state, put, judged_policy, found))
        on = tuple(put.item for put in done) or meant
        self._take(
            ENVOY_EXTENSION_POLICY,
            self._taking(namespace, spec.id, "envoyGateway", kept, on),
            found,
        )

    def _judged(
        self, state: TargetState, put: Outcome[Item, Change], judge: Callable[[dict[str, Any]], Standing], found: _Found
    ) -> TargetState:
        """How a target does, after it was made as wanted or could not be."""
        if put.error is not None or put.result is None:
            _raise_if_nobody_may_go_on(put.error)
            # What is missing or does not fit calls when it changes; who refused a write does not.
            found.refused |= isinstance(put.error, ClusterError) and not isinstance(put.error, DeployFailed)
            return replace(state, state="Failed", reason=put.error.message if put.error else "")
        new = put.result.action != "unchanged"
        found.changed = found.changed or new
        if new and state.provider == "gloo":
            found.again = JUDGING
            return replace(state, reason="Gloo has not judged the change yet")
        phase, message = judge(put.result.object)
        if phase == "ready" and message:
            found.warnings.append(f"{state.kind} {state.name}: {message}")
        return replace(state, state=_STATES[phase], reason="" if phase == "ready" else message)

    def _taking(
        self,
        namespace: str,
        filter_id: str,
        provider: Provider,
        kept: Iterable[str] = (),
        meant: tuple[targets.Target, ...] = (),
    ) -> _Taking:
        """How to take a filter out of everything in a namespace but what is kept.

        Args:
            namespace: where.
            filter_id: which filter.
            provider: of what.
            kept: names of Gateways of Gloo, or of policies.
            meant: targets; policies on them stay as they are, also where they could not be changed.
        """
        if provider == "gloo":
            edge = gloo.Gloo(self._cluster, gloo.Selection((namespace,)), quiet=True)
            return lambda: edge.take(
                [each for each in edge.having(filter_id) if each["metadata"]["name"] not in kept], filter_id
            )
        gateway = EnvoyGateway(self._cluster, policies.Selection(namespace=namespace), quiet=True)

        def stray(policy: dict[str, Any]) -> bool:
            return policy["metadata"]["name"] not in kept and not any(
                target in targets.attached(policy, namespace, target.kind, target.name, {}) for target in meant
            )

        return lambda: gateway.take([each for each in gateway.having(filter_id) if stray(each)], filter_id)

    def _take(self, kind: Kind, taking: _Taking, found: _Found) -> None:
        """Take the filter from where it is not meant."""
        for taken in taking():
            if taken.error is not None:
                _raise_if_nobody_may_go_on(taken.error)
                found.problem = found.problem or _in_fields(taken.error)
            elif taken.result and taken.result.action != "unchanged":
                found.changed = True
                found.removed.append(f"{kind.kind}/{taken.item['metadata']['name']}")


def _require_carriable(wanted: Wanted, gateway: str, *, host_env: bool) -> None:
    """Refuse what the gateway has no place for.

    Raises:
        InputError: names the field.
    """
    settings = wanted.filter.settings
    if settings.fail_policy == "reload":
        raise InputError(f"spec.filter.failurePolicy: {gateway} has no Reload", hint="take Closed or Open")
    if settings.env or (settings.host_env and not host_env):
        raise InputError(
            f"spec.filter.env: {gateway} has no place for variables of a filter", hint="use spec.filter.config"
        )


def _target(number: int, reference: TargetReference) -> targets.Target:
    """What Envoy Gateway attaches a filter to.

    Raises:
        InputError: it does not.
    """
    path = f"spec.deployment.envoyGateway.targetRefs[{number}]"
    if reference.group != targets.GROUP:
        raise InputError(f"{path}.group: Envoy Gateway takes {targets.GROUP} only, not {reference.group}")
    if reference.kind not in targets.KINDS:
        raise InputError(
            f"{path}.kind: Envoy Gateway runs WebAssembly filters on no {reference.kind}",
            hint=f"take one of {', '.join(targets.KINDS)}",
        )
    return targets.Target(reference.kind, reference.name, reference.section)


def _shown(target: targets.Target) -> str:
    """The target's name in a list whose entries are told apart by kind and name."""
    return f"{target.name}:{target.section}" if target.section else target.name


def _in_fields(error: WasmeError) -> WasmeError:
    """An error for somebody who writes objects: hints that name flags of the command line say nothing to him."""
    if error.hint and _FLAG.search(error.hint):
        return type(error)(error.message)
    return error


def _raise_if_nobody_may_go_on(error: WasmeError | None) -> None:
    """What concerns more than one target is not told of one."""
    if isinstance(error, ClusterUnreachable | LeadershipLost):
        raise error
