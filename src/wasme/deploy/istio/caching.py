"""What a deployment to a mesh asks of the node cache: that nodes hold a module, and that they need it no more."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wasme.deploy.cache import protocol, secrets
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.holding import hold
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.cache.registration import Registration, change, forget, wanted
from wasme.deploy.cache.waiting import Tell
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import ENVOY_FILTER
from wasme.deploy.istio.existing import Carrier, read, uses_cache
from wasme.deploy.istio.facts import Facts
from wasme.deploy.istio.order import Caching
from wasme.deploy.istio.target import DIGEST, IMAGE, MANIFEST
from wasme.errors import CacheError, ClusterError, ClusterForbidden, InputError, UsageError, WasmeError
from wasme.registry.auth import Credential
from wasme.registry.endpoint import resolve
from wasme.registry.session import Session

log = logging.getLogger(__name__)

CACHE_ANNOTATION = "wasme.io/cache"
"""On objects whose module lies on the nodes: NAMESPACE/NAME of the cache."""


def prepare(
    cluster: Cluster, caching: Caching, facts: Facts, session: Session, tell: Tell | None = None
) -> Registration:
    """Make every ready node that runs one of the pods hold the module; or leave all as it was, but for the cache.

    Args:
        cluster: where.
        caching: which cache.
        facts: the filter and its workloads.
        session: how the command reaches the registry, and who it is there.
        tell: is told how many nodes hold it.

    Raises:
        CacheError: they do not hold it in time, or cannot.
        ClusterError: the API server did not do it.
        UsageError: there is no credential to share.
    """
    registry = facts.image.reference.domain
    namespaces = sorted({each.namespace for each in facts.workloads})
    credential = own_credential(session, registry) if caching.share_credentials else None
    if session.options.insecure:
        log.warning("--insecure is for this command alone: the nodes check the registry's certificate")
    place = led(session, registry)
    registry_map = {registry: place} if place else {}
    at = session.endpoint(registry).origin.netloc if place else ""
    options = ensure(cluster, caching.options, registry_map=registry_map)
    if registry_map:
        _lead(cluster, options, registry_map)
    for namespace in namespaces:
        if caching.pull_secret:
            secrets.share_secret(cluster, options, namespace, caching.pull_secret, registry, at=at)
        if credential is not None:
            secrets.share_credential(cluster, options, namespace, registry, credential, at=at)
    image = facts.image
    lines = [
        FilterLine(namespace, facts.spec.id, image.typed, image.manifest.digest, image.module.digest)
        for namespace in namespaces
    ]
    selectors = [(each.namespace, each.pod_selector) for each in facts.workloads]
    try:
        return hold(cluster, options, lines, selectors, caching.timeout, tell)
    except BaseException:
        if caching.pull_secret or credential is not None:
            _sweep_quietly(cluster, options, lines)
        raise


def _sweep_quietly(cluster: Cluster, options: CacheOptions, lines: Sequence[FilterLine]) -> None:
    """Take back the Secrets that only these filters would have needed, while something worse is told."""
    try:
        left = wanted(cluster, options)
        secrets.sweep(cluster, options, lines, left.filters if left else ())
    except (ClusterError, CacheError) as error:
        fields = {"cache": options.pair, "reason": error.message}
        log.warning("a pull secret may be left beside the cache", extra={"fields": fields})


def own_credential(session: Session, registry: str) -> Credential:
    """Who the command is for a registry.

    Raises:
        UsageError: nobody.
    """
    found = session.keychain.lookup(*session.endpoint(registry).credential_hosts)
    if found is None:
        raise UsageError(
            f"--share-credentials: nobody is logged in to {registry} here", hint=f"wasme login --server {registry}"
        )
    return found


def led(session: Session, registry: str) -> str:
    """Where the traffic for a registry's name goes from here, ``http://HOST/PREFIX``; "" where it goes to itself."""
    here = session.endpoint(registry)
    try:
        there = resolve(registry, {})
    except WasmeError:  # webassemblyhub.io, which is nowhere by itself
        there = None
    if there is not None and (there.origin, there.prefix) == (here.origin, here.prefix):
        return ""
    return f"{here.origin}/{here.prefix}".rstrip("/")


def with_place(carrier: dict[str, Any], options: CacheOptions) -> dict[str, Any]:
    """An object with a note of the node cache that its file comes from, so that undeploying finds it again."""
    metadata = carrier["metadata"]
    annotations = {**metadata["annotations"], CACHE_ANNOTATION: _noted(options)}
    return {**carrier, "metadata": {**metadata, "annotations": annotations}}


def places(carriers: Iterable[Carrier], default: CacheOptions) -> list[CacheOptions]:
    """The node caches that these objects note, after the one that the command names."""
    noted = {_place(each) for each in carriers} - {"", _noted(default)}
    found = [default]
    for text in sorted(noted):
        namespace, _, name = text.partition("/")
        try:
            found.append(CacheOptions(name, namespace))
        except InputError:  # somebody else wrote it
            log.debug("an object notes no node cache", extra={"fields": {"noted": text}})
    return found


