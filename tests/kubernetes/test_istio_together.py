"""Filters and objects side by side: none is taken for another, whatever it is called."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.meshes import Mesh
from wasme.deploy.cluster import connect
from wasme.deploy.istio.apply import Step
from wasme.deploy.rollout.workloads import Workloads


@pytest.fixture
def image(docker_registry: DockerRegistry) -> meshes.Pushed:
    return meshes.push(docker_registry, layout="compat")


def test_ids_that_end_alike_are_two_filters(mesh: Mesh, image: meshes.Pushed) -> None:
    """`my-auth` and `auth` on one workload: deploying or undeploying one never touches the other."""
    mesh.workload("web")
    mesh.deploy(image.name, id="my-auth")
    first = mesh.filters()["web-my-auth"]
    mesh.deploy(image.name, id="auth")
    assert set(mesh.filters()) == {"web-my-auth", "web-auth"}
    mesh.undeploy(id="auth")
    assert mesh.filters() == {"web-my-auth": first}
    again = mesh.undeploy(id="auth", ok=False)
    assert "found nothing of a filter auth" in again.stderr
    assert mesh.filters() == {"web-my-auth": first}


def foreign(mesh: Mesh, **metadata: Any) -> dict[str, Any]:
    """Somebody else's EnvoyFilter, under the name that the filter's object would have."""
    patch = {"applyTo": "CLUSTER", "match": {"context": "ANY"}, "patch": {"operation": "ADD", "value": {"name": "x"}}}
    made: dict[str, Any] = mesh.api.create({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "metadata": {"name": "web-test", "namespace": mesh.namespace, "labels": {"team": "x"}, **metadata},
        "spec": {"workloadSelector": {"labels": {"app": "web"}}, "configPatches": [patch]},
    })  # fmt: skip
    return made


@pytest.mark.parametrize("words", [("--dry-run",), ("--dry-run=server",), (), ("--rollout=1",)])
def test_a_name_that_is_taken_is_refused_before_anything_is_written(
    mesh: Mesh, image: meshes.Pushed, words: tuple[str, ...]
) -> None:
    """What a deployment refuses its dry run refuses, in the same words; neither pods nor node cache are touched, and
    the other object stays as it is."""
    mesh.workload("web")
    theirs = foreign(mesh)
    mark = mesh.plane.mark()
    refused = mesh.deploy(image.name, *words, ok=False)
    assert f"EnvoyFilter {mesh.namespace}/web-test is somebody else's" in refused.stderr
    assert mesh.writes(mark) == []
    assert mesh.filters() == {"web-test": theirs}


@pytest.mark.parametrize("words", [("--dry-run",), ("--dry-run=server",), ()])
def test_an_object_that_is_being_deleted_is_refused_at_once(
    mesh: Mesh, image: meshes.Pushed, words: tuple[str, ...]
) -> None:
    """An object of ours that a finalizer keeps is told before pods or node cache are touched."""
    mesh.workload("web")
    mesh.deploy(image.name)
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test"
    mesh.api.patch(path, {"metadata": {"finalizers": ["example.com/stays"]}})
    mesh.api.delete(path)
    mark = mesh.plane.mark()
    assert "is being deleted" in mesh.deploy(image.name, "--config=new", *words, ok=False).stderr
    assert mesh.writes(mark) == []
    mesh.api.patch(path, {"metadata": {"finalizers": None}})


def turned_back(mesh: Mesh, step: Step) -> None:
    with connect(mesh.plane.kubeconfig) as cluster:
        Workloads(cluster, "test").turn_back(step)


def test_turning_back_takes_nothing_over(mesh: Mesh, image: meshes.Pushed) -> None:
    """An object that is somebody else's, or is as it was read, gets no write; nor one that somebody put in the place of
    ours meanwhile."""
    mesh.workload("web")
    theirs = foreign(mesh)
    turned_back(mesh, Step(carrier=theirs, live=theirs))
    assert mesh.filters() == {"web-test": theirs}
    mesh.api.delete(f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test")
    mesh.deploy(image.name)
    ours = mesh.filters()["web-test"]
    turned_back(mesh, Step(carrier=ours, live=ours))
    assert mesh.filters() == {"web-test": ours}
    mesh.api.delete(f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test")
    theirs = foreign(mesh)
    turned_back(mesh, Step(carrier=ours, live=ours))
    assert mesh.filters() == {"web-test": theirs}


@pytest.mark.parametrize("gone", [False, True])
def test_turning_back_owns_no_label_of_a_user(mesh: Mesh, image: meshes.Pushed, gone: bool) -> None:
    """A user's label on our object is there when a rollout was turned back, and stays when we apply without it; our
    own part is as before."""
    mesh.workload("web")
    mesh.deploy(image.name, "--config=one")
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test"
    mesh.api.patch(path, {"metadata": {"labels": {"team": "x"}}})
    before = mesh.filters()["web-test"]
    mesh.deploy(image.name, "--config=two")
    step = Step(carrier=mesh.filters()["web-test"], live=before)
    if gone:
        mesh.api.delete(path)
    turned_back(mesh, step)
    after = mesh.filters()["web-test"]
    for part in ("labels", "annotations"):
        assert after["metadata"][part] == before["metadata"][part]
    assert after["spec"] == before["spec"]
    applied = [each for each in after["metadata"]["managedFields"] if each["operation"] == "Apply"]
    assert [each["manager"] for each in applied] == ["wasme"]
    assert "f:team" not in applied[0]["fieldsV1"]["f:metadata"]["f:labels"]
    mesh.deploy(image.name, "--config=three")
    assert mesh.filters()["web-test"]["metadata"]["labels"]["team"] == "x"
