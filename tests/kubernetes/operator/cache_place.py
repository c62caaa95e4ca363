"""A node cache as the operator's holding sees it: followed by stores, with nobody else of an operator."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.conftest import new_namespace
from wasme.deploy.cache import protocol
from wasme.deploy.cache.ensure import ensure
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import FilterLine, ImageStatus, NodeStatus
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.image.layouts import Draft
from wasme.operator.informers.stores import Stores
from wasme.operator.nodecache.holding import Holding
from wasme.operator.registries.routes import Routes
from wasme.operator.resources.wanted import Key

NAME = "wasme-cache"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def line(name: str, number: int = 1, namespace: str = "shop") -> FilterLine:
    return FilterLine(namespace, name, f"reg.example/{name}:v{number}", digest(10_000 + number), digest(number))


def line_of(ref: str, draft: Draft, name: str = "auth", namespace: str = "shop") -> FilterLine:
    return FilterLine(namespace, name, ref, draft.descriptor.digest, draft.module.digest)


class Place:
    """A cache's namespace, followed by stores; `called` is everything that was called, in order."""

    def __init__(
        self, api: Api, plane: ControlPlane, *, install: bool = True, own: dict[str, str] | None = None
    ) -> None:
        self.api = api
        self.plane = plane
        self.namespace = new_namespace(api, "wasme")
        self.options = CacheOptions(namespace=self.namespace)
        self.cluster: Cluster = connect(plane.kubeconfig)
        if install:
            ensure(self.cluster, self.options)
        self.stores = Stores(self.cluster, self.options)
        self.called: list[Key] = []
        self.queue: queue.SimpleQueue[Key] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.maps = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.holding = Holding(
            self.cluster, self.stores, self.options, self.call, Routes(self.options, self.stores.cache_config, own)
        )
        before = set(threading.enumerate())
        self.stores.start(self.stop)
        self.threads = [each for each in threading.enumerate() if each not in before]
        assert self.stores.wait_synced(60)

    def call(self, keys: Collection[Key]) -> None:
        self.called.extend(keys)
        for key in keys:
            self.queue.put(key)

    def close(self) -> None:
        """After the last window: who reads from a connection that is closed may read another's bytes."""
        for each in self.threads:
            each.join(30)
        self.cluster.close()

    @property
    def lines(self) -> list[str]:
        """Of the list, as it is on the server."""
        text = self.api.get(f"{self.maps}/{NAME}").get("data", {}).get("filters", "")
        return text.split("\n") if text else []

    def tell(self, node: str, observed: str, *images: ImageStatus) -> None:
        """What an agent of ours tells, without the agent."""
        uid = self.api.get(f"{self.maps}/{NAME}")["metadata"]["uid"]
        status = NodeStatus(node, "1", observed, (), images)
        self.api.apply(protocol.status_object(NAME, self.namespace, uid, status), manager="agent")

    def agent_pod(self, node: str, *, ready: bool = True) -> None:
        """A pod of an agent, as a kubelet tells of it."""
        spec = {"nodeName": node, "containers": [{"name": "a", "image": "a"}], "terminationGracePeriodSeconds": 0}
        meta = {"name": f"agent-{node}", "namespace": self.namespace, "labels": {"app": NAME}}
        path = f"/api/v1/namespaces/{self.namespace}/pods/agent-{node}"
        if not self.api.find(path):
            self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        self.api.patch(f"{path}/status", {"status": {"phase": "Running", "conditions": [condition]}}, "strategic-merge")

    def asked(self, since: int) -> Counter[str]:
        """Requests of the operator in the cache's namespace, but for its watches and lists."""
        found = [
            event for event in self.plane.audit(since)
            if event["verb"] not in ("watch", "list") and event.get("stage") == "ResponseComplete"
            and event.get("objectRef", {}).get("namespace") in (self.namespace, "shop")
        ]  # fmt: skip
        return Counter(f"{event['verb']} {event['objectRef']['resource']}" for event in found)


def until_true(place: Place, ask: Callable[[], bool], seconds: float = 30) -> None:
    """Ask, and ask again only when called, as a worker does."""
    until = time.monotonic() + seconds
    while not ask():
        try:
            place.queue.get(timeout=max(0.01, until - time.monotonic()))
        except queue.Empty:
            raise AssertionError("nobody called") from None
