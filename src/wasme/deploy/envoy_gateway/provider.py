"""Filters in the gateways of Envoy Gateway: one policy of wasme's on each target, with all its filters in their order.

Envoy Gateway heeds one EnvoyExtensionPolicy per target, the oldest. So a second policy beside a user's own would do
nothing, which is refused; ``into`` puts the filter into the user's policy. And a policy on a route or a listener
replaces those above it there, which is refused too where anything would be lost; ``override`` accepts it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wasme.deploy.cluster import Cluster, Outcome, Outcomes, parallel
from wasme.deploy.cluster.kinds import ENVOY_EXTENSION_POLICY, GATEWAY
from wasme.deploy.envoy_gateway import policy as policies
from wasme.deploy.envoy_gateway.configuration import Configuration
from wasme.deploy.envoy_gateway.installed import CONTROLLERS, controller, proxies, require_fields
from wasme.deploy.envoy_gateway.policy import Code, Entry, Policy, shown
from wasme.deploy.envoy_gateway.selection import Selection
from wasme.deploy.envoy_gateway.site import Site, base, for_policy, for_target
from wasme.deploy.envoy_gateway.standing import standing
from wasme.deploy.envoy_gateway.surroundings import Reader
from wasme.deploy.envoy_gateway.targets import Target, attached
from wasme.deploy.gateways import (
    Change,
    DryRun,
    Standing,
    address,
    completed,
    finding,
    require_pullable,
    require_runnable,
    require_secret,
    settled,
    together,
    warn_of_loopback,
)
from wasme.deploy.provider import Status
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec
from wasme.errors import DeployFailed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before anything is rendered.

    Attributes:
        sites: where the filter goes.
    """

    sites: tuple[Site, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is deployed, beyond the filter itself.

    Attributes:
        image: the filter's image.
        configuration: what the filter gets; None for nothing.
        fail_open: requests pass where the filter's VM has failed.
        pull_secret: name of a Secret beside the policy, with which Envoy Gateway pulls; "" for none.
        override: replace what policies above a target do there.
        ignore_version_check: deploy modules that the proxies cannot run, too.
    """

    image: ResolvedImage
    configuration: Configuration | None = None
    fail_open: bool = False
    pull_secret: str = ""
    override: bool = False
    ignore_version_check: bool = False

    @property
    def code(self) -> Code:
        """Where Envoy Gateway finds the module."""
        image = self.image
        url = f"{address(image)}@{image.manifest.digest}"
        return Code(url, image.typed, image.manifest.digest, image.module.digest, self.pull_secret)


class EnvoyGateway:
    """Envoy Gateway in one cluster.

    Args:
        cluster: which.
        selection: the targets.
        wanted: what to deploy; None to look and to take away.
        dry_run: ``client`` writes nothing, ``server`` has it checked.
        quiet: tell what is changed, and not what is found.
    """

    def __init__(
        self,
        cluster: Cluster,
        selection: Selection,
        wanted: Wanted | None = None,
        *,
        dry_run: DryRun = "",
        quiet: bool = False,
    ) -> None:
        self._cluster = cluster
        self._selection = selection
        self._wanted = wanted
        self._dry_run = dry_run
        self._quiet = quiet

    def facts(self, spec: FilterSpec) -> Facts:
        """Find the targets, and the policy of each that is to carry the filter.

        Raises:
            NotServed: the cluster has no Envoy Gateway, or none with these settings.
            UnsupportedImage: it cannot pull the image, or its proxies cannot run the module.
            DeployFailed: there is no target, or its policies leave no place for one of wasme's.
        """
        self._require_deployable(spec)
        sites = self._sites(spec.id)
        self._require_runnable(sites)
        return Facts(sites)

    def render(self, spec: FilterSpec, facts: Facts) -> Sequence[Policy]:
        """The policies with the filter, those only that do not have it so already."""
        made, code = self._entry(spec), self._what().code
        before = [base(each) for each in facts.sites]
        after = [policies.with_filter(each, made, code) for each in before]
        return [new for old, new in zip(before, after, strict=True) if new is not old]

    def apply(self, objects: Sequence[Policy]) -> None:
        """Send policies as ``render`` made them.

        Raises:
            Conflict: somebody changed one since it was read; ``deploy`` reads it again.
            ClusterError: what else kept the server from taking it.
        """
        parallel(self._send, objects).require(shown, "updating policies")

    def deploy(self, spec: FilterSpec) -> list[Change]:
        """Read, render and send, target by target, until nobody is in between.

        Raises:
            DeployFailed: there is no target, or some did not take it; the others are done.
            ClusterError: see ``facts``.
        """
        return self._put(spec, self.facts(spec).sites).require(str, f"deploying filter {spec.id}")

    def put(self, spec: FilterSpec) -> tuple[Outcome[Target, Change], ...]:
        """As ``deploy`` to the targets that were named, but each by itself: one that cannot take it stops no other.

        A user's policy that has the filter already, since somebody once put it ``into`` it, goes on having it.

        Raises:
            ClusterError: see ``facts``; nothing was written.
        """
        self._require_deployable(spec)
        reader = Reader(self._cluster)
        found = parallel(lambda each: self._site(each, reader, spec.id, adopt=True), self._selection.targets, bound=1)
        self._require_runnable(found.results)
        done = iter(self._put(spec, found.results))
        return tuple(
            Outcome(each.item, error=each.error)
            if each.result is None
            else Outcome(each.item, (put := next(done)).result, put.error)
            for each in found
        )

    def _put(self, spec: FilterSpec, sites: Sequence[Site]) -> Outcomes[Site, Change]:
        made, code = self._entry(spec), self._what().code

        def put(site: Site) -> Change:
            current: Site | None = site

            def attempt() -> Change:
                nonlocal current
                now = current or self._site(site.target, Reader(self._cluster), spec.id, adopt=site.adopted)
                current = None
                before = base(now)
                after = policies.with_filter(before, made, code)
                return self._change(before, after, created=now.policy is None)

            return settled(attempt)

        return parallel(put, sites)

    def remove(self, filter_id: str) -> None:
        """Take a filter away; nothing happens where it is not."""
        self._taken(self.having(filter_id), filter_id)

    def undeploy(self, filter_id: str) -> list[Change]:
        """Take wasme's filter of that id out of the policies; a policy of wasme's that has nothing left goes too.

        Raises:
            DeployFailed: none of them has it.
        """
        self._cluster.served().need(ENVOY_EXTENSION_POLICY)
        having = self.having(filter_id)
        if not having:
            raise DeployFailed(
                f"no EnvoyExtensionPolicy has a filter {filter_id} of wasme's: looked for {self._selection}",
                hint="`wasme deploy envoy-gateway --id` gave it its name; --namespace says where",
            )
        return self._taken(having, filter_id)

    def _taken(self, having: Sequence[Policy], filter_id: str) -> list[Change]:
        return self.take(having, filter_id).require(shown, f"undeploying filter {filter_id}")

    def take(self, having: Sequence[Policy], filter_id: str) -> Outcomes[Policy, Change]:
        """Take wasme's filter of that id out of these policies, and tell what came of each."""

        def take(policy: Policy) -> Change:
            current: Policy | None = policy

            def attempt() -> Change:
                nonlocal current
                before, current = current or self._read(policy), None
                if before is None:
                    return Change("deleted", policy)
                return self._change(before, policies.without_filter(before, filter_id))

            return settled(attempt)

        return parallel(take, having)

    def status(self, filter_id: str) -> Status:
        """How the policies with the filter stand: the worst of them."""
        return together({shown(each): standing(each) for each in self.having(filter_id)})

    def having(self, filter_id: str) -> list[Policy]:
        """The policies that have wasme's filter of that id and are meant."""
        meant = self._selection
        found = [
            each
            for each in self._cluster.list(ENVOY_EXTENSION_POLICY, meant.namespace)
            if filter_id in policies.told(each) and meant.into in ("", each["metadata"]["name"])
        ]
        if not meant.targets:
            return found
        return [
            each
            for each in found
            if any(target in attached(each, meant.namespace, target.kind, target.name, {}) for target in meant.targets)
        ]

    def wait(self, policy: Policy, seconds: float) -> Standing:
        """How a policy stands, as soon as Envoy Gateway has judged it; pending when the time is over.

        Args:
            policy: as it was stored.
            seconds: how long to wait for it; 0 only looks.
        """
        found = standing(policy)
        if found.phase != "pending" or not seconds:
            return found
        meta = policy["metadata"]
        changes = self._cluster.watch(
            ENVOY_EXTENSION_POLICY, meta["namespace"], fields=f"metadata.name={meta['name']}", seconds=seconds
        )
        for event, seen in changes:
            if event == "DELETED":
                return Standing("failed", "somebody has deleted it")
            found = standing(seen)
            if found.phase != "pending":
                break
        return found

    def _what(self) -> Wanted:
        assert self._wanted is not None, "nothing to deploy was given"
        return self._wanted

    def _entry(self, spec: FilterSpec) -> Entry:
        wanted = self._what()
        spec = completed(spec, wanted.image, quiet=self._quiet)
        return policies.entry(spec, wanted.code, wanted.configuration, fail_open=wanted.fail_open)

    def _require_deployable(self, spec: FilterSpec) -> None:
        """Refuse what no target could take."""
        wanted, made = self._what(), self._entry(spec)
        require_fields(self._cluster, made)
        require_pullable(wanted.image, "Envoy Gateway")
        warn_of_loopback(wanted.image, "Envoy Gateway", quiet=self._quiet)
        require_secret(self._cluster, self._selection.namespace, wanted.pull_secret, "Envoy Gateway")

    def _require_runnable(self, sites: Sequence[Site]) -> None:
        """Refuse a module that a proxy of one of the sites cannot run."""
        wanted = self._what()
        gateways = tuple(dict.fromkeys(gateway for site in sites for gateway in site.gateways))
        ignore = wanted.ignore_version_check
        require_runnable(wanted.image, "envoy", {} if ignore else proxies(self._cluster, gateways), ignore=ignore)

    def _targets(self) -> tuple[Target | None, ...]:
        """The targets; None stands for the policy that ``into`` names."""
        self._cluster.served().need(ENVOY_EXTENSION_POLICY)
        if self._selection.into:
            return (None,)
        if self._selection.targets:
            return self._selection.targets
        self._cluster.served().need(GATEWAY)
        namespace = self._selection.namespace
        found = self._cluster.list(GATEWAY, namespace, labels=self._selection.label_selector)
        served = []
        for each in found:
            name, of = each["metadata"]["name"], controller(self._cluster, each)
            if of and not of.startswith(CONTROLLERS):
                log.warning("skipping gateway %s.%s", namespace, name, extra={"fields": {"controller": of}})
                continue
            served.append(Target(GATEWAY.kind, name))
        if not served:
            none = "none is of Envoy Gateway" if found else "there is none"
            raise DeployFailed(
                f"found no {self._selection}: {none}",
                hint="-n says where, --target KIND/NAME takes any: kubectl get gateways -A --show-labels",
            )
        return tuple(served)

    def _sites(self, filter_id: str) -> tuple[Site, ...]:
        """The sites of all targets; the targets that are none are told together, before anything is written."""
        reader = Reader(self._cluster)
        found = parallel(lambda each: self._site(each, reader, filter_id), self._targets(), bound=1)
        try:
            return tuple(found.require(str, f"deploying filter {filter_id}"))
        except DeployFailed as error:
            first = found.failures[0].error
            raise DeployFailed(error.message, hint=first.hint if first else None) from None

    def _site(self, target: Target | None, reader: Reader, filter_id: str, *, adopt: bool = False) -> Site:
        namespace, override = self._selection.namespace, self._what().override
        if target is None:
            return for_policy(reader, namespace, self._selection.into)
        return for_target(reader, namespace, target, filter_id, override=override, adopt=adopt)

    def _read(self, policy: Policy) -> Policy | None:
        meta = policy["metadata"]
        return self._cluster.get(ENVOY_EXTENSION_POLICY, meta["name"], meta["namespace"])

    def _change(self, before: Policy, after: Policy, *, created: bool = False) -> Change:
        fields = {"fields": {"policy": shown(before)}}
        if after is before:
            log.log(finding(self._quiet), "EnvoyExtensionPolicy is as it should be", extra=fields)
            return Change("unchanged", before)
        if policies.is_spent(after):
            if self._dry_run != "client":
                meta = before["metadata"]
                self._cluster.delete(
                    ENVOY_EXTENSION_POLICY, meta["name"], meta["namespace"],
                    uid=meta["uid"], resource_version=meta["resourceVersion"], dry_run=bool(self._dry_run),
                )  # fmt: skip
            self._tell("deleted EnvoyExtensionPolicy", fields)
            return Change("deleted", before)
        stored = self._send(after)
        self._tell(f"{'created' if created else 'updated'} EnvoyExtensionPolicy", fields)
        return Change("created" if created else "updated", stored)

    def _tell(self, what: str, extra: Mapping[str, Mapping[str, str]]) -> None:
        if not self._dry_run:
            log.info(what, extra=dict(extra))

    def _send(self, after: Policy) -> Policy:
        if self._dry_run == "client":
            return after
        meta, dry_run = after["metadata"], bool(self._dry_run)
        if "resourceVersion" in meta:
            stored = self._cluster.patch(
                ENVOY_EXTENSION_POLICY, meta["name"], meta["namespace"], policies.patch(after), dry_run=dry_run
            )
        else:
            stored = self._cluster.create(after, dry_run=dry_run)
        if not policies.same_filters(stored, after):
            raise DeployFailed(
                f"EnvoyExtensionPolicy {shown(after)} was stored otherwise than it was sent",
                hint="the CRD of this Envoy Gateway lacks a field, or an admission webhook changes it",
            )
        return stored
