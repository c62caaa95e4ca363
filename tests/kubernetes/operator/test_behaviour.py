"""What the operator does with FilterDeployments and workloads that change while it looks, and while it does not."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import USER_MOUNT, USER_VOLUME, Pushed
from tests.kubernetes.operator.world import FINALIZER, World, configuration

Object = dict[str, Any]


def test_an_old_object_does_what_it_said(world: World, image: Pushed) -> None:
    """The user's manifest, as the original took it, gives its workload the two annotations and one EnvoyFilter."""
    world.workload("productpage")
    world.workload("reviews")
    world.api.create(
        {
            "apiVersion": "wasme.io/v1", "kind": "FilterDeployment",
            "metadata": {"labels": {"app": "wasme"}, "name": "add-header", "namespace": world.namespace},
            "spec": {
                "deployment": {"istio": {"kind": "Deployment", "labels": {"app": "productpage"}}},
                "filter": {
                    "config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "world"},
                    "image": image.name,
                },
            },
        }
    )  # fmt: skip
    operator = world.operator()
    world.wait("add-header", "Accepted", "ImageResolved", "Programmed", "Ready", "Degraded=False")
    (name, carrier), *others = world.filters().items()
    assert (name, others) == (world.carrier("productpage", "add-header"), [])
    assert "world" in configuration(carrier)
    assert image.module.removeprefix("sha256:") in configuration(carrier)
    (owner,) = carrier["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("FilterDeployment", "add-header", True)
    marks = world.template("productpage")["annotations"]
    assert "/var/local/lib/wasme-cache" in marks[USER_VOLUME]
    assert USER_VOLUME not in json.dumps(world.template("reviews"))
    status = world.status("add-header")
    assert status["observedGeneration"] == 1  # [BUG] the original's was the text "1"
    assert status["workloads"] == {"productpage": {"state": "Succeeded"}}
    assert status["image"]["manifest"] == image.manifest
    assert operator.running


def test_workloads_that_appear_later_get_the_filter(world: World, image: Pushed) -> None:
    """[BUG] The original looked at workloads only when the FilterDeployment changed."""
    world.apply("auth", image.name, {"tier": "web"})
    world.operator()
    world.wait("auth", "Accepted", "ImageResolved")
    assert not world.filters()
    world.workload("late", labels={"tier": "web"})
    wait_until(lambda: world.carrier("late", "auth") in world.filters(), 20, "the late workload has no filter")
    world.wait("auth", "Ready")
    assert USER_VOLUME in world.template("late")["annotations"]
    assert set(world.status("auth")["workloads"]) == {"late"}


def test_workloads_that_no_longer_match_lose_it(world: World, image: Pushed) -> None:
    """By another label of the workload, and by another selector of the FilterDeployment; the others keep theirs."""
    for name in ("one", "two", "three"):
        world.workload(name, labels={"tier": "web", "app": name})
    before = world.template("one")
    world.apply("auth", image.name, {"tier": "web"})
    world.operator()
    world.wait("auth", "Ready")
    assert len(world.filters()) == 3
    world.api.patch(world.deployment("one"), {"metadata": {"labels": {"tier": "db"}}})
    wait_until(lambda: world.carrier("one", "auth") not in world.filters(), 20, "it keeps the filter")
    wait_until(lambda: world.template("one") == before, 20, lambda: f"marks stay: {world.template('one')}")
    world.apply("auth", image.name, {"app": "three"})
    world.wait("auth", "Ready")
    wait_until(lambda: set(world.filters()) == {world.carrier("three", "auth")}, 20, "two keeps the filter")
    wait_until(lambda: "annotations" not in world.template("two"), 20, lambda: f"marks stay: {world.template('two')}")
    wait_until(lambda: set(world.status("auth")["workloads"]) == {"three"}, 20, lambda: f"{world.status('auth')}")


def test_a_workload_that_goes_takes_its_filter_with_it(world: World, image: Pushed) -> None:
    """The EnvoyFilter of a workload that was deleted is nobody's: it goes, and its line in the status."""
    for name in ("one", "two"):
        world.workload(name, labels={"tier": "web"})
    world.apply("auth", image.name, {"tier": "web"})
    world.operator()
    world.wait("auth", "Ready")
    world.api.delete(world.deployment("one"))
    wait_until(lambda: set(world.filters()) == {world.carrier("two", "auth")}, 20, "it stays")
    wait_until(lambda: set(world.status("auth")["workloads"]) == {"two"}, 20, "the status still names it")


def test_drift_is_mended(world: World, image: Pushed) -> None:
    """An EnvoyFilter that somebody edits or deletes, and a template's annotations: as they were, within seconds."""
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    name = world.carrier("web", "web")
    carrier, template = world.filters()[name], world.template("web")
    spec = copy.deepcopy(carrier["spec"])
    spec["configPatches"][0]["match"]["context"] = "SIDECAR_OUTBOUND"
    world.api.patch(world.envoy_filter(name), {"spec": spec})
    wait_until(lambda: world.filters()[name]["spec"] == carrier["spec"], 20, "the edited EnvoyFilter stays")
    world.api.delete(world.envoy_filter(name))
    wait_until(lambda: name in world.filters(), 20, "the deleted EnvoyFilter stays away")
    assert world.filters()[name]["spec"] == carrier["spec"]
    gone: Object = {"annotations": {USER_VOLUME: None, USER_MOUNT: None}}
    world.api.patch(world.deployment("web"), {"spec": {"template": {"metadata": gone}}})
    wait_until(lambda: world.template("web") == template, 20, lambda: f"{world.template('web')}")
    world.wait("web", "Ready")


def test_the_labels_of_a_template_change(world: World, image: Pushed) -> None:
    """The EnvoyFilter selects the pods by their labels: with other labels it is another selector, without a gap."""
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    change = {"spec": {"template": {"metadata": {"labels": {"version": "v2"}}}}}
    world.api.patch(world.deployment("web"), change)
    name = world.carrier("web", "web")
    wait_until(
        lambda: world.filters()[name]["spec"]["workloadSelector"]["labels"].get("version") == "v2", 20,
        "the selector stays the old one",
    )  # fmt: skip


def test_deletion_cleans_everything(world: World, image: Pushed) -> None:
    """[BUG] The original left all annotations. Carriers, marks and lines of the cache are gone with the object."""
    for name in ("one", "two"):
        world.workload(name, labels={"tier": "web"}, annotations={USER_VOLUME: '[{"name":"own","emptyDir":{}}]'})
    before = world.template("one")
    world.apply("auth", image.name, {"tier": "web"})
    world.operator()
    world.wait("auth", "Ready")
    assert FINALIZER in world.get(world.path("auth"))["metadata"]["finalizers"]
    assert world.cache()["filters"]
    world.delete("auth")
    assert world.template("one") == before
    assert world.template("two")["annotations"] == before["annotations"]
    assert not world.filters()
    assert not world.cache()


def test_deletion_while_the_operator_was_down(world: World, image: Pushed) -> None:
    """The finalizer keeps the object until an operator is there again; it cleans by id, not by what it remembers."""
    for name in ("one", "two"):
        world.workload(name, labels={"tier": "web"})
    world.apply("auth", image.name, {"tier": "web"})
    operator = world.operator()
    world.wait("auth", "Ready")
    operator.kill()
    world.api.patch(world.deployment("one"), {"metadata": {"labels": {"tier": "none"}}})
    world.api.delete(world.path("auth"))
    assert world.get(world.path("auth"))["metadata"]["deletionTimestamp"]
    assert len(world.filters()) == 2
    operator.start()
    wait_until(lambda: world.get(world.path("auth")) is None, 60, "it does not go")
    assert world.leftovers() == []


def test_changes_while_the_operator_was_down(world: World, image: Pushed) -> None:
    """It looks at what is: another selector, a new workload and a deleted one, all from before its start."""
    for name in ("one", "two", "three"):
        world.workload(name, labels={"tier": "web", "app": name})
    world.apply("auth", image.name, {"tier": "web"})
    operator = world.operator()
    world.wait("auth", "Ready")
    operator.stop()
    world.api.delete(world.deployment("three"))
    world.api.patch(world.deployment("two"), {"metadata": {"labels": {"tier": "db"}}})
    world.workload("four", labels={"tier": "web"})
    operator.start()
    wanted = {world.carrier(name, "auth") for name in ("one", "four")}
    wait_until(lambda: set(world.filters()) == wanted, 40, lambda: f"{list(world.filters())}")
    world.wait("auth", "Ready")


def test_suspended(world: World, image: Pushed) -> None:
    """Nothing is changed while spec.suspend is true, not even drift; deletion cleans all the same."""
    world.workload("web")
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    world.apply("web", image.name, filter={"config": "other"}, suspend=True)
    wait_until(lambda: world.condition("web", "Ready").get("observedGeneration") == 2, 30, "the change is not seen")
    world.workload("later", labels={"app": "web"})
    time.sleep(1.5)
    (carrier,) = world.filters().values()
    assert "other" not in configuration(carrier)
    world.delete("web")
    assert world.leftovers() == []


def test_other_namespaces_are_left_alone(world: World, image: Pushed) -> None:
    """A FilterDeployment means workloads of its own namespace, whatever matches elsewhere."""
    world.workload("web")
    other = world.own
    world.workload("web", namespace=other)
    world.apply("web", image.name)
    world.operator()
    world.wait("web", "Ready")
    assert not world.filters(namespace=other)
    found = world.get(f"/apis/apps/v1/namespaces/{other}/deployments/web")
    assert "annotations" not in found["spec"]["template"]["metadata"]
    assert [each["name"] for each in world.status("web")["targets"]] == ["web"]
    assert [each["namespace"] for each in world.status("web")["targets"]] == [world.namespace]
