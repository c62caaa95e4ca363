"""Searching a namespace for what interrupted changes have left there."""

from __future__ import annotations

from typing import Any

from tests.unit.deploy.cluster.scripted import opened, page, scripted
from wasme.deploy.cache.options import CacheOptions
from wasme.operator.informers import facts
from wasme.operator.informers.store import Seen
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key
from wasme.operator.targets.locks import Locks
from wasme.operator.targets.mesh.look import Looking
from wasme.operator.targets.mesh.shapes import Shapes
from wasme.operator.targets.mesh.taking import Taking


def namespace(uid: str, version: str, **meta: Any) -> Seen[Any]:
    obj = {"metadata": {"name": "shop", "uid": uid, "resourceVersion": version, **meta}}
    return Seen(Key("", "shop"), uid, version, facts.namespace(obj))


def test_a_namespace_is_searched_once_as_long_as_it_is_the_same() -> None:
    """Its workloads are read at the first look only; those of one that was restored from a backup are again, also where
    the deletion of the one before was never heard of."""
    with scripted(lambda ask, _: ask.give(200, page([]))) as server, opened(server.url) as cluster:
        stores, shapes = Stores(cluster, CacheOptions()), Shapes()
        taking = Taking(cluster, stores, shapes, Looking(cluster, stores, shapes), Locks())

        def read() -> int:
            before = len(server.asked)
            taking.sweep("shop")
            return len(server.asked) - before

        known = stores.namespaces.store
        known.seen(namespace("u1", "1"))
        assert (read(), read()) == (3, 0)
        known.seen(namespace("u1", "2", labels={"a": "b"}))
        assert read() == 0
        known.seen(namespace("u2", "5"))
        assert (read(), read()) == (3, 0)
        known.gone(Key("", "shop"), "u2", "7")
        known.seen(namespace("u3", "9"))
        assert (read(), read()) == (3, 0)
