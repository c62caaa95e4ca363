"""Whose an object is: FilterDeployments, `wasme deploy`, the original, and Kubernetes' garbage collection."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Result
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Mesh, Pushed, original
from tests.kubernetes.operator.places import Place, objects
from tests.kubernetes.operator.world import World
from wasme.operator.control.roster import Roster

Run = Callable[..., Result]


def owners(world: World, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.filters()[name]["metadata"].get("ownerReferences") or []
    return found


def uid(world: World, name: str) -> str:
    found: str = world.get(world.path(name))["metadata"]["uid"]
    return found


@pytest.fixture
def by_hand(place: Place, kube_run: Run, image: Pushed) -> Callable[..., Result]:
    """``by_hand("deploy")`` and ``by_hand("undeploy")`` of the filter ``auth`` on all workloads of the namespace."""
    world = place.world

    def call(verb: str, *words: str, ok: bool = True) -> Result:
        where = ("--id=auth", "--namespace", world.namespace, "--cache-namespace", world.own, *words)
        if verb == "undeploy":
            return kube_run("undeploy", "istio", *where, ok=ok)
        flags = ("--as=envoyfilter", "--cache-timeout=0", "--ignore-version-check")
        return kube_run("deploy", "istio", image.name, *where, *flags, ok=ok)

    return call


def test_who_has_an_id_keeps_it(place: Place, image: Pushed) -> None:
    """An older object asks for the id of a newer one that has objects: these stay, and the id is the newer one's, until
    it lets go of them; then it is the older one's, which can take it."""
    world = place.world
    world.workload("web")
    roster = Roster(place.stores)
    world.apply("a-older", image.name, {"app": "web"}, suspend=True)
    time.sleep(1.1)  # ages are whole seconds
    world.apply("b-newer", image.name, {"app": "web"}, filter={"id": "auth"})
    place.settle("b-newer")
    world.apply("a-older", image.name, {"app": "web"}, filter={"id": "auth"})
    place.wanted("a-older")
    older, newer = place.key("a-older"), place.key("b-newer")
    assert roster.of_id(world.namespace, "auth") == [older, newer]
    assert roster.holder(world.namespace, "auth") == newer
    world.apply("b-newer", image.name, {"app": "web"}, filter={"id": "other"})
    place.wanted("b-newer")
    assert roster.holder(world.namespace, "auth") == newer
    place.remove("b-newer", "auth")
    assert roster.holder(world.namespace, "auth") == older
    assert objects(place.settle("a-older")) == {"web": "Succeeded"}
    assert [each["uid"] for each in owners(world, "web-auth")] == [uid(world, "a-older")]


def test_what_was_deployed_by_hand_is_adopted(place: Place, image: Pushed, by_hand: Callable[..., Result]) -> None:
    """A deployment of the same id becomes the FilterDeployment's: no second object, no pod made anew; where it is not
    meant, it goes."""
    world = place.world
    world.workload("web")
    world.workload("other")
    by_hand("deploy")
    before, generation = world.filters()["web-auth"], world.get(world.deployment("web"))["metadata"]["generation"]
    assert owners(world, "web-auth") == []
    world.apply("web", image.name, filter={"id": "auth"})
    report = place.settle("web")
    assert set(world.filters()) == {"web-auth"}
    assert [each["uid"] for each in owners(world, "web-auth")] == [uid(world, "web")]
    assert world.filters()["web-auth"]["metadata"]["uid"] == before["metadata"]["uid"]
    assert world.get(world.deployment("web"))["metadata"]["generation"] == generation
    assert "annotations" not in world.template("other")
    assert report.programmed


def test_by_hand_it_is_refused(place: Place, image: Pushed, by_hand: Callable[..., Result]) -> None:
    """`wasme deploy istio` of what a FilterDeployment has made changes nothing, and names the FilterDeployment;
    `wasme undeploy istio` does what it says, and tells that it comes back."""
    world = place.world
    world.workload("web")
    world.apply("web", image.name, filter={"id": "auth"})
    place.settle("web")
    version = world.filters()["web-auth"]["metadata"]["resourceVersion"]
    refused = by_hand("deploy", "--config=mine", ok=False)
    assert refused.exit_code == 1
    assert "belongs to FilterDeployment web" in refused.stderr
    assert f"kubectl edit filterdeployment web -n {world.namespace}" in refused.stderr
    assert world.filters()["web-auth"]["metadata"]["resourceVersion"] == version
    told = by_hand("undeploy")
    assert "the operator brings the filter back" in told.stderr
    assert f"{world.namespace}/web" in told.stderr
    assert world.filters() == {}
    assert place.settle("web").changed
    assert set(world.filters()) == {"web-auth"}


