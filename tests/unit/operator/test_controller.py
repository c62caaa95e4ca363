"""Which change calls which FilterDeployments: informers that are told changes as their watch would, and a queue."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.access import Access
from wasme.deploy.cluster.connect import open_cluster
from wasme.deploy.istio.target import FILTER_LABEL, filter_label
from wasme.operator.control.controller import Controller
from wasme.operator.control.queue import Queue
from wasme.operator.control.roster import Roster
from wasme.operator.informers.informer import Informer
from wasme.operator.informers.stores import Stores
from wasme.operator.resources.wanted import Key

Object = dict[str, Any]
_versions = itertools.count(100)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Nothing is sent to it."""
    with open_cluster(Access(server="https://127.0.0.1:1")) as made:
        yield made


class Clock:
    """Seconds that pass when a test says so."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """A controller with stores that a test fills."""

    def __init__(self, cluster: Cluster, *watched: str) -> None:
        self.stores = Stores(cluster, CacheOptions())
        self.roster = Roster(self.stores, watched)
        self.controller = Controller(self.stores, self.roster)
        self.clock = Clock()
        self.queue = Queue(self.clock)

    def begin(self) -> set[str]:
        """The term begins; whom that calls."""
        self.controller.begin(self.queue)
        return self.called()

    def called(self) -> set[str]:
        """Who has been called since, and is due in two seconds at the latest."""
        self.clock.now += 2.0
        found = set()
        while (key := self.queue.get(timeout=0)) is not None:
            found.add(str(key))
            self.queue.done(key)
        return found

    def tell(self, informer: Informer[Any], obj: Object, change: str = "MODIFIED") -> None:
        """As a watch tells a change."""
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(next(_versions))}}
        told = threading.Event()

        def heard(*_: object) -> None:
            told.set()

        informer.subscribe(heard)  # who subscribes last is called last
        informer._changed(change, obj)
        if change == "DELETED":  # it might have been us, so it is told a moment later
            assert told.wait(30)
        informer.unsubscribe(heard)

    def fd(self, name: str, spec: Object | None = None, *, created: int = 1, gone: bool = False, **meta: Any) -> None:
        """A FilterDeployment comes, changes or goes."""
        whole = {"name": name, "namespace": "shop", "uid": name, "generation": 1, **meta}
        whole["creationTimestamp"] = f"2026-01-01T00:00:{created:02}Z"
        obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "metadata": whole, "spec": spec or meant()}
        self.tell(self.stores.resources, obj, "DELETED" if gone else "MODIFIED")

    def workload(self, name: str, *, gone: bool = False, kind: str = "Deployment", **settings: Any) -> None:
        """A workload comes, changes or goes."""
        meta = {"name": name, "namespace": "shop", "uid": name, "generation": 1, **settings}
        obj = {"apiVersion": "apps/v1", "kind": kind, "metadata": meta}
        self.tell(self.stores.workloads[kind], obj, "DELETED" if gone else "MODIFIED")

    def pod(self, name: str, owner: str, node: str = "a", *, ready: bool = True) -> None:
        """A pod comes, or changes."""
        kind, _, owned = owner.partition("/")
        owners = [{"kind": kind, "name": owned, "controller": True}]
        meta = {"name": name, "namespace": "shop", "uid": name, "ownerReferences": owners}
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {"phase": "Running", "conditions": conditions}
        self.tell(self.stores.pods, {"metadata": meta, "spec": {"nodeName": node}, "status": status})

    def carrier(self, name: str, told: str = "", *, owner: str = "", gone: bool = False, text: str = "x") -> None:
        """An EnvoyFilter comes, changes or goes."""
        labels = {"app.kubernetes.io/managed-by": "wasme", FILTER_LABEL: told} if told else {}
        owners = [{"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": owner, "controller": True}]
        meta = {"name": name, "namespace": "shop", "uid": name, "labels": labels,
                "ownerReferences": owners if owner else []}  # fmt: skip
        obj = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": meta,
               "spec": {"text": text}}  # fmt: skip
        self.tell(self.stores.carried["EnvoyFilter"], obj, "DELETED" if gone else "MODIFIED")


@pytest.fixture
def scene(cluster: Cluster) -> Scene:
    """All namespaces are worked on."""
    return Scene(cluster)


def meant(id: str = "", kind: str = "Deployment", istio: Object | None = None, **labels: str) -> Object:  # noqa: A002
    """A spec for workloads with these labels."""
    section = {"image": "reg.example/auth:v1", **({"id": id} if id else {})}
    return {"filter": section, "deployment": {"istio": {"kind": kind, "labels": labels, **(istio or {})}}}


def test_a_term_begins_with_everything(scene: Scene) -> None:
    """Before a term changes call nobody; at its start every key is called once, and owners that are gone."""
    scene.fd("one")
    scene.fd("two")
    scene.carrier("web-old", "old", owner="gone")
    assert scene.called() == set()
    assert scene.begin() == {"shop/one", "shop/two", "shop/gone"}
    scene.controller.end()
    scene.fd("one", generation=2)
    assert scene.called() == set()


def test_own_writes_call_nobody(scene: Scene) -> None:
    """What a write of ours was answered calls nobody, neither then nor when the watch tells it."""
    scene.fd("one")
    scene.begin()
    obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "spec": meant(), "status": {"a": 1},
           "metadata": {"name": "one", "namespace": "shop", "uid": "one", "generation": 1,
                        "resourceVersion": str(next(_versions))}}  # fmt: skip
    scene.stores.put(obj)
    scene.stores.resources._changed("MODIFIED", obj)
    assert scene.called() == set()
    scene.fd("one", annotations={"somebody": "else"})
    assert scene.called() == {"shop/one"}


def test_workloads(scene: Scene) -> None:
    """Who means a workload, by what it is or was, is called; statuses and those of other kinds call nobody."""
    scene.fd("web", meant(app="web"))
    scene.fd("all", meant())
    scene.fd("named", meant(istio={"name": "api"}))
    scene.fd("daemons", meant(kind="DaemonSet"))
    scene.fd("targets", {"filter": {"image": "reg.example/a:v1"}, "deployment": {"istio": {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}]}}})  # fmt: skip
    scene.fd("wrong", {"filter": {}})
    scene.begin()
    scene.workload("front", labels={"app": "web", "tier": "x"})
    assert scene.called() == {"shop/web", "shop/all"}
    scene.workload("front", labels={"app": "web", "tier": "x"})  # its status
    assert scene.called() == set()
    scene.workload("front", labels={"app": "web", "tier": "x"}, generation=2)
    assert scene.called() == {"shop/web", "shop/all"}
    scene.workload("front", labels={"app": "other"}, generation=2)
    assert scene.called() == {"shop/web", "shop/all"}, "it loses the filter"
    scene.workload("front", labels={"app": "other"}, generation=3)
    assert scene.called() == {"shop/all"}
    scene.workload("api")
    assert scene.called() == {"shop/all", "shop/named"}
    scene.workload("logs", kind="DaemonSet")
    assert scene.called() == {"shop/daemons"}
    scene.workload("logs", kind="DaemonSet", gone=True)
    assert scene.called() == {"shop/daemons"}


def test_a_control_plane(scene: Scene) -> None:
    """A new version of istiod concerns everybody whose mesh it is, wherever he is."""
    scene.fd("here", meant(istio={"istioNamespace": "shop", "istiodName": "istiod-canary"}, app="x"))
    scene.fd("there", meant(app="x"))
    scene.begin()
    scene.workload("istiod-canary", generation=2)
    assert scene.called() == {"shop/here"}


def test_gateways(scene: Scene) -> None:
    """A Gateway calls who is for gateways in its namespace, and who has targets of Istio there; nobody else."""
    target = {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}]}
    scene.fd("targets", {"filter": {"image": "reg.example/auth:v1"}, "deployment": {"istio": target}})
    scene.fd("gloo", {"filter": {"image": "reg.example/auth:v1"}, "deployment": {"gloo": {}}})
    scene.fd("workloads", meant(app="web"))
    scene.begin()
    scene.controller.gateway_changed(Key("shop", "gw"), None, None)
    assert scene.called() == {"shop/targets", "shop/gloo"}
    scene.controller.gateway_changed(Key("elsewhere", "gw"), None, None)
    assert scene.called() == set()


def test_nobody_is_read_for_a_workload_that_nobody_means(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is called is looked up: the FilterDeployments of other control planes and kinds are not gone through, however
    many there are; one that changes or goes is found where it is meant now, and nowhere else."""
    for number in range(50):
        scene.fd(f"fd-{number}", meant(app="web"))
    scene.fd("other", meant(istio={"istioNamespace": "mesh"}, app="web"))
    scene.begin()
    seen: list[Any] = []
    before = Roster._under

    def under(self: Roster, entry: Any) -> Any:
        found = before(self, entry)
        seen.extend(found)
        return found

    monkeypatch.setattr(Roster, "_under", under)
    scene.workload("web", kind="StatefulSet", labels={"app": "web"})
    assert scene.called() == set()
    assert seen == []
    assert scene.roster.under("mesh", "istiod") == {Key("shop", "other")}
    scene.fd("other", meant(app="web"), generation=2)
    assert scene.roster.under("mesh", "istiod") == set()
    scene.fd("other", gone=True)
    assert Key("shop", "other") not in scene.roster.under("istio-system", "istiod")
    assert len(scene.roster.under("istio-system", "istiod")) == 50


