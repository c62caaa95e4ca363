"""Waiting until the nodes hold what a deployment needs.

Each node's agent keeps one ConfigMap with what it holds; they are listed once and then watched, so the wait ends when
the last node tells. The original counted Events against a number that it read once, which no cluster of two nodes could
satisfy; and it did not wait at all for an image that somebody had asked for before. What is waited for here is the file
itself, on each node by name, whoever asked for it first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wasme.deploy.cache import agents, protocol, statuses
from wasme.deploy.cache.nodes import Targets
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.deploy.cache.registration import Registration
from wasme.deploy.cache.telling import go_duration, listed
from wasme.deploy.cluster import kinds
from wasme.errors import CacheError

log = logging.getLogger(__name__)

_SETTLED = 3.0
"""Seconds for which a refusal may be an old one, of a try before the Secret came; the agent is about to try again."""
SILENT = "its agent has told nothing yet"
"""Why a node is not done of which nothing is known."""
BEHIND = "its agent has not read the request yet"
"""Why a node is not done whose agent tells of other images only."""
_SHOWN = 5  # nodes whose reason is told

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a wait has come.

    Attributes:
        held: nodes that hold everything.
        nodes: nodes that are waited for.
    """

    held: int
    nodes: int

    def __str__(self) -> str:
        return f"{self.held} of {self.nodes} nodes hold the image"


Tell = Callable[[Progress], None]


def wait(
    registration: Registration,
    targets: Targets,
    timeout: float,
    tell: Tell | None = None,
    *,
    begun: float | None = None,
) -> None:
    """Wait until every ready node holds the modules, and has the markers of their namespaces.

    Args:
        registration: what was asked for.
        targets: where it must be.
        timeout: in seconds; 0 does not wait at all.
        tell: called whenever the number of nodes that hold it changes.
        begun: ``time.monotonic()`` of an earlier wait that this one goes on with, silently; None for now.

    Raises:
        CacheError: the time is over, or every node says that the image cannot be had. The message names nodes and
            reasons. Nothing is undone here.
        ClusterError: the API server did not answer.
    """
    if targets.not_ready:
        fields = {"nodes": listed(targets.not_ready)}
        log.warning("nodes are not ready, and not waited for", extra={"fields": fields})
    new = bool(registration.new_images)
    if timeout <= 0:
        if new:
            log.info("skipping cache events wait")
        return
    now = time.monotonic()
    is_first = begun is None
    until, settled = (now if begun is None else begun) + timeout, now + _SETTLED
    cluster, options = registration.cluster, registration.options
    watched = _Watched(registration, targets.ready, tell)
    listing = cluster.listing(kinds.CONFIG_MAP, options.namespace, labels=statuses.selector(options))
    for each in listing.items:
        watched.see("ADDED", each)
    if is_first and (new or not watched.over):
        log.info(f"waiting for event with timeout {go_duration(timeout)}")
    version = listing.resource_version
    while not watched.over and (now := time.monotonic()) < until:
        refused = bool(watched.refusal)
        if refused and now >= settled:
            break
        changes = cluster.watch(
            kinds.CONFIG_MAP,
            options.namespace,
            labels=statuses.selector(options),
            since=version,
            seconds=(min(until, settled) if refused else until) - now,
        )
        for change, obj in changes:
            version = obj["metadata"].get("resourceVersion", version)
            watched.see(change, obj)
            if watched.over or bool(watched.refusal) != refused:
                break
    if watched.refusal:
        raise CacheError(f"waiting for cache to publish event for image: {watched.refusal}", hint=watched.hint())
    if not watched.over:
        raise CacheError(
            f"waiting for cache to publish event for image: timed out after {go_duration(timeout)} "
            f"(last err: {watched.missing(agents.troubles(cluster, options), agents.refused(cluster, options))})",
            hint=watched.hint(),
        )


