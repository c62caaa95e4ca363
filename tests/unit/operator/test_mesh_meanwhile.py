"""The thread that looks once more: it is there while it is needed, also where none can be started at first."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cache.protocol import CACHE_LABEL
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.kinds import DEPLOYMENT
from wasme.deploy.istio.workloads import Workload
from wasme.operator.informers.stores import Stores
from wasme.operator.targets.mesh import meanwhile
from wasme.operator.targets.mesh.meanwhile import Meanwhile
from wasme.operator.targets.mesh.shapes import Place

PLACE = Place("Deployment", "shop", "web")


def web(**labels: str) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "shop"}
    return {"kind": "Deployment", "metadata": meta, "spec": {"template": {"metadata": {"labels": labels}}}}


BEFORE = Workload(DEPLOYMENT, web(**{CACHE_LABEL: "wasme"}))


class Looks:
    """Notes when somebody puts folders back, and lets it take as long as a test wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(meanwhile, "WATCHED", 0.05)
        monkeypatch.setattr(meanwhile, "put_back", self.put_back)
        stores = Stores(Cluster.__new__(Cluster), CacheOptions())
        monkeypatch.setattr(stores.carriers, "cache_users", lambda *_: ["a filter by hand"])
        self.tested = Meanwhile(Cluster.__new__(Cluster), stores)
        self.begun, self.may, self.done = threading.Event(), threading.Event(), threading.Event()

    def put_back(self, *_: Any) -> None:
        self.begun.set()
        assert self.may.wait(60)
        self.done.set()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_no_thread(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started the write stands as it is; the next one starts it, and both are looked at."""
    looks.may.set()

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", none_left)
        assert looks.tested.written(PLACE, BEFORE, web())
    assert looks.tested.written(PLACE, BEFORE, web())
    assert looks.done.wait(30)
    looks.tested.close()


def test_its_end_is_waited_for(looks: Looks) -> None:
    """Closing returns when the write that is under way is over, and not before."""
    looks.tested.written(PLACE, BEFORE, web())
    assert looks.begun.wait(30)
    threading.Timer(0.5, looks.may.set).start()
    looks.tested.close()
    assert looks.done.is_set()
    begun = time.monotonic()
    looks.tested.close()
    assert time.monotonic() - begun < 10
