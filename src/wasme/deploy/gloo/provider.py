"""Filters in the Gateways of Gloo Edge: which Gateways, what they become, and sending it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wasme.deploy.cluster import Cluster, Outcomes, parallel
from wasme.deploy.cluster.kinds import GLOO_GATEWAY
from wasme.deploy.cluster.selectors import label_selector
from wasme.deploy.gateways import (
    Change,
    DryRun,
    completed,
    finding,
    require_pullable,
    require_runnable,
    settled,
    together,
    warn_of_loopback,
)
from wasme.deploy.gloo import gateway as gateways
from wasme.deploy.gloo.entry import Entry, Settings, entry
from wasme.deploy.gloo.gateway import Gateway
from wasme.deploy.gloo.image import reference
from wasme.deploy.gloo.installed import proxies, require_fields
from wasme.deploy.gloo.standing import standing
from wasme.deploy.provider import Status
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec
from wasme.errors import DeployFailed, NothingMatches

log = logging.getLogger(__name__)
_TELLING = threading.Lock()
_Changing = Callable[[Gateway], Gateway]
_Telling = Callable[[Gateway], None]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which Gateways are meant.

    Attributes:
        namespaces: where they are; () for everywhere.
        labels: that they have; none for all.
    """

    namespaces: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def label_selector(self) -> str:
        """As the API server takes it."""
        return label_selector(self.labels)

    def __str__(self) -> str:
        labels = f" with the labels {self.label_selector}" if self.labels else ""
        names = ", ".join(self.namespaces)
        where = f" in the namespace{'s' if len(self.namespaces) > 1 else ''} {names}" if names else " in any namespace"
        return f"{labels}{where}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before anything is rendered.

    Attributes:
        gateways: those that serve HTTP, as they are.
        image: the reference that Gloo is to pull; "" where it reads a file.
        skipped: those that are meant and serve no HTTP.
    """

    gateways: tuple[Gateway, ...]
    image: str = ""
    skipped: tuple[Gateway, ...] = ()


class Gloo:
    """Gloo Edge in one cluster.

    Args:
        cluster: which.
        selection: the Gateways.
        settings: what Gloo takes beyond the filter.
        image: the filter's image; None where Gloo reads a file, and where nothing is deployed.
        ignore_version_check: deploy modules that the proxies cannot run, too.
        dry_run: ``client`` writes nothing, ``server`` has it checked.
        quiet: tell what is changed, and not what is found.
    """

    def __init__(
        self,
        cluster: Cluster,
        selection: Selection,
        settings: Settings | None = None,
        image: ResolvedImage | None = None,
        *,
        ignore_version_check: bool = False,
        dry_run: DryRun = "",
        quiet: bool = False,
    ) -> None:
        self._cluster = cluster
        self._selection = selection
        self._settings = settings or Settings()
        self._image = image
        self._ignore = ignore_version_check
        self._dry_run = dry_run
        self._quiet = quiet

    def facts(self, spec: FilterSpec) -> Facts:
        """Read the Gateways, and whether Gloo can take this filter at all.

        Raises:
            NotServed: the cluster has no Gloo, or none with Wasm filters or with these settings.
            UnsupportedImage: Gloo cannot pull the image, or its proxies cannot run the module.
            DeployFailed: no Gateway is there to take it.
        """
        completed(spec, None)
        made = entry(spec, "", self._settings)
        require_fields(self._cluster, made)
        found, skipped = self._gateways()
        if self._image is None:
            return Facts(found, "", skipped)
        written = reference(self._image)
        require_pullable(self._image, "Gloo Edge", by_index=True)
        warn_of_loopback(self._image, "Gloo", quiet=self._quiet)
        versions = proxies(self._cluster, found, ignore=self._ignore)
        require_runnable(self._image, "gloo", versions, ignore=self._ignore)
        return Facts(found, written, skipped)

    def render(self, spec: FilterSpec, facts: Facts) -> Sequence[Gateway]:
        """The Gateways with the filter, those only that do not have it so already."""
        made = self._entry(spec, facts)
        wanted = [(each, gateways.with_filter(each, made)) for each in facts.gateways]
        return [after for before, after in wanted if after is not before]

    def apply(self, objects: Sequence[Gateway]) -> None:
        """Send Gateways as ``render`` made them.

        Raises:
            Conflict: somebody changed one since it was read; ``deploy`` reads it again.
            ClusterError: what else kept the server from taking it.
        """
        parallel(self._send, objects).require(gateways.shown, "updating Gateways")

    def deploy(self, spec: FilterSpec) -> list[Change]:
        """Read, render and send, Gateway by Gateway, until nobody is in between.

        Raises:
            DeployFailed: there is no Gateway, or some did not take it; the others are done.
            ClusterError: see ``facts``.
        """
        return self.put(spec, self.facts(spec)).require(gateways.shown, f"deploying filter {spec.id}")

    def put(self, spec: FilterSpec, facts: Facts) -> Outcomes[Gateway, Change]:
        """As ``deploy``, but tells what came of each Gateway."""
        made = self._entry(spec, facts)

        def change(current: Gateway) -> Gateway:
            return gateways.with_filter(current, made)

        def tell(before: Gateway) -> None:
            known = "updating" if gateways.has(before, spec.id) else "appending"
            log.info("%s wasm filter", known, extra={"fields": {"filterID": spec.id}})

        return parallel(lambda each: self._change(each, change, tell), facts.gateways)

    def remove(self, filter_id: str) -> None:
        """Take a filter away; nothing happens where it is not."""
        self._taken(self.having(filter_id), filter_id)

    def undeploy(self, filter_id: str) -> list[Change]:
        """Take every entry of that name out of the Gateways.

        Raises:
            DeployFailed: none of them has it.
        """
        self._cluster.served().need(GLOO_GATEWAY)
        having = self.having(filter_id)
        if not having:
            raise DeployFailed(
                f"no Gateway of Gloo has a filter {filter_id}: looked at those{self._selection}",
                hint="`wasme deploy gloo --id` gave it its name; -n and -l choose the Gateways",
            )
        return self._taken(having, filter_id)

    def _taken(self, having: Sequence[Gateway], filter_id: str) -> list[Change]:
        return self.take(having, filter_id).require(gateways.shown, f"undeploying filter {filter_id}")

    def take(self, having: Sequence[Gateway], filter_id: str) -> Outcomes[Gateway, Change]:
        """Take every entry of that name out of these Gateways, and tell what came of each."""

        def change(current: Gateway) -> Gateway:
            return gateways.without_filter(current, filter_id)

        def tell(_before: Gateway) -> None:
            log.info("removing wasm filter", extra={"fields": {"filterID": filter_id}})

        return parallel(lambda each: self._change(each, change, tell), having)

    def status(self, filter_id: str) -> Status:
        """How the Gateways with the filter do, as Gloo says."""
        return together({gateways.shown(each): standing(each) for each in self.having(filter_id)})

    def having(self, filter_id: str) -> list[Gateway]:
        """The Gateways that are meant and have the filter."""
        return [each for each in self._meant() if gateways.is_http(each) and gateways.has(each, filter_id)]

    def _entry(self, spec: FilterSpec, facts: Facts) -> Entry:
        return entry(completed(spec, self._image, quiet=self._quiet), facts.image, self._settings)

    def _gateways(self) -> tuple[tuple[Gateway, ...], tuple[Gateway, ...]]:
        """The Gateways that are meant and serve HTTP, and the others, which are told.

        Raises:
            NothingMatches: there is none.
        """
        found = self._meant()
        if not found:
            raise NothingMatches(
                f"found no Gateway of Gloo{self._selection}",
                hint="-n and -l choose them: kubectl get gateways.gateway.solo.io -A --show-labels",
            )
        http = tuple(each for each in found if gateways.is_http(each))
        others = tuple(each for each in found if not gateways.is_http(each))
        for each in others:
            level, fields = finding(self._quiet, logging.WARNING), {"reason": "it has no spec.httpGateway"}
            log.log(level, "skipping gateway %s", gateways.shown(each), extra={"fields": fields})
        if not http:
            raise NothingMatches(
                f"no Gateway of Gloo{self._selection} serves HTTP by spec.httpGateway",
                hint="wasme writes no tcpGateway and no hybridGateway",
            )
        return http, others

    def _meant(self) -> list[Gateway]:
        return [
            each
            for namespace in self._selection.namespaces or (None,)
            for each in self._cluster.list(GLOO_GATEWAY, namespace, labels=self._selection.label_selector)
        ]

    def _change(self, gateway: Gateway, change: _Changing, tell: _Telling) -> Change:
        current: Gateway | None = gateway

        def attempt() -> Change:
            nonlocal current
            before = current or self._again(gateway)
            current = None
            after = change(before)
            if after is before:
                fields = {"gateway": gateways.shown(before)}
                log.log(finding(self._quiet), "gateway is as it should be", extra={"fields": fields})
                return Change("unchanged", before)
            stored = self._send(after)
            with _TELLING:
                tell(before)
                if not self._dry_run:
                    log.info("updated gateway", extra={"fields": {"gateway": gateways.shown(before)}})
            return Change("updated", stored)

        return settled(attempt)

    def _again(self, gateway: Gateway) -> Gateway:
        meta = gateway["metadata"]
        found = self._cluster.get(GLOO_GATEWAY, meta["name"], meta["namespace"])
        if found is None:
            raise DeployFailed(f"Gateway {gateways.shown(gateway)} is gone: somebody has deleted it meanwhile")
        return found

    def _send(self, after: Gateway) -> Gateway:
        if self._dry_run == "client":
            return after
        meta = after["metadata"]
        stored = self._cluster.patch(
            GLOO_GATEWAY, meta["name"], meta["namespace"], gateways.patch(after), dry_run=bool(self._dry_run)
        )
        if gateways.filters(stored) != gateways.filters(after):
            raise DeployFailed(
                f"Gateway {gateways.shown(after)} was stored otherwise than it was sent",
                hint="the CRD of this Gloo lacks a field, or an admission webhook changes it",
            )
        return stored