def test_undeploying_what_is_nobodys_tells_of_no_operator(place: Place, by_hand: Callable[..., Result]) -> None:
    """The warning is for what a FilterDeployment controls, and for nothing else."""
    place.world.workload("web")
    by_hand("deploy")
    assert "operator" not in by_hand("undeploy").stderr


def test_the_originals_are_taken_over(place: Place, image: Pushed, kube_run: Run) -> None:
    """[BUG] The original's EnvoyFilter, which its FilterDeployment owns and which no marks tell, becomes what today's
    Istio understands, with one owner; one for a workload that is not meant goes, as the original never did."""
    world = place.world
    world.workload("web")
    world.workload("other")
    world.apply("web", image.name, filter={"id": "auth"})
    mesh = Mesh(world.api, world.plane, kube_run, world.namespace, world.own, "istio-system")
    owner = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": "web", "uid": uid(world, "web"),
             "controller": True, "blockOwnerDeletion": True}  # fmt: skip
    for name in ("web", "other"):
        obj = original(mesh, name, "auth")
        obj["metadata"]["ownerReferences"] = [owner]
        world.api.create(obj)
    report = place.settle("web")
    assert set(world.filters()) == {"web-auth"}
    assert report.removed == () or set(report.removed) == {"EnvoyFilter/other-auth"}
    assert [each["uid"] for each in owners(world, "web-auth")] == [uid(world, "web")]
    found = world.filters()["web-auth"]
    assert found["metadata"]["annotations"]["wasme.io/digest"] == image.module
    assert "envoy.http_connection_manager" not in str(found["spec"])
    assert not place.look("web").changed


def test_another_filter_deployments_is_refused(place: Place, image: Pushed) -> None:
    """What another FilterDeployment that lives controls is neither changed nor, when this one goes, taken away."""
    world = place.world
    world.workload("web")
    for name in ("first", "second"):
        world.apply(name, image.name, {"app": "web"}, filter={"id": "auth", "config": name})
    place.settle("first")
    version = world.filters()["web-auth"]["metadata"]["resourceVersion"]
    report = place.settle("second", until=lambda report: bool(report.problem))
    assert report.problem is not None
    assert "belongs to FilterDeployment first" in report.problem.message
    place.mesh.remove(place.key("second"), "auth")
    assert world.filters()["web-auth"]["metadata"]["resourceVersion"] == version


def test_one_that_is_gone_owns_nothing(place: Place, image: Pushed) -> None:
    """An object whose FilterDeployment was deleted without its finalizer, and one of the same name made anew, is the
    new one's, in place."""
    world = place.world
    world.workload("web")
    world.apply("web", image.name, filter={"id": "auth"})
    place.settle("web")
    before = world.filters()["web-auth"]["metadata"]["uid"]
    old = uid(world, "web")
    world.api.delete(world.path("web"))
    world.apply("web", image.name, filter={"id": "auth"})
    assert uid(world, "web") != old
    place.settle("web")
    assert [each["uid"] for each in owners(world, "web-auth")] == [uid(world, "web")]
    assert world.filters()["web-auth"]["metadata"]["uid"] == before


def test_garbage_collection(place: Place, image: Pushed, controllers: subprocess.Popen[bytes]) -> None:
    """Kubernetes itself deletes what a FilterDeployment owned that went without its finalizer, and what is in order
    it leaves alone."""
    world = place.world
    world.workload("web")
    world.workload("api")
    for name in ("web", "api"):
        world.apply(name, image.name)
        place.settle(name)
    world.api.delete(world.path("web"))
    wait_until(lambda: world.carrier("web", "web") not in world.filters(), 90, "it is not collected")
    assert world.carrier("api", "api") in world.filters()


def test_other_namespaces_are_left_alone(place: Place, image: Pushed) -> None:
    """The same id in another namespace is another filter."""
    world = place.world
    world.workload("web")
    world.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{world.namespace}-b"}})
    there = f"{world.namespace}-b"
    world.workload("web", namespace=there)
    world.apply("web", image.name, filter={"id": "auth"})
    world.apply("web", image.name, filter={"id": "auth"}, namespace=there)
    place.settle("web")
    assert world.filters(namespace=there) == {}
    assert objects(place.look("web")) == {"web": "Succeeded"}
    other = place.wanted("web", there)
    place.mesh.reconcile(other, place.image(image.name))
    place.mesh.reconcile(other, place.image(image.name))
    wait_until(lambda: place.mesh.reconcile(other, place.image(image.name)).programmed, 30, "not done")
    place.remove("web", "auth")
    assert world.filters() == {}
    assert set(world.filters(namespace=there)) == {"web-auth"}