class _Watched:
    """What is known of the nodes that are waited for."""

    def __init__(self, registration: Registration, nodes: frozenset[str], tell: Tell | None) -> None:
        self._lines = registration.lines
        self._version = registration.version
        self._nodes = nodes
        self._nodes_by_object = {protocol.status_name(registration.options.name, node): node for node in nodes}
        self._tell = tell
        self._told: Progress | None = None
        self._states: dict[str, NodeStatus] = {}
        # Of each node, judged again only when it tells something: there may be thousands, each with hundreds of images.
        self._reasons = {node: self._reason(node) for node in nodes}
        self._refusals: dict[str, str] = {}
        self._progress()

    @property
    def over(self) -> bool:
        """Whether all nodes hold everything."""
        return not self._reasons

    def see(self, change: str, obj: Object) -> None:
        """Take one change in."""
        node = self._nodes_by_object.get(obj["metadata"]["name"])
        if node is None:
            return
        status = statuses.parse(obj) if change != "DELETED" else None  # what is deleted comes without its data
        if status is None:
            self._states.pop(node, None)
        else:
            self._states[node] = status
        for known, now in ((self._reasons, self._reason(node)), (self._refusals, self._permanent(node))):
            if now:
                known[node] = now
            else:
                known.pop(node, None)
        self._progress()

    @property
    def refusal(self) -> str:
        """Why no node will ever hold the image, once all of them have said so; "" otherwise."""
        if not self._nodes or len(self._refusals) < len(self._nodes):
            return ""
        return f"no node can pull it: {listed(set(self._refusals.values()), _SHOWN)} (on {listed(self._nodes, _SHOWN)})"

    def missing(self, troubles: dict[str, str], refused: str) -> str:
        """Which nodes do not hold it, and why.

        Args:
            troubles: node → what is wrong with its agent's pod.
            refused: why agents have no pods; "" where they have.
        """
        reasons = []
        for node in sorted(self._reasons)[:_SHOWN]:
            reason = self._reasons[node]
            trouble = troubles.get(node, refused)
            if reason in (SILENT, BEHIND) and trouble:
                reason += f": {trouble}"
            reasons.append(f"{node}: {reason}")
        more = len(self._reasons) - len(reasons)
        images = listed({line.ref for line in self._lines}, _SHOWN)
        verb = "do" if len(self._reasons) > 1 else "does"
        told = "; ".join(reasons) + (f"; and {more} more nodes" if more else "")
        return f"{len(self._reasons)} of {len(self._nodes)} nodes {verb} not hold image {images}: {told}"

    def hint(self) -> str:
        """What to do about it."""
        refused = {
            entry.kind
            for status in self._states.values()
            for line in self._lines
            if (entry := told_of(status, line)) is not None and not status.holds(line.module)
        }
        if refused & protocol.NO_ACCESS:
            return "give the agents a credential: --pull-secret NAME or --share-credentials"
        if any(node not in self._states for node in self._reasons):
            return "wasme cache status shows all nodes; kubectl describe pods shows why an agent does not start"
        return "wasme cache status shows all nodes; a longer --cache-timeout waits longer, 0 does not wait"

    def _progress(self) -> None:
        now = Progress(len(self._nodes) - len(self._reasons), len(self._nodes))
        if self._tell is not None and now != self._told:
            self._told = now
            self._tell(now)

    def _reason(self, node: str) -> str:
        """Why a node is not done; "" if it is."""
        status = self._states.get(node)
        if status is None:
            return SILENT
        for line in self._lines:
            if not status.holds(line.module):
                entry = told_of(status, line)
                if entry is not None and entry.error:
                    return entry.error
                return "it is being pulled" if entry is not None else BEHIND
        unready = {line.namespace for line in self._lines} - set(status.ready)
        if unready:
            errors = {f"{each.ref}: {each.error}" for each in status.images if each.error and not each.held}
            because = f": {listed(errors, 3)}" if errors else ""
            return f"other images of the namespace {listed(unready)} are missing there{because}"
        return ""

    def _permanent(self, node: str) -> str:
        """An error that this node will not get over by itself, told after it had read the request; "" otherwise."""
        status = self._states.get(node)
        if status is None or not statuses.reached(status.observed, self._version):
            return ""
        for line in self._lines:
            entry = told_of(status, line)
            if not status.holds(line.module) and entry is not None and entry.permanent:
                return entry.error
        return ""


def told_of(status: NodeStatus, line: FilterLine) -> ImageStatus | None:
    """What a node says of a line's image: of that manifest, else of the reference while it is not known which."""
    same = [each for each in status.images if each.ref == line.ref and each.manifest in (line.manifest, "")]
    return next((each for each in same if each.manifest), next(iter(same), None))
