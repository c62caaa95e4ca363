"""One look, on a real API server, with a place of the test's own: what is written, when, and what goes wrong alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.fixtures.agents import soon
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.operator.world import FINALIZER, GROUP
from tests.unit.deploy.istio.samples import image as sample
from wasme.deploy.cache.options import CacheOptions
from wasme.deploy.cluster.connect import connect
from wasme.deploy.resolved import ResolvedImage
from wasme.errors import CacheError, Conflict, LeadershipLost, NothingMatches
from wasme.operator.control.reconcile import Reconciler
from wasme.operator.control.roster import Roster
from wasme.operator.informers.stores import Stores
from wasme.operator.registries.images import Images
from wasme.operator.resources.conditions import Transition
from wasme.operator.resources.report import Report, TargetState
from wasme.operator.resources.wanted import Key, Wanted

Object = dict[str, Any]


class Place:
    """Does what the test says, and notes what it was asked."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.asked: list[str] = []
        self.make: Callable[[Wanted], Report | None] = lambda _: None
        self.left = Report()

    def reconcile(self, wanted: Wanted, image: ResolvedImage) -> Report:
        del image
        self.asked.append(f"make {wanted.filter.id}")
        made = TargetState(self.provider, "Deployment", wanted.key.namespace, "web", "Succeeded")
        return self.make(wanted) or Report((made,))

    def pause(self, key: Key) -> bool:
        self.asked.append(f"pause {key.name}")
        return True

    def forget(self, key: Key) -> None:
        self.asked.append(f"forget {key.name}")

    def remove(self, key: Key, filter_id: str) -> Report:
        del key
        self.asked.append(f"remove {filter_id}")
        return self.left


class Known:
    """Images that are known without a registry."""

    def resolve(self, wanted: Wanted, before: Object | None = None) -> ResolvedImage:
        del before
        return replace(sample(), typed=wanted.image.reference)

    def problem(self, wanted: Wanted) -> None:
        """None."""

    def again(self, wanted: Wanted) -> None:
        """Never."""

    def forget(self, key: Key) -> None:
        """Nothing is kept."""


class Scene:
    """A reconciler, and one object after another."""

    def __init__(self, api: Api, plane: ControlPlane, namespace: str, stores: Stores, cluster: Any) -> None:
        self.api = api
        self.plane = plane
        self.namespace = namespace
        self.stores = stores
        self.istio, self.gloo, self.envoy = Place("istio"), Place("gloo"), Place("envoyGateway")
        self.told: list[Transition] = []
        self.reconciler = Reconciler(
            cluster, stores, Roster(stores), cast("Images", Known()),
            {"istio": self.istio, "gloo": self.gloo, "envoyGateway": self.envoy}, lambda _: set(),
            lambda _, changes: self.told.extend(changes),
        )  # fmt: skip

    def path(self, name: str = "auth") -> str:
        return f"{GROUP}/namespaces/{self.namespace}/filterdeployments/{name}"

    def get(self, name: str = "auth") -> Object:
        found: Object = self.api.get(self.path(name))
        return found

    def apply(self, name: str = "auth", config: str = "x", where: Object | None = None, **section: Any) -> Key:
        """An object, known to the stores."""
        obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment",
               "metadata": {"name": name, "namespace": self.namespace},
               "spec": {"filter": {"image": "reg.example/auth:v1", "config": config, **section},
                        "deployment": where or {"istio": {"labels": {"app": "web"}}}}}  # fmt: skip
        self.known(self.api.apply(obj))
        return Key(self.namespace, name)

    def known(self, obj: Object) -> None:
        """Wait until the stores have it."""
        meta = obj["metadata"]
        key = Key(meta["namespace"], meta["name"])
        assert soon(lambda: self.stores.resources.store.version(key) == meta["resourceVersion"])

    def patches(self, since: int) -> int:
        """How many PATCHes of FilterDeployments the operator has sent."""
        sent = (each for each in self.plane.audit(since) if each["verb"] == "patch")
        return sum(
            "/filterdeployments/" in each["requestURI"] and "fieldManager=wasme" in each["requestURI"] for each in sent
        )

    def conditions(self, name: str = "auth") -> dict[str, str]:
        found = self.get(name)["status"]["conditions"]
        return {each["type"]: f"{each['status']} {each['reason']}" for each in found}