def test_pods(scene: Scene) -> None:
    """A pod concerns who means its workload, through a ReplicaSet too; a heartbeat nobody."""
    scene.fd("web", meant(app="web"))
    scene.fd("other", meant(app="other"))
    scene.workload("front-end", labels={"app": "web"})
    scene.begin()
    scene.pod("front-end-abc-1", "ReplicaSet/front-end-abc")
    assert scene.called() == {"shop/web"}
    scene.pod("front-end-abc-1", "ReplicaSet/front-end-abc")
    assert scene.called() == set()
    scene.pod("front-end-abc-1", "ReplicaSet/front-end-abc", ready=False)
    assert scene.called() == {"shop/web"}
    scene.pod("front-end-abc-1", "ReplicaSet/front-end-abc", "b", ready=False)
    assert scene.called() == {"shop/web"}
    scene.pod("job-1", "Job/job")
    scene.pod("bare", "/")
    assert scene.called() == set()


def test_carriers(scene: Scene) -> None:
    """A carrier concerns who has its id, and its owner; somebody else's EnvoyFilter nobody."""
    long = "an-id-that-is-much-longer-than-a-label-may-be-" + "x" * 60
    scene.fd("auth", meant("auth"))
    scene.fd("long", meant(long))
    scene.fd("default")
    scene.begin()
    scene.carrier("web-auth", "auth")
    assert scene.called() == {"shop/auth"}
    scene.carrier("web-auth", "auth", text="edited")
    assert scene.called() == {"shop/auth"}
    scene.carrier("web-auth", "", text="edited")  # its marks are gone
    assert scene.called() == {"shop/auth"}
    scene.carrier("web-long", filter_label(long))
    assert scene.called() == {"shop/long"}
    scene.carrier("web-default", "default.shop", owner="default")
    assert scene.called() == {"shop/default"}
    scene.carrier("web-default", "default.shop", owner="default", gone=True)
    assert scene.called() == {"shop/default"}
    scene.carrier("web-stray", "stray", owner="gone")
    assert scene.called() == {"shop/gone"}
    scene.carrier("users-own")
    scene.carrier("users-own", text="y")
    assert scene.called() == set()


