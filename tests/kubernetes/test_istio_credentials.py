"""``--share-credentials`` with a WasmPlugin: the Secret goes with the filter, in whatever half-done state that is."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.registries import DockerRegistry
from tests.kubernetes import meshes
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import Mesh

_SHARED = ("--as", "wasmplugin", "--share-credentials")


@pytest.fixture
def image(login_registry: DockerRegistry, home: Path) -> meshes.Pushed:
    """An image of a registry that one is logged in to."""
    auth = base64.b64encode(f"{login_registry.user}:{login_registry.password}".encode()).decode()
    (home / ".wasme").mkdir(exist_ok=True)
    auths = {login_registry.host: {"auth": auth}}
    (home / ".wasme" / "credentials.json").write_text(json.dumps({"auths": auths}))
    return meshes.push(login_registry, layout="compat")


def secrets(mesh: Mesh) -> list[str]:
    """The Secrets beside the filters."""
    return [each["metadata"]["name"] for each in mesh.api.list(f"/api/v1/namespaces/{mesh.namespace}/secrets")]


def test_a_change_to_another_kind_takes_it_back(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG of ours: it stayed for good] A filter that becomes an EnvoyFilter, or no longer names the Secret, leaves
    none; one that becomes a TrafficExtension keeps it."""
    mesh.workload("web")
    mesh.deploy(image.name, *_SHARED)
    mesh.deploy(image.name, "--as", "trafficextension", "--share-credentials")
    assert secrets(mesh) == ["wasme-pull-test"]
    mesh.deploy(image.name, "--cache-timeout=0")
    assert (list(mesh.filters()), secrets(mesh)) == (["web-test"], [])
    mesh.deploy(image.name, *_SHARED)
    assert secrets(mesh) == ["wasme-pull-test"]
    mesh.deploy(image.name, "--as", "wasmplugin")
    assert secrets(mesh) == []


def test_a_refused_write_takes_it_back(mesh: Mesh, image: meshes.Pushed) -> None:
    """Where the server does not take the object, no credential is left behind."""
    mesh.workload("web")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": mesh.namespace},
             "spec": {"hard": {"count/wasmplugins.extensions.istio.io": "0"}}}  # fmt: skip
    mesh.api.create(quota)
    place = f"/api/v1/namespaces/{mesh.namespace}/resourcequotas/none"
    status = {"status": {"hard": quota["spec"]["hard"], "used": {"count/wasmplugins.extensions.istio.io": "0"}}}
    mesh.api.patch(f"{place}/status", status)
    told = mesh.deploy(image.name, *_SHARED, ok=False)
    assert "exceeded quota" in told.stderr
    assert mesh.filters("wasmplugins") == {}
    assert secrets(mesh) == []


def test_one_that_is_left_alone_is_found(mesh: Mesh, image: meshes.Pushed) -> None:
    """A command that was killed between Secret and object leaves the Secret: undeploying finds it, says so in a dry run
    first, and counts it as something."""
    mesh.workload("web")
    mesh.deploy(image.name, *_SHARED)
    mesh.api.delete(f"/apis/extensions.istio.io/v1alpha1/namespaces/{mesh.namespace}/wasmplugins/web-test")
    gone = {"kind": "Secret", "namespace": mesh.namespace, "name": "wasme-pull-test"}
    foreseen = mesh.undeploy("--dry-run").stderr
    assert "would delete Secret" in foreseen
    assert f"{mesh.namespace}/wasme-pull-test" in foreseen
    assert secrets(mesh) == ["wasme-pull-test"]
    assert mesh.undeploy("--output=json").json["changes"] == [{"action": "deleted", **gone}]
    assert secrets(mesh) == []
    assert "found nothing" in mesh.undeploy(ok=False).stderr


def test_it_stays_while_another_workload_needs_it(mesh: Mesh, image: meshes.Pushed) -> None:
    """Undeploying from one of two workloads leaves the Secret that the other's object names."""
    for name in ("one", "two"):
        mesh.workload(name)
    mesh.deploy(image.name, *_SHARED)
    mesh.undeploy("--name", "one")
    assert (list(mesh.filters("wasmplugins")), secrets(mesh)) == (["two-test"], ["wasme-pull-test"])
    mesh.undeploy()
    assert secrets(mesh) == []


def owners(mesh: Mesh) -> set[tuple[str, str]]:
    """Kind and name of what the Secret belongs to."""
    metadata = mesh.api.get(f"/api/v1/namespaces/{mesh.namespace}/secrets/wasme-pull-test")["metadata"]
    return {(each["kind"], each["name"]) for each in metadata.get("ownerReferences", ())}


def test_it_belongs_to_the_objects_that_name_it(mesh: Mesh, image: meshes.Pushed) -> None:
    """All of them, and those only: of each workload, of another kind after a change, of one that came back."""
    mesh.workload("one")
    mesh.deploy(image.name, *_SHARED)
    assert owners(mesh) == {("WasmPlugin", "one-test")}
    mesh.workload("two")
    mesh.deploy(image.name, *_SHARED)
    assert owners(mesh) == {("WasmPlugin", "one-test"), ("WasmPlugin", "two-test")}
    mesh.deploy(image.name, "--as", "trafficextension", "--share-credentials")
    assert owners(mesh) == {("TrafficExtension", "one-test"), ("TrafficExtension", "two-test")}
    mark = mesh.plane.mark()
    mesh.deploy(image.name, "--as", "trafficextension", "--share-credentials")
    assert mesh.writes(mark) == []


def test_it_is_nobodys_while_its_owner_is_replaced(mesh: Mesh, image: meshes.Pushed) -> None:
    """Before an object goes that it belongs to, it belongs to none: else it would go with it, and its heir needs it."""
    mesh.workload("web")
    mesh.deploy(image.name, *_SHARED)
    mark = mesh.plane.mark()
    mesh.deploy(image.name, "--as", "trafficextension", "--share-credentials")
    written = [
        (each["verb"], each["objectRef"]["resource"]) for each in mesh.plane.audit(mark)
        if each["verb"] in ("patch", "delete") and each["objectRef"]["resource"] in ("secrets", "wasmplugins")
    ]  # fmt: skip
    assert written == [("patch", "secrets"), ("delete", "wasmplugins"), ("patch", "secrets")]


def test_the_garbage_collector_takes_it(mesh: Mesh, image: meshes.Pushed, controllers: subprocess.Popen[Any]) -> None:
    """Whoever deletes the last object that names it needs no right to delete Secrets."""
    for name in ("one", "two"):
        mesh.workload(name)
    mesh.deploy(image.name, *_SHARED)
    base = f"/apis/extensions.istio.io/v1alpha1/namespaces/{mesh.namespace}/wasmplugins"
    mesh.api.delete(f"{base}/one-test")
    wait_until(lambda: ("WasmPlugin", "one-test") not in owners(mesh), 60, "the collector does not work")
    assert secrets(mesh) == ["wasme-pull-test"]
    mesh.api.delete(f"{base}/two-test")
    wait_until(lambda: secrets(mesh) == [], 60, "it stays")
