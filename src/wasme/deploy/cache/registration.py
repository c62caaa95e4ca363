"""Who needs which image on the nodes: lines of the cache's ConfigMap, written and taken away.

Many deployments write at once, and people edit the same ConfigMap: every change is made to the ConfigMap as read and
sent with its resourceVersion; where somebody was faster, it is read again. Lines that are not ours, and lines that
nobody can read, stay as they are. The edits themselves are pure: data in, data out.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from wasme.deploy.cache import protocol
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.secrets import sweep
from wasme.deploy.cache.telling import doing
from wasme.deploy.cluster import kinds
from wasme.deploy.cluster.client import Cluster
from wasme.errors import CacheError, Conflict

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for one change, while others change the same ConfigMap."""

Data = dict[str, str]
Edit = Callable[[Mapping[str, str]], Data]


@dataclass(frozen=True, slots=True)
class Registration:
    """What one deployment needs on the nodes, and what of it was not yet asked for.

    Attributes:
        lines: all that is needed.
        new_lines: those of them that were added now, pending.
        new_images: references that were added to ``images`` now.
        version: resourceVersion of the ConfigMap that asks for all of it.
        activated: lines that were there, left pending by another deployment, and are so no longer.
    """

    cluster: Cluster
    options: CacheOptions
    lines: tuple[FilterLine, ...]
    new_lines: tuple[FilterLine, ...] = ()
    new_images: tuple[str, ...] = ()
    version: str = field(default="", compare=False)
    activated: set[FilterLine] = field(default_factory=set, compare=False)

    def activate(self) -> str:
        """Let no pod start any more on a node without the modules, for the filters are about to appear.

        Returns:
            The resourceVersion that says so; "" where it was so already.

        Raises:
            CacheError: the cache is not there any more.
            ClusterError: the API server did not do it.
        """
        changed = False

        def edit(data: Mapping[str, str]) -> Data:
            nonlocal changed
            edited = activated(data, self.lines)
            changed = edited != data
            marked = {line.needed for line in protocol.parse_wanted(data).filters if line.pending}
            self.activated.clear()
            self.activated.update(marked & set(self.lines) - {line.needed for line in self.new_lines})
            return edited

        with doing("adding image to cache"):
            version = change(self.cluster, self.options, edit)
        return version if changed else ""

    def undo(self) -> None:
        """Take away exactly what was added, and activated; it does not matter how much of it is still there.

        Raises:
            ClusterError: the API server did not do it.
        """
        left: tuple[FilterLine, ...] = ()

        added = {line.needed for line in self.new_lines}

        def edit(data: Mapping[str, str]) -> Data:
            nonlocal left
            edited = without(data, lambda line: line.needed in added, self.new_images)
            edited = _remarked(edited, self.activated, pending=True)
            left = protocol.parse_wanted(edited).filters
            return edited

        if self.new_lines or self.new_images or self.activated:
            with doing("taking the image from the cache again"):
                change(self.cluster, self.options, edit, must_exist=False)
                sweep(self.cluster, self.options, self.new_lines, left)


def register(cluster: Cluster, options: CacheOptions, lines: Sequence[FilterLine]) -> Registration:
    """Ask every node for the images of some filters; what is new stays pending until ``Registration.activate``.

    Args:
        lines: one for each namespace, filter and image.

    Raises:
        CacheError: the cache is not installed, or a reference cannot stand in a line.
        ClusterError: the API server did not do it.
    """
    new_lines: tuple[FilterLine, ...] = ()
    new_images: tuple[str, ...] = ()

    def edit(data: Mapping[str, str]) -> Data:
        nonlocal new_lines, new_images
        edited, new_lines, new_images = with_lines(data, [line._replace(pending=True) for line in lines])
        return edited

    with doing("adding image to cache"):
        for line in lines:
            protocol.parse_filter(line.text, f"the filter {line.id}")
        version = change(cluster, options, edit)
    for ref in dict.fromkeys(line.ref for line in lines):
        told = "added image to cache config..." if ref in new_images else "image is already cached"
        log.info(told, extra={"fields": {"cache": options.pair, "image": ref}})
    return Registration(cluster, options, tuple(line.needed for line in lines), new_lines, new_images, version)


def change(cluster: Cluster, options: CacheOptions, edit: Edit, *, must_exist: bool = True) -> str:
    """Change the cache's ConfigMap; nothing is sent where nothing changes.

    Args:
        edit: data → data, pure: it is called again where somebody else was faster.
        must_exist: whether it is an error that there is no such ConfigMap.

    Returns:
        The resourceVersion that has the change; "" where there is no ConfigMap.

    Raises:
        CacheError: there is no such ConfigMap, or it is being deleted.
        Conflict: others changed it all the time, for ``PATIENCE`` seconds.
        ClusterError: anything else.
    """
    until = time.monotonic() + PATIENCE
    wait = 0.01
    while True:
        live = cluster.get(kinds.CONFIG_MAP, options.name, options.namespace)
        if live is None and not must_exist:
            return ""
        if live is None or live["metadata"].get("deletionTimestamp"):
            state = "is being deleted" if live else "is not there"
            raise CacheError(
                f"ConfigMap {options.namespace}/{options.name} {state}",
                hint="wasme cache install makes it; --cache-namespace and --cache-name say where it is",
            )
        data: Mapping[str, str] = live.get("data") or {}
        edited = edit(data)
        if edited == data:
            return str(live["metadata"]["resourceVersion"])
        try:
            return str(cluster.replace(live | {"data": edited})["metadata"]["resourceVersion"])
        except Conflict:
            if time.monotonic() > until:
                raise
            # Spread at random, and wider the more there are: one of n writers gets through each time.
            time.sleep(random.uniform(0, wait))  # noqa: S311 - nothing secret
            wait = min(wait * 1.6, 1.0)


