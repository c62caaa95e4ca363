"""What ``wasme cache status`` tells: each node, its agent, and what of the wanted images it holds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from wasme.deploy.cache import agents, lateness, protocol, secrets, statuses
from wasme.deploy.cache.nodes import is_ready
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.others import others
from wasme.deploy.cache.protocol import ImageStatus, NodeStatus, Wanted
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, ClusterForbidden

log = logging.getLogger(__name__)

Object = dict[str, Any]


class NodeView(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        node: its name.
        ready: ``True``, ``False``, ``gone`` (there is no such node any more) or ``unknown`` (nodes may not be read).
        agent: the agent's version; "" where none has told anything.
        told: when the agent told something new last (RFC 3339); "" for never.
        held: how many of the wanted images it holds.
        wanted: how many that are.
        problems: what is wrong there, one line each.
        namespaces: those whose marker is written.
        images: all that the agent told, each reference with each module once.
    """

    node: str
    ready: str
    agent: str = ""
    held: int = 0
    wanted: int = 0
    problems: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    images: tuple[ImageStatus, ...] = ()
    told: str = ""


class Overview(msgspec.Struct, frozen=True):
    """The whole cache.

    Attributes:
        name: of the cache's objects.
        namespace: of them.
        image: what the agents run; "" where there is no DaemonSet.
        images: references that are wanted on every node.
        filters: the deployed filters, as ``NAMESPACE/ID``.
        pending: those of which a deployment is under way, or has died on it.
        problems: what is wrong with the cache as a whole.
        nodes: sorted by name.
    """

    name: str
    namespace: str
    image: str
    images: tuple[str, ...]
    filters: tuple[str, ...]
    pending: tuple[str, ...]
    problems: tuple[str, ...]
    nodes: tuple[NodeView, ...]


def overview(cluster: Cluster, options: CacheOptions) -> Overview:
    """Look at the cache.

    Raises:
        CacheError: it is not installed.
        ClusterError: the API server did not answer.
    """
    live = cluster.get(kinds.CONFIG_MAP, options.name, options.namespace)
    asked = None if live is None else protocol.parse_wanted(live.get("data"))
    daemon_set = cluster.get(kinds.DAEMON_SET, options.name, options.namespace)
    if asked is None and daemon_set is None:
        raise CacheError(
            f"there is no cache {options.namespace}/{options.name}",
            hint="wasme cache install makes one; --cache-namespace and --cache-name say where one is",
        )
    problems = list((asked or Wanted()).problems)
    if asked is None:
        problems.append(f"ConfigMap {options.namespace}/{options.name} is missing: wasme cache install makes it")
    image = ""
    if daemon_set is None:
        problems.append(f"DaemonSet {options.namespace}/{options.name} is missing: wasme cache install makes it")
    else:
        image = str(daemon_set["spec"]["template"]["spec"]["containers"][0].get("image", ""))
        problems += filter(None, [agents.refused(cluster, options)])
    problems += [
        f"DaemonSet {namespace}/{name} is another node cache, in the same folder of the nodes: take one of them away, "
        f"wasme cache uninstall --cache-namespace={namespace} --cache-name={name}"
        for namespace, name in others(cluster, options)
    ]
    asked = asked or Wanted()
    nodes = _nodes(cluster, options, asked, live, _pods_expected(daemon_set))
    problems += secrets.refusals(cluster, options, asked.filters, (each for view in nodes for each in view.images))
    return Overview(
        options.name,
        options.namespace,
        image,
        asked.images,
        tuple(dict.fromkeys(f"{line.namespace}/{line.id}" for line in asked.filters)),
        tuple(dict.fromkeys(f"{line.namespace}/{line.id}" for line in asked.filters if line.pending)),
        tuple(problems),
        nodes,
    )


def _pods_expected(daemon_set: Object | None) -> bool:
    """Whether the cluster runs agents for the DaemonSet, so that a node without one lacks it."""
    return bool(((daemon_set or {}).get("status") or {}).get("desiredNumberScheduled"))


def _nodes(
    cluster: Cluster, options: CacheOptions, asked: Wanted, live: Object | None, pods_expected: bool
) -> tuple[NodeView, ...]:
    found = cluster.list(kinds.CONFIG_MAP, options.namespace, labels=statuses.selector(options))
    states = {status.node: (status, obj) for obj in found if (status := statuses.parse(obj)) is not None}
    try:
        ready = {node["metadata"]["name"]: str(is_ready(node)) for node in cluster.list(kinds.NODE)}
        missing = "gone"
    except ClusterForbidden as error:
        log.warning("nodes may not be read", extra={"fields": {"reason": error.message}})
        ready, missing = {}, "unknown"
    troubles = agents.standing(cluster, options)
    views = []
    for node in sorted({*ready, *states}):
        trouble = (troubles or {}).get(node, "")
        status, obj = states.get(node, (None, None))
        if troubles is not None and node not in troubles and node in ready and pods_expected:
            trouble = "no pod of the agent is there"
        told = lateness.written(obj) if obj else ""
        late = lateness.behind(status, told, live) if status and live else ""
        views.append(_view(node, ready.get(node, missing), status, asked, told, [trouble, late]))
    return tuple(views)


def _view(
    node: str, ready: str, status: NodeStatus | None, asked: Wanted, told: str, troubles: Sequence[str]
) -> NodeView:
    modules = {line.module for line in asked.filters}
    refs = set(asked.images) - {line.ref for line in asked.filters}
    whole = len(modules) + len(refs)
    if status is None:
        silent = ": ".join(["no agent has told anything", *filter(None, troubles)])
        return NodeView(node, ready, wanted=whole, problems=(silent,))
    held = sum(map(status.holds, modules)) + sum(
        any(each.held and each.ref == ref for each in status.images) for ref in refs
    )
    problems = [
        *filter(None, troubles),
        *dict.fromkeys(f"{each.ref}: {each.error}" for each in status.images if each.error),
        *status.problems,
    ]
    return NodeView(node, ready, status.agent, held, whole, tuple(problems), status.ready, _once(status.images), told)


def _once(images: Iterable[ImageStatus]) -> tuple[ImageStatus, ...]:
    """Each reference with each module once: a filter's image is followed by its tag, and held by its digest."""
    found: dict[tuple[str, str], ImageStatus] = {}
    for each in images:
        key = (each.ref, each.module or each.manifest)
        if key not in found or (each.held and not found[key].held):
            found[key] = each
    return tuple(found.values())


def rows(seen: Overview) -> list[tuple[str, ...]]:
    """The nodes as a table with its heads; a node's first problem stands in its line."""
    table: list[tuple[str, ...]] = [("NODE", "READY", "AGENT", "HELD", "TOLD", "PROBLEM")]
    for view in seen.nodes:
        more = f" (and {len(view.problems) - 1} more)" if len(view.problems) > 1 else ""
        problem = f"{view.problems[0]}{more}" if view.problems else ""
        held = f"{view.held}/{view.wanted}"
        table.append((view.node, view.ready, view.agent or "none", held, lateness.age(view.told) or "-", problem))
    return table