@pytest.fixture
def scene(api: Api, control_plane: ControlPlane, definition: None, namespace: str) -> Iterator[Scene]:
    """Stores that follow, and nobody who looks but the test."""
    stop = threading.Event()
    with connect(control_plane.kubeconfig) as cluster:
        stores = Stores(cluster, CacheOptions(namespace=namespace), window=0.5)
        made = Scene(api, control_plane, namespace, stores, cluster)
        stores.start(stop)
        assert stores.wait_synced(30)
        yield made
        stop.set()
        assert stores.join(20)


def test_from_nothing_to_gone(scene: Scene) -> None:
    """The finalizer stands before the place is asked, the status after; a second look writes nothing; in the end the
    finalizer goes only when each place has nothing left."""
    key = scene.apply()
    finalizers: list[Any] = []
    scene.istio.make = lambda _: finalizers.append(scene.get()["metadata"].get("finalizers"))
    assert scene.reconciler.look(key).result == "ok"
    assert finalizers == [[FINALIZER]]
    assert scene.conditions()["Ready"] == "True Ready"
    assert [each.type for each in scene.told if each.type == "Ready"] == ["Ready"]
    mark = scene.plane.mark()
    assert scene.reconciler.look(key).result == "ok"
    assert not [each for each in scene.plane.audit(mark) if "filterdeployments" in each["requestURI"]
                and each["verb"] not in ("get", "list", "watch")]  # fmt: skip
    scene.api.delete(scene.path())
    scene.known(scene.get())
    scene.istio.left = Report(problem=CacheError("the list is away"))
    assert scene.reconciler.look(key).result == "failed"
    assert scene.get()["metadata"]["finalizers"] == [FINALIZER]
    scene.istio.left = Report(targets=(TargetState("istio", "ConfigMap", "wasme", "wasme-cache", "Pending"),))
    assert scene.reconciler.look(key).result == "waiting"
    assert scene.conditions()["Ready"] == "False Removing"
    scene.istio.left = Report()
    assert scene.reconciler.look(key).result == "gone"
    assert scene.api.find(scene.path()) is None
    assert scene.envoy.asked == scene.gloo.asked == []  # what has its id there may be a user's


def test_a_bug_is_one_objects_own(scene: Scene) -> None:
    """A place that breaks: the object says InternalError in one line, comes again, and is well when that is over."""
    key = scene.apply()

    def broken(_: Wanted) -> Report:
        raise KeyError("no\nsuch")

    scene.istio.make = broken
    assert scene.reconciler.look(key).result == "failed"
    found = scene.get()["status"]
    assert scene.conditions()["Programmed"].endswith("InternalError")
    assert scene.conditions()["Degraded"].startswith("True")
    assert "KeyError" in found["reason"]
    assert "\n" not in found["reason"]
    scene.istio.make = lambda _: None
    assert scene.reconciler.look(key).result == "ok"
    assert scene.conditions()["Degraded"] == "False AsWanted"


def test_overtaken(scene: Scene) -> None:
    """The spec changes under a look: nothing of the old one is told, and the new one is looked at, at once."""
    key = scene.apply()

    def meanwhile(_: Wanted) -> Report | None:
        scene.istio.make = lambda _: None
        scene.apply(config="y")
        return None

    scene.istio.make = meanwhile
    looked = scene.reconciler.look(key)
    assert looked.again == 0
    assert "status" not in scene.get()
    assert scene.reconciler.look(key).result == "ok"
    assert scene.get()["status"]["observedGeneration"] == 2