def with_lines(
    data: Mapping[str, str], lines: Sequence[FilterLine]
) -> tuple[Data, tuple[FilterLine, ...], tuple[str, ...]]:
    """The ConfigMap's data with some filters; also the lines and the references that were not there.

    A line that is there, pending or not, stays as it is.
    """
    there = {line.needed for line in protocol.parse_wanted(data).filters}
    new_lines = tuple(line for line in dict.fromkeys(lines) if line.needed not in there)
    listed = set(protocol.parse_images(data.get(protocol.IMAGES, "")))
    new_images = tuple(ref for ref in dict.fromkeys(line.ref for line in lines) if ref not in listed)
    edited = dict(data)
    _append(edited, protocol.FILTERS, (line.text for line in new_lines))
    _append(edited, protocol.IMAGES, new_images)
    _append(edited, protocol.ADDED, new_images)
    return edited, new_lines, new_images


def activated(data: Mapping[str, str], lines: Sequence[FilterLine]) -> Data:
    """The data with some filters, none of them pending any more; those that somebody took away are put back."""
    needed = [line.needed for line in lines]
    return _remarked(with_lines(data, needed)[0], set(needed), pending=False)


def _remarked(data: Data, lines: Collection[FilterLine], *, pending: bool) -> Data:
    """The data with the mark of some lines set or taken away; all other lines stay as they are written."""

    def mended(text: str) -> str:
        try:
            line = protocol.parse_filter(text)
        except CacheError:
            return text
        return line._replace(pending=pending).text if line.pending != pending and line.needed in lines else text

    if not lines or protocol.FILTERS not in data:
        return data
    return {**data, protocol.FILTERS: "\n".join(map(mended, data[protocol.FILTERS].split("\n")))}


def without(data: Mapping[str, str], gone: Callable[[FilterLine], bool], images: Iterable[str] = ()) -> Data:
    """The data without some filters, and without the references that only they needed.

    A reference leaves ``images`` if wasme put it there and no other filter names it.

    Args:
        gone: which filters go.
        images: references to look at besides those of the filters that go.
    """
    edited = dict(data)
    before = protocol.parse_wanted(data).filters
    unneeded = {*images, *(line.ref for line in before if gone(line))} - {line.ref for line in before if not gone(line)}
    unneeded &= set(protocol.parse_images(data.get(protocol.ADDED, "")))

    def is_gone(text: str) -> bool:
        try:
            return gone(protocol.parse_filter(text))
        except CacheError:
            return False

    _drop(edited, protocol.FILTERS, is_gone)
    if unneeded:
        _drop(edited, protocol.IMAGES, unneeded.__contains__)
        _drop(edited, protocol.ADDED, unneeded.__contains__)
    return edited


def forget(
    cluster: Cluster, options: CacheOptions, namespace: str, filter_id: str, keep: Iterable[FilterLine] = ()
) -> tuple[FilterLine, ...]:
    """Tell the cache which images a filter needs in a namespace from now on: none, or those of ``keep``.

    After an undeployment, and after a deployment that took another image's place. Lines of ``keep`` that an undo of
    somebody else's took away are put back. It is no error if there is no cache any more.

    Returns:
        The lines that were taken away.
    """
    kept = tuple(line.needed for line in keep if (line.namespace, line.id) == (namespace, filter_id))
    removed: tuple[FilterLine, ...] = ()
    left: tuple[FilterLine, ...] = ()

    def gone(line: FilterLine) -> bool:
        return (line.namespace, line.id) == (namespace, filter_id) and line.needed not in kept

    def edit(data: Mapping[str, str]) -> Data:
        nonlocal removed, left
        edited = without(activated(data, kept) if kept else data, gone)
        left = protocol.parse_wanted(edited).filters
        removed = tuple(filter(gone, protocol.parse_wanted(data).filters))
        return edited

    with doing("removing image from cache"):
        change(cluster, options, edit, must_exist=False)
        sweep(cluster, options, removed, left)
    return removed


def set_registry_map(cluster: Cluster, options: CacheOptions, led: Mapping[str, str]) -> None:
    """Tell the agents where registries' names lead; {} takes that away.

    Raises:
        CacheError: the cache is not installed.
        ClusterError: the API server did not do it.
    """

    def edit(data: Mapping[str, str]) -> Data:
        others = {key: value for key, value in data.items() if key != protocol.REGISTRY_MAP}
        return {**others, protocol.REGISTRY_MAP: protocol.format_registry_map(led)} if led else others

    with doing("setting the cache's registry map"):
        change(cluster, options, edit)


def wanted(cluster: Cluster, options: CacheOptions) -> protocol.Wanted | None:
    """What the cache's ConfigMap asks of the nodes; None where there is no cache."""
    live = cluster.get(kinds.CONFIG_MAP, options.name, options.namespace)
    return None if live is None else protocol.parse_wanted(live.get("data"))


def _append(data: Data, key: str, lines: Iterable[str]) -> None:
    new = list(lines)
    if new:
        data[key] = protocol.format_lines([*filter(None, [data.get(key, "").strip("\r\n ")]), *new])


def _drop(data: Data, key: str, gone: Callable[[str], bool]) -> None:
    if key not in data:
        return
    before = data[key].split("\n")
    after = [line for line in before if not gone(line.strip())]
    if len(after) != len(before):
        data[key] = protocol.format_lines(after)
