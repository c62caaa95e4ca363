"""``undeploy istio``: exactly what deploying made goes, from whatever state, and nothing of anybody else's."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster.programs import kubectl
from tests.kubernetes.meshes import MOUNT, USER_MOUNT, USER_VOLUME, VOLUME, Mesh, lines


def test_the_other_filter_keeps_its_volume(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: it removed the volume that other filters on the pod need] The first of two filters goes alone; with the
    second one the volume goes."""
    mesh.workload("web")
    before = mesh.template("web")
    mesh.deploy(image.name, id="one")
    mesh.deploy(image.name, id="two")
    marked = mesh.template("web")
    first = mesh.undeploy(id="one", ok=True)
    assert "removing sidecar annotations" not in first.stderr
    assert set(mesh.filters()) == {"web-two"}
    assert mesh.template("web") == marked
    assert mesh.cache_data()["filters"].startswith(f"{mesh.namespace}/two ")
    mesh.undeploy(id="two")
    assert (mesh.filters(), mesh.template("web")) == ({}, before)
    assert mesh.cache_data().get("filters", "") == mesh.cache_data().get("images", "") == ""


def test_untouched_workloads_stay_untouched(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: it stripped annotations of workloads that never had the filter] A user's own volumes on another workload
    stay, and it gets no write; [BUG: it stopped there with NotFound] the workloads after it are done."""
    own = {USER_VOLUME: '[{"name":"mine","hostPath":{"path":"/x"}}]', USER_MOUNT: '[{"name":"mine","mountPath":"/x"}]'}
    mesh.workload("a-own", annotations=own)
    for name in ("b", "c"):
        mesh.workload(name)
        mesh.deploy(image.name, "--name", name)
    mark = mesh.plane.mark()
    mesh.undeploy()
    assert mesh.annotations("a-own") == own
    assert not any("/a-own" in each for each in mesh.writes(mark))
    assert mesh.filters() == {}
    assert mesh.annotations("b") == mesh.annotations("c") == {}


def test_a_filter_whose_workload_is_gone_goes(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: filters of deleted or renamed workloads could never be removed] They are found by their own marks, by
    --name and by --labels too."""
    for name in ("one", "two", "three"):
        mesh.workload(name)
    mesh.deploy(image.name)
    for name in ("one", "two", "three"):
        mesh.api.delete(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/{name}")
    mesh.undeploy("--name", "one")
    assert set(mesh.filters()) == {"two-test", "three-test"}
    mesh.undeploy("--labels", "app=two")
    assert set(mesh.filters()) == {"three-test"}
    mesh.undeploy()
    assert mesh.filters() == {}
    assert mesh.cache_data()["filters"] == ""


def test_each_half_is_found(mesh: Mesh, image: meshes.Pushed) -> None:
    """A template without its filter, a filter without its template, a line of the cache alone: each goes."""
    for name in ("no-filter", "no-template"):
        mesh.workload(name)
    mesh.deploy(image.name)
    mesh.api.delete(f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/no-filter-test")
    gone = {"labels": {"wasme.io/cache": None}, "annotations": {USER_VOLUME: None, USER_MOUNT: None}}
    mesh.api.patch(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/no-template",
                   {"spec": {"template": {"metadata": gone}}})  # fmt: skip
    data = mesh.cache_data()
    mesh.undeploy()
    assert mesh.filters() == {}
    assert mesh.template("no-filter") == {"labels": {"app": "no-filter"}}
    path = f"/api/v1/namespaces/{mesh.cache}/configmaps/wasme-cache"
    mesh.api.patch(path, {"data": data})
    mesh.undeploy()
    assert mesh.cache_data()["filters"] == ""


def test_what_the_original_left_goes(mesh: Mesh) -> None:
    """Its EnvoyFilter has no mark and is known by its shape; its annotations go, and where it had overwritten the
    user's backup with its own volume [BUG], that does not come back."""
    backup = {f"wasme-backup.{USER_VOLUME}": VOLUME, f"wasme-backup.{USER_MOUNT}": MOUNT}
    mesh.workload("plain", annotations={USER_VOLUME: VOLUME, USER_MOUNT: MOUNT})
    mesh.workload("twice", annotations={USER_VOLUME: VOLUME, USER_MOUNT: MOUNT, **backup})
    for name in ("plain", "twice", "deleted"):
        mesh.api.create(meshes.original(mesh, name))
    mesh.api.create(meshes.original(mesh, "plain", "other"))
    mesh.undeploy()
    assert set(mesh.filters()) == {"plain-other"}
    assert mesh.annotations("plain") == {USER_VOLUME: VOLUME, USER_MOUNT: MOUNT}, "the other filter needs it"
    assert mesh.annotations("twice") == {}
    mesh.undeploy(id="other")
    assert mesh.annotations("plain") == {}


def test_a_volume_without_mark_or_filter_goes_where_it_is_asked_for(mesh: Mesh) -> None:
    """What the original left on a template without its filter could be a user's own: it goes by --name, and is told
    otherwise."""
    mesh.workload("web", annotations={USER_VOLUME: VOLUME, USER_MOUNT: MOUNT})
    told = mesh.undeploy(ok=False)
    assert told.exit_code == 1
    assert "--name takes it away" in told.stderr
    assert mesh.annotations("web") == {USER_VOLUME: VOLUME, USER_MOUNT: MOUNT}
    mesh.undeploy("--name", "web")
    assert mesh.annotations("web") == {}


def test_filters_of_other_kinds_of_workload_stay(mesh: Mesh, image: meshes.Pushed) -> None:
    """--workload-type holds: the StatefulSet's filter of the same id stays, the original's of a DaemonSet too, and
    whoever looks for the wrong kind is told where it is."""
    mesh.workload("web")
    mesh.workload("db", kind="StatefulSet")
    mesh.workload("node", kind="DaemonSet")
    mesh.deploy(image.name)
    mesh.deploy(image.name, "-t", "StatefulSet")
    mesh.api.create(meshes.original(mesh, "node"))
    mesh.undeploy()
    assert set(mesh.filters()) == {"db-test", "node-test"}
    assert mesh.cache_data()["filters"].startswith(f"{mesh.namespace}/test "), "the StatefulSet still needs its file"
    nothing = mesh.undeploy(ok=False)
    assert "--workload-type" in nothing.stderr
    mesh.undeploy("-t", "statefulset")
    mesh.undeploy("-t", "daemonset")
    assert mesh.filters() == {}


def test_nothing_at_all_is_an_error_that_says_what_there_is(mesh: Mesh, image: meshes.Pushed) -> None:
    """An id that is nowhere: exit code 1, the ids that are there are named, and nothing is written."""
    mesh.workload("web")
    mesh.deploy(image.name, id="auth")
    mark = mesh.plane.mark()
    told = mesh.undeploy(id="auht", ok=False)
    assert told.exit_code == 1
    assert f"found nothing of a filter auht on Deployment in the namespace {mesh.namespace}" in told.stderr
    assert "filters there: auth" in told.stderr
    assert mesh.writes(mark) == []
    elsewhere = mesh.run(
        "undeploy", "istio", "--id=auth", "--namespace", mesh.cache, "--cache-namespace", mesh.cache, ok=False
    )
    assert f"it is in the namespaces {mesh.namespace}" in elsewhere.stderr


@pytest.mark.parametrize("carrier", ["wasmplugin", "trafficextension"])
def test_other_carriers_go_too(mesh: Mesh, docker_registry: DockerRegistry, carrier: str) -> None:
    """A filter that is a WasmPlugin or a TrafficExtension is found by the same id; templates are never written."""
    image = meshes.push(docker_registry, layout="compat")
    mesh.workload("web")
    mesh.deploy(image.name, "--as", carrier)
    assert set(mesh.filters(f"{carrier}s")) == {"web-test"}
    told = mesh.undeploy("--log-format=text")
    assert "removing sidecar annotations" not in told.stderr
    assert any("deleted Istio" in each for each in lines(told.stderr))
    assert mesh.filters(f"{carrier}s") == {}


@pytest.mark.parametrize("flag", ["--dry-run", "--dry-run=server"])
@pytest.mark.parametrize("output", ["text", "yaml", "json"])
def test_a_dry_run_prints_the_objects_as_they_would_be(
    mesh: Mesh, image: meshes.Pushed, flag: str, output: str
) -> None:
    """As deploy prints them, fit to commit: committed in their place they make of the workload what undeploying makes
    of it. What would be deleted is told on stderr, and in the output where kubectl passes over it. Nothing is stored:
    the client's sends no write, the server's asks the server for each."""
    own = {USER_VOLUME: '[{"name":"mine","hostPath":{"path":"/x"}}]'}
    mesh.workload("web", annotations=own)
    mesh.workload("bare")
    untouched = (mesh.template("web"), mesh.template("bare"))
    committed = list(yaml.safe_load_all(mesh.deploy(image.name, "--dry-run").stdout))
    mesh.deploy(image.name)
    before = (mesh.filters(), mesh.template("web"), mesh.cache_data())
    mark = mesh.plane.mark()
    told = mesh.undeploy(flag, "--output", output)
    objects = told.json["items"] if output == "json" else list(yaml.safe_load_all(told.stdout))
    assert [(each["kind"], each["metadata"]["name"]) for each in objects] == [
        ("Deployment", "bare"),
        ("Deployment", "web"),
    ]
    names = [f"{name}-test" for name in ("bare", "web")]
    if output == "json":
        assert [each["metadata"] for each in told.json["deleted"]] == [
            {"name": name, "namespace": mesh.namespace} for name in names
        ]
    else:
        first = told.stdout.splitlines()[:2]
        assert first == [f"# deleted: EnvoyFilter {mesh.namespace}/{name}" for name in names]
    for name in names:
        assert "would delete EnvoyFilter" in told.stderr
        assert f"name={mesh.namespace}/{name}" in told.stderr
    assert (mesh.filters(), mesh.template("web"), mesh.cache_data()) == before
    asked = {each.partition(" ")[0] for each in mesh.writes(mark)}
    assert asked == ({"patch", "delete"} if flag == "--dry-run=server" else set())
    for each in objects:
        assert each["spec"]["template"]["metadata"]["labels"] == {}
    # Somebody who keeps it in a repository has applied deploy's output, and applies this in its place.
    mesh.undeploy()
    for each in (*committed, *objects):
        mesh.api.apply(each, manager="wasme")
    assert (mesh.template("web"), mesh.template("bare")) == untouched


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_kubectl_takes_what_a_dry_run_prints(mesh: Mesh, image: meshes.Pushed, output: str) -> None:
    """It applies the workloads as they would be, and passes over what would be deleted; but kubectl's own
    validation wants whole Deployments."""
    mesh.workload("web")
    mesh.deploy(image.name)
    told = mesh.undeploy("--dry-run", "--output", output).stdout
    words = [kubectl(), "--kubeconfig", mesh.plane.kubeconfig, "apply", "--server-side", "--force-conflicts"]
    words += ["--field-manager=wasme", "--validate=false", "--output=name", "--filename=-"]
    done = subprocess.run(words, input=told, text=True, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["deployment.apps/web"]
    assert mesh.template("web") == {"labels": {"app": "web"}}
    assert set(mesh.filters()) == {"web-test"}


@pytest.mark.parametrize("flag", ["--dry-run", "--dry-run=server"])
def test_a_dry_run_of_nothing_is_an_error(mesh: Mesh, image: meshes.Pushed, flag: str) -> None:
    """[issue: exit code 0 from the client's dry run] It fails as the command itself would; and where only a line of
    the node cache is left, both do not."""
    mesh.workload("web")
    mesh.deploy(image.name)
    told = mesh.undeploy(flag, id="nowhere", ok=False)
    assert told.exit_code == 1
    assert f"found nothing of a filter nowhere on Deployment in the namespace {mesh.namespace}" in told.stderr
    data = mesh.cache_data()
    mesh.undeploy()
    mesh.api.patch(f"/api/v1/namespaces/{mesh.cache}/configmaps/wasme-cache", {"data": data})
    assert mesh.undeploy(flag, "--output", "json").json["items"] == []
    mesh.undeploy()
    mesh.undeploy(flag, ok=False)


def test_a_dry_run_names_the_secret_that_would_go(mesh: Mesh, login_registry: DockerRegistry, home: Path) -> None:
    """The pull secret that was made for the filter is among what would be deleted."""
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    (home / ".wasme").mkdir(exist_ok=True)
    (home / ".wasme" / "credentials.json").write_text(json.dumps({"auths": {login_registry.host: {"auth": auth}}}))
    image = meshes.push(login_registry, layout="compat")
    mesh.workload("web")
    mesh.deploy(image.name, "--as", "wasmplugin", "--share-credentials")
    told = mesh.undeploy("--dry-run", "--output", "json").json
    assert told["items"] == []
    assert [each["kind"] for each in told["deleted"]] == ["WasmPlugin", "Secret"]


def test_every_flag_of_the_original_is_taken(mesh: Mesh, image: meshes.Pushed) -> None:
    """Scripts of the original's users run: all flags of its help are accepted, the meaningless ones too."""
    mesh.workload("web")
    mesh.deploy(image.name)
    mesh.undeploy(
        *("--cache-timeout=1m0s", "--config=x", "--ignore-version-check", "--istiod-name=istiod", "-l", "app=web"),
        *("--patch-context=inbound", "--root-id=x", "-t", "deployment", "--dry-run=false"),
    )
    assert mesh.filters() == {}


def test_the_filters_own_cache_forgets_it(mesh: Mesh, image: meshes.Pushed) -> None:
    """A filter notes which node cache holds its file: undeploying without the flags finds it, and so does a deployment
    with another cache."""
    mesh.workload("web")
    mesh.deploy(image.name, "--cache-name", "first")
    path = f"/api/v1/namespaces/{mesh.cache}/configmaps"
    assert mesh.api.get(f"{path}/first")["data"]["filters"].startswith(f"{mesh.namespace}/test ")
    # Two at once are refused: somebody has taken the first one's agents away, and left its list.
    mesh.api.delete(f"/apis/apps/v1/namespaces/{mesh.cache}/daemonsets/first")
    mesh.deploy(image.name, "--cache-name", "second")
    assert mesh.api.get(f"{path}/first")["data"]["filters"] == ""
    mesh.run("undeploy", "istio", "--id=test", "--namespace", mesh.namespace)
    assert mesh.api.get(f"{path}/second")["data"]["filters"] == ""