def test_what_others_write_stays(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is behind: the conflicts of finalizer and status are read anew, and nobody's word is lost."""
    key = scene.apply()
    for informer in scene.stores.all:
        monkeypatch.setattr(informer, "_changed", lambda *_: None)
    scene.api.patch(scene.path(), {"metadata": {"finalizers": ["example.com/own"], "annotations": {"a": "b"}}})

    def meanwhile(_: Wanted) -> None:
        scene.api.patch(scene.path(), {"metadata": {"labels": {"c": "d"}}})

    scene.istio.make = meanwhile
    assert scene.reconciler.look(key).result == "ok"
    meta = scene.get()["metadata"]
    assert meta["finalizers"] == ["example.com/own", FINALIZER]
    assert (meta["annotations"]["a"], meta["labels"]["c"]) == ("b", "d")
    assert scene.conditions()["Ready"] == "True Ready"


def test_results(scene: Scene) -> None:
    """What a place says decides how it goes on: nothing matches is waited for, a failure is tried again where the place
    says so, a lost lease ends the look without a word."""
    key = scene.apply()
    scene.istio.make = lambda _: Report(problem=NothingMatches("found no Deployment"))
    assert scene.reconciler.look(key).result == "waiting"
    assert (scene.conditions()["Programmed"], scene.conditions()["Degraded"]) == ("False NoTargets", "False AsWanted")
    scene.istio.make = lambda _: Report(problem=Conflict("somebody else"), again=7.0, retry=True)
    looked = scene.reconciler.look(key)
    assert (looked.result, looked.again, scene.conditions()["Degraded"]) == ("failed", 7.0, "True Retrying")
    scene.istio.make = lambda _: Report(problem=Conflict("somebody else"), again=7.0)
    looked = scene.reconciler.look(key)
    assert (looked.result, looked.again) == ("waiting", 7.0)
    before = scene.get()

    def lost(_: Wanted) -> Report:
        raise LeadershipLost("another works")

    scene.istio.make = lost
    with pytest.raises(LeadershipLost):
        scene.reconciler.look(key)
    assert scene.get() == before


def test_a_part_that_failed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where some targets failed it is tried again with growing patience, Degraded says so, and a tag is followed at its
    own pace all the same."""
    key = scene.apply()
    monkeypatch.setattr(Known, "again", lambda *_: 3.0)
    failed = TargetState("istio", "Deployment", "shop", "web", "Failed", "denied by a policy")
    scene.istio.make = lambda _: Report((failed,), again=40.0, retry=True)
    looked = scene.reconciler.look(key)
    assert (looked.result, looked.again) == ("failed", 3.0)
    assert scene.conditions()["Degraded"] == "True Retrying"
    told = next(each for each in scene.get()["status"]["conditions"] if each["type"] == "Degraded")
    assert "denied by a policy" in told["message"]
    assert scene.reconciler.look(key).result == "failed"


def test_what_runs_is_paused(scene: Scene) -> None:
    """Suspended, not understood, or with an id that is another's: what runs by itself is ended, and nothing else is
    done."""
    key = scene.apply(id="one")
    scene.reconciler.look(key)
    for section in ({"image": "reg.example/Auth:v1"}, {"id": "taken"}):
        scene.apply("a-first", id="taken")
        scene.reconciler.look(Key(scene.namespace, "a-first"))
        scene.istio.asked.clear()
        scene.apply(**section)
        scene.reconciler.look(key)
        assert scene.conditions()["Accepted"].startswith("False")
        assert scene.istio.asked == ["pause auth"]
    scene.apply(id="one")
    scene.reconciler.look(key)
    scene.istio.asked.clear()
    scene.known(scene.api.patch(scene.path(), {"spec": {"suspend": True}}))
    scene.reconciler.look(key)
    assert scene.istio.asked == ["pause auth"]


def test_a_failing_registry_stops_nothing_else(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the image cannot be looked at again, what the place waits for is looked at as soon as the place asks."""
    key = scene.apply()
    monkeypatch.setattr(Known, "problem", lambda *_: Conflict("the registry is odd"))
    scene.istio.make = lambda _: Report((TargetState("istio", "Deployment", "shop", "web", "Pending"),), again=5.0)
    looked = scene.reconciler.look(key)
    assert (looked.result, looked.again) == ("failed", 5.0)


def test_gone_without_its_finalizer(scene: Scene) -> None:
    """Somebody took the finalizer away: what runs is ended, and nothing is remembered."""
    key = scene.apply()
    scene.reconciler.look(key)
    scene.istio.asked.clear()
    scene.api.patch(scene.path(), {"metadata": {"finalizers": None}})
    scene.api.delete(scene.path())
    assert soon(lambda: scene.stores.resource(key) is None)
    assert scene.reconciler.look(key).result == "gone"
    assert scene.istio.asked == ["pause auth", "forget auth"]


def test_an_id_of_two(scene: Scene) -> None:
    """The newer of two touches nothing, neither while it is there nor when it goes."""
    older = scene.apply("a-older", id="same")
    scene.reconciler.look(older)
    newer = scene.apply("b-newer", id="same")
    asked = list(scene.istio.asked)
    assert scene.reconciler.look(newer).again is not None, "it gets its turn though nobody calls"
    assert scene.conditions("b-newer")["Accepted"] == "False IdTaken"
    scene.api.delete(scene.path("b-newer"))
    assert scene.api.find(scene.path("b-newer")) is None
    assert scene.istio.asked == [*asked, "pause b-newer"]
