"""What ``wasme cache status`` tells: each node, its agent, and what of the wanted images it holds."""

from __future__ import annotations

import logging

import msgspec

from wasme.deploy.cache import agents
from wasme.deploy.cache.nodes import is_ready
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.others import others
from wasme.deploy.cache.protocol import ImageStatus, NodeStatus, Wanted
from wasme.deploy.cache.registration import wanted
from wasme.deploy.cache.statuses import holdings
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, ClusterForbidden

log = logging.getLogger(__name__)


class NodeView(msgspec.Struct, frozen=True):
    """One node.

    Attributes:
        node: its name.
        ready: ``True``, ``False``, ``gone`` (there is no such node any more) or ``unknown`` (nodes may not be read).
        agent: the agent's version; "" where none has told anything.
        held: how many of the wanted images it holds.
        wanted: how many that are.
        problems: what is wrong there, one line each.
        namespaces: those whose marker is written.
        images: all that the agent told.
    """

    node: str
    ready: str
    agent: str = ""
    held: int = 0
    wanted: int = 0
    problems: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    images: tuple[ImageStatus, ...] = ()


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
    asked = wanted(cluster, options)
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
    return Overview(
        options.name,
        options.namespace,
        image,
        asked.images,
        tuple(dict.fromkeys(f"{line.namespace}/{line.id}" for line in asked.filters)),
        tuple(dict.fromkeys(f"{line.namespace}/{line.id}" for line in asked.filters if line.pending)),
        tuple(problems),
        _nodes(cluster, options, asked),
    )


def _nodes(cluster: Cluster, options: CacheOptions, asked: Wanted) -> tuple[NodeView, ...]:
    states = holdings(cluster, options)
    try:
        ready = {node["metadata"]["name"]: str(is_ready(node)) for node in cluster.list(kinds.NODE)}
        missing = "gone"
    except ClusterForbidden as error:
        log.warning("nodes may not be read", extra={"fields": {"reason": error.message}})
        ready, missing = {}, "unknown"
    troubles = agents.troubles(cluster, options)
    return tuple(
        _view(node, ready.get(node, missing), states.get(node), asked, troubles.get(node, ""))
        for node in sorted({*ready, *states})
    )


def _view(node: str, ready: str, status: NodeStatus | None, asked: Wanted, trouble: str) -> NodeView:
    modules = {line.module for line in asked.filters}
    refs = set(asked.images) - {line.ref for line in asked.filters}
    whole = len(modules) + len(refs)
    if status is None:
        silent = "no agent has told anything" + (f": {trouble}" if trouble else "")
        return NodeView(node, ready, wanted=whole, problems=(silent,))
    held = sum(map(status.holds, modules)) + sum(
        any(each.held and each.ref == ref for each in status.images) for ref in refs
    )
    problems = [f"{each.ref}: {each.error}" for each in status.images if each.error]
    problems += filter(None, [trouble, *status.problems])
    return NodeView(node, ready, status.agent, held, whole, tuple(problems), status.ready, status.images)


def rows(seen: Overview) -> list[tuple[str, ...]]:
    """The nodes as a table with its heads; a node's first problem stands in its line."""
    table: list[tuple[str, ...]] = [("NODE", "READY", "AGENT", "HELD", "PROBLEM")]
    for view in seen.nodes:
        more = f" (and {len(view.problems) - 1} more)" if len(view.problems) > 1 else ""
        problem = f"{view.problems[0]}{more}" if view.problems else ""
        table.append((view.node, view.ready, view.agent or "none", f"{view.held}/{view.wanted}", problem))
    return table
