"""Deploying again, and what others did in between: nothing that is right is written, nothing of others is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.meshes import MOUNT, USER_MOUNT, USER_VOLUME, VOLUME, Mesh

BACKUP = "wasme-backup."


def template_writes(mesh: Mesh, mark: int) -> list[str]:
    return [each for each in mesh.writes(mark) if "/deployments/" in each]


@pytest.mark.parametrize("carrier", ["envoyfilter", "wasmplugin", "trafficextension"])
def test_unchanged_sends_no_mutating_request(mesh: Mesh, docker_registry: DockerRegistry, carrier: str) -> None:
    """The same command again writes nothing at all (audit log), and asks nobody whether it might."""
    image = meshes.push(docker_registry, layout="compat")
    mesh.workload("web")
    words = (image.name, "--as", carrier, "--config", '{"a":1}', "--fail-policy", "open")
    mesh.deploy(*words)
    mark = mesh.plane.mark()
    again = mesh.deploy(*words, "--output", "json").json
    assert [each["action"] for each in again["changes"]] == ["unchanged"]
    assert mesh.writes(mark) == []
    assert not any("accessreviews" in event["requestURI"] for event in mesh.plane.audit(mark))


@pytest.mark.parametrize("kind", ["EnvoyFilter", "WasmPlugin", "TrafficExtension"])
def test_what_is_told_of_the_object_is_true(mesh: Mesh, docker_registry: DockerRegistry, kind: str) -> None:
    """Of the kinds that the original had not, it is told whether the object was created, updated, or left; of an
    EnvoyFilter the original's line stays.
    """
    image = meshes.push(docker_registry, layout="compat")
    mesh.workload("web")
    words = (image.name, "--as", kind.lower(), "--config")
    told = [mesh.deploy(*words, config).stderr for config in ('{"v":1}', '{"v":1}', '{"v":2}')]
    lines = [f"created Istio {kind} resource", f"Istio {kind} resource is as it should be", f"updated Istio {kind} "]
    if kind == "EnvoyFilter":
        lines = lines[:1] * 3
    for text, line in zip(told, lines, strict=True):
        assert line in text
        assert text.count(f"Istio {kind} resource") == 1


def test_another_image_configuration_or_filter_restarts_nothing(
    mesh: Mesh, image: meshes.Pushed, docker_registry: DockerRegistry
) -> None:
    """[BUG of the original: each deployment restarted the pods] Only the first one writes to the workload; a new
    image, a new configuration and a second filter write their EnvoyFilters, and the file's name follows the image."""
    mesh.workload("web")
    mesh.deploy(image.name)
    mark = mesh.plane.mark()
    newer = meshes.push(docker_registry, seed=7)
    mesh.deploy(newer.name, "--config", "other")
    mesh.deploy(image.name, id="second")
    assert template_writes(mesh, mark) == []
    text = json.dumps(mesh.filters()["web-test"]["spec"])
    assert newer.module.removeprefix("sha256:") in text
    assert "other" in text
    assert set(mesh.filters()) == {"web-test", "web-second"}
    wanted = {f"{mesh.namespace}/test {newer.name} {newer.manifest} {newer.module}",
              f"{mesh.namespace}/second {image.name} {image.manifest} {image.module}"}  # fmt: skip
    assert set(mesh.cache_data()["filters"].split("\n")) == wanted


def test_users_annotations_are_merged_backed_up_once_and_come_back(mesh: Mesh, image: meshes.Pushed) -> None:
    """Criteria 9 and 10, and [BUG: the backup was overwritten]: the user's entry comes first, is backed up, and after
    three deployments and an undeployment stands there byte by byte as he wrote it."""
    own = {
        USER_VOLUME: '[{"name":"tmp-dir",  "hostPath":{"path":"/tmp"}}]',
        USER_MOUNT: '[{"mountPath":"/tmp", "name":"tmp-dir"}]',
    }
    mesh.workload("web", annotations={**own, "other": "stays"})
    for config in ("a", "b", "c"):
        mesh.deploy(image.name, "--config", config, "--cache-gate=false")
    after = mesh.annotations("web")
    assert [each["name"] for each in json.loads(after[USER_VOLUME])] == ["tmp-dir", "cache-dir"]
    assert {key: after[BACKUP + key] for key in own} == own
    mesh.undeploy()
    assert mesh.annotations("web") == {**own, "other": "stays"}


def test_right_annotations_are_left_alone(mesh: Mesh, image: meshes.Pushed) -> None:
    """Criterion 9: annotations that hold the entries already stay as they are, and get no backup."""
    mesh.workload("web", annotations={USER_VOLUME: VOLUME, USER_MOUNT: MOUNT})
    mesh.deploy(image.name, "--cache-gate=false")
    assert mesh.annotations("web") == {USER_VOLUME: VOLUME, USER_MOUNT: MOUNT}