def settle(cluster: Cluster, options: CacheOptions, filter_id: str, namespaces: Iterable[str],
           carriers: Sequence[Carrier]) -> int:  # fmt: skip
    """Tell the cache which images a filter needs from now on: those of the objects that carry it.

    Returns:
        How many lines went.

    Raises:
        ClusterError: the API server did not do it.
    """
    removed = 0
    for namespace in namespaces:
        now = lines_for(carriers, options, namespace, filter_id)
        gone = len(forget(cluster, options, namespace, filter_id, now))
        removed += gone
        told: set[FilterLine] = set(now)
        # Two deployments of one id at once: what this one took away may be the other's, whose objects stand by now.
        while gone and (now := _lines_now(cluster, options, namespace, filter_id)) and not told.issuperset(now):
            forget(cluster, options, namespace, filter_id, now)
            told = set(now)
    return removed


def lines_for(
    carriers: Iterable[Carrier], options: CacheOptions, namespace: str, filter_id: str
) -> tuple[FilterLine, ...]:
    """The lines of a cache that a filter's objects in a namespace need."""
    own = [each for each in carriers if each.namespace == namespace and _place(each) in ("", _noted(options))]
    return tuple(line for each in own if (line := _line(each, filter_id)))


def _lines_now(cluster: Cluster, options: CacheOptions, namespace: str, filter_id: str) -> tuple[FilterLine, ...]:
    found = read(cluster, [namespace], [ENVOY_FILTER]).of_filter(filter_id)
    return lines_for(found, options, namespace, filter_id)


def release(
    cluster: Cluster,
    options: CacheOptions,
    filter_id: str,
    namespaces: Iterable[str],
    stays: Sequence[Carrier],
    *,
    needed: bool,
) -> int:
    """As ``settle``, after an undeployment; who may not look there is told so only if the filter had a file on nodes.

    Args:
        stays: objects of the filter that are still there.
        needed: whether the filter had a file on the nodes.
    """
    try:
        return settle(cluster, options, filter_id, namespaces, stays)
    except ClusterForbidden as error:
        if needed:
            fields = {"cache": options.pair, "reason": error.message}
            log.warning("the nodes go on holding the image", extra={"fields": fields})
        return 0


def lines_of(
    cluster: Cluster, options: CacheOptions, filter_id: str, namespaces: Sequence[str], stays: Sequence[Carrier]
) -> int:
    """How many lines ``release`` would take away; 0 for who may not look there."""
    try:
        there = wanted(cluster, options)
    except ClusterForbidden:
        return 0
    kept = {line for namespace in namespaces for line in lines_for(stays, options, namespace, filter_id)}
    return sum(
        line.id == filter_id and line.namespace in namespaces and line._replace(pending=False) not in kept
        for line in (there.filters if there else ())
    )


def settle_quietly(cluster: Cluster, options: CacheOptions, filter_id: str, namespaces: Iterable[str],
                   carriers: Sequence[Carrier]) -> None:  # fmt: skip
    """As ``settle``, where the deployment itself is done: that old lines stay costs room on the nodes, and no more."""
    try:
        settle(cluster, options, filter_id, namespaces, carriers)
    except (ClusterError, CacheError) as error:
        fields = {"cache": options.pair, "reason": error.message}
        log.warning("the nodes go on holding images that went out of use", extra={"fields": fields})


def _noted(options: CacheOptions) -> str:
    return f"{options.namespace}/{options.name}"


def _place(carrier: Carrier) -> str:
    """The node cache that an object notes; "" for none."""
    annotations = carrier.object["metadata"].get("annotations") or {}
    return str(annotations.get(CACHE_ANNOTATION, ""))


def _line(carrier: Carrier, filter_id: str) -> FilterLine | None:
    """The line of an object of ours; None for one that needs no file, or does not say which."""
    told = carrier.object["metadata"].get("annotations") or {}
    if not uses_cache(carrier.object) or not all(key in told for key in (IMAGE, MANIFEST, DIGEST)):
        return None
    return FilterLine(carrier.namespace, filter_id, told[IMAGE], told[MANIFEST], told[DIGEST])


def _lead(cluster: Cluster, options: CacheOptions, led: Mapping[str, str]) -> None:
    """Let the agents go where the command went; what somebody chose for the cache stays."""

    def edit(data: Mapping[str, str]) -> dict[str, str]:
        before = protocol.parse_registry_map(data.get(protocol.REGISTRY_MAP, ""))
        for name, place in led.items():
            if before.get(name, place) != place:
                fields = {"registry": name, "cache": before[name], "here": place}
                log.warning("the cache pulls from elsewhere than this command", extra={"fields": fields})
        after = {**led, **before}
        return {**data, protocol.REGISTRY_MAP: protocol.format_registry_map(after)} if after != before else dict(data)

    change(cluster, options, edit)
