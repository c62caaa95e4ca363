"""The lines of the node cache that a filter needs, by the objects that carry it."""

from __future__ import annotations

from collections.abc import Iterable

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine
from wasme.deploy.istio.caching import lines_for
from wasme.deploy.istio.existing import Carrier
from wasme.deploy.istio.facts import Facts
from wasme.deploy.istio.order import Order


def needed(facts: Facts, order: Order, namespace: str) -> tuple[FilterLine, ...]:
    """What the nodes must hold for a filter as it is wanted; nothing where Istio's agent or the kubelet pulls."""
    if facts.choice.kind != "envoyfilter" or order.target.placement != "daemonset":
        return ()
    image = facts.image
    return (FilterLine(namespace, facts.spec.id, image.typed, image.manifest.digest, image.module.digest),)


def of_carriers(carriers: Iterable[Carrier], options: CacheOptions, filter_id: str) -> tuple[FilterLine, ...]:
    """What the nodes must hold for the objects that are there, of which one may still name an earlier image."""
    found = list(carriers)
    return tuple(
        dict.fromkeys(
            line
            for namespace in {each.namespace for each in found}
            for line in lines_for(found, options, namespace, filter_id)
        )
    )