def test_foreign_marks_stay_and_drift_is_mended(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: a full PUT lost them] Labels, annotations and spec fields of others survive; ours come back to their
    values, also where somebody put something into them."""
    mesh.workload("web")
    mesh.deploy(image.name)
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test"
    right = mesh.api.get(path)
    foreign: dict[str, Any] = {
        "metadata": {"labels": {"team": "a", "app.kubernetes.io/managed-by": "hand"}, "annotations": {"note": "x"}},
        "spec": {"priority": 5, "workloadSelector": {"labels": {"extra": "label"}}, "configPatches": []},
    }
    mesh.api.patch(path, foreign)
    mesh.deploy(image.name)
    found = mesh.api.get(path)
    assert found["metadata"]["labels"] == {**right["metadata"]["labels"], "team": "a"}
    assert found["metadata"]["annotations"] == {**right["metadata"]["annotations"], "note": "x"}
    assert found["spec"] == {**right["spec"], "priority": 5}
    mark = mesh.plane.mark()
    mesh.deploy(image.name)
    assert mesh.writes(mark) == []


def test_an_object_of_somebody_elses_is_not_taken(mesh: Mesh, image: meshes.Pushed) -> None:
    """An EnvoyFilter that only has the name is refused by name, and stays as it is; undeploying leaves it, too."""
    mesh.workload("web")
    theirs = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
              "metadata": {"name": "web-test", "namespace": mesh.namespace},
              "spec": {"workloadSelector": {"labels": {"app": "web"}}, "configPatches": []}}  # fmt: skip
    mesh.api.create(theirs)
    before = mesh.filters()
    refused = mesh.deploy(image.name, ok=False)
    assert refused.exit_code == 1
    assert f"EnvoyFilter {mesh.namespace}/web-test is somebody else's" in refused.stderr
    assert mesh.filters() == before
    mesh.undeploy(ok=False)
    assert mesh.filters() == before


def test_a_deleted_part_comes_back(mesh: Mesh, image: meshes.Pushed) -> None:
    """Whichever half somebody took away, the next deployment makes it again."""
    mesh.workload("web")
    mesh.deploy(image.name)
    whole, template = mesh.filters()["web-test"]["spec"], mesh.template("web")
    mesh.api.delete(f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test")
    mesh.deploy(image.name)
    assert mesh.filters()["web-test"]["spec"] == whole
    path = f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/web"
    gone = {"labels": {"wasme.io/cache": None}, "annotations": {USER_VOLUME: None, USER_MOUNT: None}}
    mesh.api.patch(path, {"spec": {"template": {"metadata": gone}}})
    mesh.deploy(image.name)
    assert mesh.template("web") == template


def test_what_the_original_deployed_is_taken_over(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: its names match nothing since Istio 1.19] Its EnvoyFilter becomes ours, with the names of today. It goes on
    selecting the pods that run, which have the volume and lack our label: no request passes without the filter while
    they are replaced. Then nothing is left to write, and its broken backup does not come back."""
    backup = {BACKUP + USER_VOLUME: VOLUME, BACKUP + USER_MOUNT: MOUNT}
    mesh.workload("web", annotations={USER_VOLUME: VOLUME, USER_MOUNT: MOUNT, **backup})
    mesh.api.create(meshes.original(mesh, "web"))
    mesh.deploy(image.name)
    found = mesh.filters()["web-test"]
    assert found["metadata"]["labels"]["wasme.io/filter"] == "test"
    assert found["spec"]["workloadSelector"]["labels"] == {"app": "web"}
    assert "envoy.filters.http.router" in json.dumps(found["spec"])
    mark = mesh.plane.mark()
    mesh.deploy(image.name)
    assert mesh.writes(mark) == []
    mesh.undeploy()
    assert (mesh.filters(), mesh.template("web")) == ({}, {"labels": {"app": "web"}})


def test_both_halves_in_either_order(mesh: Mesh, image: meshes.Pushed) -> None:
    """Of the original's, an EnvoyFilter whose template has no volume gets our label in its selector: no pod that runs
    now has the file."""
    mesh.workload("web")
    mesh.api.create(meshes.original(mesh, "web"))
    mesh.deploy(image.name)
    labels = mesh.filters()["web-test"]["spec"]["workloadSelector"]["labels"]
    assert labels == {"app": "web", "wasme.io/cache": "wasme-cache"}


def test_filters_of_one_workload_share_a_cache(mesh: Mesh, image: meshes.Pushed) -> None:
    """Another --cache-name for a second filter would take the first one from the pods: refused, and what to give."""
    mesh.workload("web")
    mesh.deploy(image.name, id="one")
    before = mesh.template("web")
    told = mesh.deploy(image.name, "--cache-name", "other", id="two", ok=False)
    assert "has filters of the node cache wasme-cache (web-one)" in told.stderr
    assert "--cache-name wasme-cache" in told.stderr
    assert mesh.template("web") == before
    assert set(mesh.filters()) == {"web-one"}


def test_what_a_controller_owns_is_left_to_it(mesh: Mesh, image: meshes.Pushed) -> None:
    """An EnvoyFilter of an operator is not fought over: its owner is named."""
    mesh.workload("web")
    theirs = meshes.original(mesh, "web")
    theirs["metadata"]["ownerReferences"] = [
        {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "name": "mine", "uid": "1", "controller": True}
    ]
    mesh.api.create(theirs)
    before = mesh.filters()
    told = mesh.deploy(image.name, ok=False)
    assert "belongs to FilterDeployment mine" in told.stderr
    assert mesh.filters() == before
    assert mesh.annotations("web") == {}


def test_two_kinds_of_workload_by_one_name(mesh: Mesh, image: meshes.Pushed) -> None:
    """A Deployment and a StatefulSet of one name would share their filter's name: the second one is refused; when the
    Deployment is gone, the StatefulSet takes its place."""
    mesh.workload("web")
    mesh.workload("web", kind="StatefulSet")
    mesh.deploy(image.name)
    before = mesh.filters()
    told = mesh.deploy(image.name, "-t", "statefulset", ok=False)
    assert "carries the filter for Deployment/web" in told.stderr
    assert mesh.filters() == before
    assert USER_VOLUME not in (mesh.template("web", "statefulsets").get("annotations") or {})
    mesh.api.delete(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/web")
    mesh.deploy(image.name, "-t", "statefulset")
    assert mesh.filters()["web-test"]["metadata"]["annotations"]["wasme.io/workload"] == "StatefulSet/web"
