"""Where something of a FilterDeployment may be, on a real API server, with places of the test's own."""

from __future__ import annotations

import pytest

from tests.kubernetes.operator.test_reconcile import Scene, scene
from tests.kubernetes.operator.world import FINALIZER
from wasme.errors import UnsupportedImage
from wasme.operator.resources.report import Report, TargetState

__all__ = ["scene"]


def test_a_former_id_and_a_former_place(scene: Scene) -> None:
    """What was made under another id, or in another place, goes before the new is made; the status remembers it."""
    key = scene.apply(id="one")
    scene.reconciler.look(key)
    assert scene.get()["status"]["filterID"] == "one"
    scene.apply(id="two")
    scene.reconciler.look(key)
    assert scene.istio.asked == ["make one", "remove one", "make two"]
    assert scene.envoy.asked == []
    scene.apply(id="two", where={"gloo": {}})
    scene.istio.left = Report(
        targets=(TargetState("istio", "ConfigMap", "wasme", "wasme-cache", "Pending"),), again=5.0
    )
    assert scene.reconciler.look(key).again == 5.0
    assert scene.gloo.asked == []
    scene.istio.left = Report()
    assert scene.reconciler.look(key).result == "ok"
    assert scene.gloo.asked == ["make two"]
    asked = len(scene.istio.asked)
    assert scene.reconciler.look(key).result == "ok"
    assert len(scene.istio.asked) == asked


def test_a_place_is_noted_before_and_not_forgotten(scene: Scene) -> None:
    """In the PATCH of the finalizer, so it costs no write of its own; a look that fails and tells of no target forgets
    nothing, and a move costs one PATCH more. What is deleted goes from where it is, and from nowhere else."""
    mark = scene.plane.mark()
    key = scene.apply(where={"gloo": {}}, id="one")
    scene.reconciler.look(key)
    refused = Report(problem=UnsupportedImage("Gloo pulls by tag only"))
    scene.gloo.make = lambda _: refused
    scene.reconciler.look(key)
    assert "targets" not in scene.get()["status"]
    assert scene.patches(mark) == 1
    scene.apply(where={"istio": {}}, id="two")
    scene.gloo.left = refused
    scene.reconciler.look(key)
    scene.gloo.left = Report()
    scene.reconciler.look(key)
    assert (scene.gloo.asked, scene.istio.asked) == (["make one", "make one", "remove one", "remove one"], ["make two"])
    assert scene.patches(mark) == 2
    scene.api.delete(scene.path())
    scene.known(scene.get())
    assert scene.reconciler.look(key).result == "gone"
    assert (len(scene.gloo.asked), scene.istio.asked, scene.envoy.asked) == (4, ["make two", "remove two"], [])


def test_what_is_not_noted(scene: Scene) -> None:
    """One from before there were notes, or whose note somebody took away: where it is says its status, or its spec."""
    key = scene.apply(where={"gloo": {}}, id="one")
    scene.reconciler.look(key)
    noted = scene.get()["metadata"]["annotations"]
    assert noted == {"wasme.io/where": "gloo/one"}
    for word in (None, "", "gloo", "gloo/", "nginx/one", "gloo/Not An Id"):
        scene.known(scene.api.patch(scene.path(), {"metadata": {"annotations": {"wasme.io/where": word}}}))
        assert scene.reconciler.look(key).result == "ok"
        assert scene.get()["metadata"]["annotations"] == noted
    scene.api.patch(scene.path(), {"metadata": {"annotations": None}})
    scene.apply(where={"istio": {}}, id="one")
    scene.reconciler.look(key)
    assert scene.gloo.asked[-1] == "remove one"
    bare = scene.apply("bare", where={"envoyGateway": {"targetRefs": [{"kind": "Gateway", "name": "eg"}]}}, id="two")
    scene.api.patch(scene.path("bare"), {"metadata": {"finalizers": [FINALIZER]}})
    scene.api.delete(scene.path("bare"))
    scene.known(scene.get("bare"))
    assert scene.reconciler.look(bare).result == "gone"
    assert scene.envoy.asked == ["remove two"]


def test_an_id_that_another_has_elsewhere(scene: Scene) -> None:
    """Whoever has the id now is in a mesh: what the former one has under it in Gloo is still the former one's."""
    first = scene.apply("first", where={"gloo": {}}, id="auth")
    scene.reconciler.look(first)
    scene.apply("first", where={"gloo": {}}, id="other")
    second = scene.apply("second", id="auth")
    scene.reconciler.look(second)
    scene.reconciler.look(first)
    assert scene.gloo.asked == ["make auth", "remove auth", "make other"]
    scene.apply("second", where={"gloo": {}}, id="other")
    scene.apply("first", where={"gloo": {}}, id="third")
    scene.reconciler.look(first)
    assert scene.gloo.asked[3:] == ["make third"], "the second one comes there, or is there already"


def test_deleted_before_it_has_a_finalizer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch has not told yet that it is gone: nothing is made for it, and the next look forgets it."""
    key = scene.apply(where={"gloo": {}})
    for informer in scene.stores.all:
        monkeypatch.setattr(informer, "_changed", lambda *_: None)
    scene.api.delete(scene.path())
    assert scene.api.find(scene.path()) is None
    assert scene.reconciler.look(key).again == 0
    assert scene.gloo.asked == []
    assert scene.reconciler.look(key).result == "gone"
    assert scene.gloo.asked == ["pause auth", "forget auth"]
