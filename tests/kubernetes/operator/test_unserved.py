"""A kind that is not served for a while is no kind whose objects were deleted: nothing is taken away for it."""

from __future__ import annotations

import re
import time

import pytest

from tests.fixtures.agents import soon
from tests.fixtures.fronts import Front
from tests.fixtures.operators import Operator
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Pushed
from tests.kubernetes.operator.world import World
from wasme.deploy.cluster.connect import connect
from wasme.deploy.cluster.kinds import CRD, ENVOY_FILTER, FILTER_DEPLOYMENT, Kind

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def set_served(world: World, kind: Kind, served: bool) -> None:
    """Say in the CRD whether its versions are served, and wait until that is so."""
    path = f"{CRDS}/{kind.resource}"
    versions = world.api.get(path)["spec"]["versions"]
    change = [{"op": "replace", "path": f"/spec/versions/{n}/served", "value": served} for n in range(len(versions))]
    world.api.patch(path, change, "json")
    where = f"/apis/{kind.api_version}/{kind.plural}?limit=1"
    wait_until(lambda: (world.api.find(where) is not None) == served, 30, f"served is not {served}")


@pytest.fixture
def scene(world: World, image: Pushed) -> World:
    """The filters ``web`` and ``also`` on one workload."""
    world.nodes("unserved-a")
    world.workload("web", "unserved-a")
    for name in ("web", "also"):
        world.apply(name, image.name, labels={"app": "web"})
    return world


def has_said(operator: Operator, words: str, kind: Kind) -> bool:
    """Whether it says so of a kind, or comes to it: others, which nobody has defined, are not served all the time."""
    return soon(lambda: any(words in each["msg"] and each.get("kind") == kind.kind for each in operator.records), 40)


def is_missed(operator: Operator, kind: Kind) -> None:
    """Wait until the operator knows that a kind is not served, and a little more."""
    assert has_said(operator, "the kind is not served", kind), operator.told()
    time.sleep(3)


@pytest.mark.parametrize("kind", [FILTER_DEPLOYMENT, ENVOY_FILTER], ids=["filterdeployments", "envoyfilters"])
def test_a_kind_that_is_not_served_for_a_while(scene: World, kind: Kind) -> None:
    """``served: false`` in its CRD, and true again: nothing is written but what tells of it, and everything goes on."""
    operator = scene.operator()
    scene.wait("web", "Ready")
    scene.wait("also", "Ready")
    before, template, lines = scene.filters(), scene.template("web"), scene.cache()
    mark = scene.plane.mark()
    set_served(scene, kind, False)
    try:
        is_missed(operator, kind)
        assert soon(lambda: operator.asked("/readyz") == 200)
    finally:
        set_served(scene, kind, True)
    assert has_said(operator, "the kind is served again", kind), operator.told()
    time.sleep(2)
    told = re.compile(r"/status$|/events\b")  # that it cannot be is told
    mine = [each for each in scene.writes(mark) if "customresourcedefinitions" not in each and not told.search(each)]
    assert mine == []
    assert (scene.filters(), scene.template("web"), scene.cache()) == (before, template, lines)
    for name in ("web", "also"):
        scene.delete(name)
    assert scene.leftovers() == []


def test_a_filter_that_goes_while_envoy_filters_are_not_served(scene: World) -> None:
    """The workload keeps what the other filter needs; all of the one goes when they are served again."""
    operator = scene.operator()
    scene.wait("web", "Ready")
    scene.wait("also", "Ready")
    template, other = scene.template("web"), scene.carrier("web", "also")
    set_served(scene, ENVOY_FILTER, False)
    try:
        is_missed(operator, ENVOY_FILTER)
        scene.api.delete(scene.path("web"))
        time.sleep(3)
        assert scene.template("web") == template
    finally:
        set_served(scene, ENVOY_FILTER, True)
    wait_until(lambda: scene.get(scene.path("web")) is None, 60, lambda: f"it stays: {scene.status('web')}")
    assert list(scene.filters()) == [other]
    assert scene.template("web") == template


def test_an_operator_that_starts_while_filter_deployments_are_not_served(scene: World) -> None:
    """It does not take what they made for left over."""
    first = scene.operator()
    scene.wait("web", "Ready")
    scene.wait("also", "Ready")
    before, template = scene.filters(), scene.template("web")
    first.stop()
    set_served(scene, FILTER_DEPLOYMENT, False)
    try:
        is_missed(scene.operator(), FILTER_DEPLOYMENT)
        assert (scene.filters(), scene.template("web")) == (before, template)
    finally:
        set_served(scene, FILTER_DEPLOYMENT, True)
    scene.delete("web")
    assert list(scene.filters()) == [scene.carrier("web", "also")]


def test_a_page_of_a_proxy(scene: World, door: Front) -> None:
    """A 404 that is no word of an API server's says nothing about any object."""
    operator = scene.operator(kubeconfig=door.kubeconfig)
    scene.wait("web", "Ready")
    scene.wait("also", "Ready")
    before, template = scene.filters(), scene.template("web")
    for path in ("/filterdeployments", "/envoyfilters", "/customresourcedefinitions"):
        door.answer(path, 404, times=100, message="<html>no such page</html>")
    wait_until(lambda: operator.asked("/readyz") == 503, 60, "it does not know that it hears nothing")
    time.sleep(3)
    assert (scene.filters(), scene.template("web")) == (before, template)
    door.answered()
    scene.delete("web")
    assert list(scene.filters()) == [scene.carrier("web", "also")]


def test_a_definition_that_is_deleted(scene: World) -> None:
    """With it all FilterDeployments went, whose finalizers somebody took away: what they made goes."""
    operator = scene.operator()
    scene.wait("web", "Ready")
    scene.wait("also", "Ready")
    operator.kill()
    with connect(scene.plane.kubeconfig) as cluster:
        for name in ("web", "also"):
            cluster.patch(FILTER_DEPLOYMENT, name, scene.namespace, {"metadata": {"finalizers": None}})
        cluster.delete(CRD, FILTER_DEPLOYMENT.resource)
        wait_until(lambda: cluster.get(CRD, FILTER_DEPLOYMENT.resource) is None, 90, "the CRD stays")
    scene.operator()
    wait_until(lambda: not scene.filters(), 60, lambda: f"they stay: {list(scene.filters())}")