def test_an_id_that_is_free_again(scene: Scene) -> None:
    """Of two with one id the older has it; the other is called when that goes, or takes another id, by whomever."""
    scene.fd("older", meant("auth"), created=1)
    scene.fd("newer", meant("auth"), created=2)
    scene.begin()
    assert scene.roster.holder("shop", "auth") == Key("shop", "older")
    scene.fd("older", meant("other"), created=1, generation=2)
    assert scene.called() == {"shop/older", "shop/newer"}
    assert scene.roster.holder("shop", "auth") == Key("shop", "newer")
    scene.fd("older", meant("auth"), created=1, generation=3)
    scene.called()
    scene.stores.resources.store.drop(Key("shop", "older"), "older")  # our own write: its finalizer
    assert scene.called() == {"shop/newer"}


def test_other_namespaces(cluster: Cluster) -> None:
    """With --watch-namespaces the others' FilterDeployments are nobody's."""
    scene = Scene(cluster, "elsewhere")
    scene.fd("one")
    assert scene.begin() == set()
    scene.fd("one", generation=2)
    scene.workload("front")
    scene.carrier("web-one", "one.shop", owner="one")
    assert scene.called() == set()


def test_namespaces_and_definitions(scene: Scene) -> None:
    """A namespace's labels concern all in it; a definition of a place that runs filters concerns all, others nobody."""
    scene.fd("one")
    scene.begin()
    scene.tell(scene.stores.namespaces, {"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}})
    assert scene.called() == {"shop/one"}
    for name, called in (("wasmplugins.extensions.istio.io", {"shop/one"}), ("certificates.cert-manager.io", set())):
        scene.tell(scene.stores.definitions, {"metadata": {"name": name, "generation": 1}})
        assert scene.called() == called
