"""The part of the operator that deploys to a mesh, in the test's own process: stores, the node cache's lines, a queue
that the test itself works off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.operator.world import World
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster
from wasme.deploy.resolved import ResolvedImage, resolve
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.holding import Holding
from wasme.operator.resources import resource
from wasme.operator.resources.report import Report
from wasme.operator.resources.wanted import Key, Wanted
from wasme.operator.targets.mesh import Mesh
from wasme.registry.session import Session

Object = dict[str, Any]


@dataclass
class Place:
    """A mesh without the rest of the operator.

    Attributes:
        called: keys that are to be looked at again, as they came.
    """

    world: World
    cluster: Cluster
    called: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.options = CacheOptions(namespace=self.world.own)
        self.stores = Stores(self.cluster, self.options, window=0.5)
        self.holding = Holding(self.cluster, self.stores, self.options, self.called.extend, step=0.0)
        self.mesh = Mesh(self.cluster, self.stores, self.holding, self.called.append)
        self.stores.start(self.stop)
        assert self.stores.wait_synced(60)

    def again(self) -> None:
        """As if the process had died and another one led: nothing is remembered but by the cluster."""
        self.mesh.close()
        self.mesh = Mesh(self.cluster, self.stores, self.holding, self.called.append)

    def guard(self, check: Callable[[], None]) -> None:
        """From now on each write of the mesh is checked before it goes."""
        self.mesh.close()
        guarded = self.cluster.guarded(check)
        self.mesh = Mesh(guarded, self.stores, self.holding, self.called.append)

    def close(self) -> None:
        """End all threads, so that the connections can be closed."""
        self.mesh.close()
        self.stop.set()
        for each in threading.enumerate():
            if each.name.startswith("informer-"):
                each.join(30)

    def key(self, name: str) -> Key:
        return Key(self.world.namespace, name)

    def wanted(self, name: str, namespace: str = "") -> Wanted:
        """A FilterDeployment as it is now, when the store knows it too."""
        obj = self.world.get(self.world.path(name, namespace))
        key, version = Key(namespace or self.world.namespace, name), obj["metadata"]["resourceVersion"]
        wait_until(lambda: self.stores.resources.store.version(key) == version, 30, f"{name} is not known")
        return resource.read(obj)

    def image(self, name: str) -> ResolvedImage:
        with Session() as session:
            return resolve(name, session)

    def look(self, name: str) -> Report:
        """One look, with all that was written before known."""
        self.caught_up()
        wanted = self.wanted(name)
        return self.mesh.reconcile(wanted, self.image(wanted.image.reference))

    def settle(self, name: str, *, until: Callable[[Report], bool] = lambda report: report.programmed,
               seconds: float = 60) -> Report:  # fmt: skip
        """Look again and again, until it is so."""
        deadline = time.monotonic() + seconds
        while True:
            report = self.look(name)
            if until(report):
                return report
            assert time.monotonic() < deadline, report
            time.sleep(0.05)

    def remove(self, name: str, filter_id: str = "", *, seconds: float = 60) -> Report:
        """Take everything away, until nothing is left to do."""
        filter_id = filter_id or f"{name}.{self.world.namespace}"
        deadline = time.monotonic() + seconds
        while True:
            report = self.mesh.remove(self.key(name), filter_id)
            if report.problem is None and not report.targets:
                return report
            assert time.monotonic() < deadline, report
            time.sleep(0.05)

    def caught_up(self) -> None:
        """Wait until the stores know what the API server knows of the namespace, and of the operator's own."""
        stores = self.stores
        for informer in (*stores.workloads.values(), *stores.carried.values(), stores.pods, stores.resources):
            if not informer.served:
                continue
            for namespace in (self.world.namespace, self.world.own):
                wait_until(
                    partial(self._is_known, informer, namespace), 30,
                    lambda informer=informer: f"{informer} is behind",  # type: ignore[misc]
                )  # fmt: skip

    def _is_known(self, informer: Any, namespace: str) -> bool:
        found = self.world.api.list(informer.kind.path(namespace))
        there = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found}
        return there == {each.name: informer.store.version(each) for each in informer.store.keys(namespace)}

    def requests(self, since: int) -> list[str]:
        """The requests for objects of any namespace since a mark, but for watches and informers' lists; not what is
        read of the server's kinds, since these may have changed."""
        asked = [
            f"{each['verb']} {each['requestURI'].partition('?')[0]}"
            for each in self.world.plane.audit(since)
            if each["verb"] != "watch" and "/namespaces/" in each["requestURI"]
        ]
        # The node cache's ConfigMaps are followed in their namespace, and listed anew when a watch was lost.
        return [each for each in asked if each != f"list /api/v1/namespaces/{self.world.own}/configmaps"]


def objects(report: Report) -> dict[str, str]:
    """Name of each target → how it does."""
    return {each.name: each.state for each in report.targets}
