"""What goes wrong around ``deploy istio``: it is told in one line, in time, and nothing is left half done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from tests.fixtures.registries import DockerRegistry, filter_image
from tests.kubernetes import meshes
from tests.kubernetes.cluster import crds
from tests.kubernetes.cluster.accounts import wait_granted
from tests.kubernetes.cluster.api import ApiRefused
from tests.kubernetes.cluster.control_plane import wait_until
from tests.kubernetes.meshes import USER_VOLUME, Mesh
from wasme.deploy.istio import apply
from wasme.image.reference import Reference
from wasme.image.store import open_store

RULES = "/apis/rbac.authorization.k8s.io/v1"


def refused(mesh: Mesh, image: str, *words: str) -> str:
    """The error of a deployment that must fail without writing anything."""
    mark = mesh.plane.mark()
    result = mesh.deploy(image, *words, ok=False)
    assert result.exit_code in (1, 2), result.stderr
    assert mesh.writes(mark) == []
    return result.stderr


def test_no_workload_is_a_failure_that_says_what_was_looked_for(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: zero matches were silent success] What was looked for, where, and what there is instead: similar names,
    pods that have the labels, another kind, a similar namespace."""
    told = refused(mesh, image.name, "--labels", "app=x")
    assert f"found no Deployment with the labels app=x in the namespace {mesh.namespace}" in told
    mesh.workload("productpage-v1", labels={}, pod_labels={"app": "productpage"})
    told = refused(mesh, image.name, "--labels", "app=productpage")
    assert "only the pods of productpage-v1 have them; try --name=productpage-v1" in told
    assert "similar names there: productpage-v1" in refused(mesh, image.name, "--name", "productpage")
    assert "--workload-type=deployment would find some" in refused(mesh, image.name, "-t", "statefulset")
    told = refused(mesh, image.name, "--namespaces", f"{mesh.namespace}x")
    assert f"there is no namespace {mesh.namespace}x" in told
    assert f"similar names: {mesh.namespace}" in told


def test_name_and_namespaces(mesh: Mesh, image: meshes.Pushed) -> None:
    """[DOC≠CODE: the original's help named both, and had neither] --name selects one workload, --namespaces several
    places; one that is in the first alone is a failure."""
    for name in ("one", "two"):
        mesh.workload(name)
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{mesh.namespace}-b"}}
    mesh.api.create(other)
    mesh.deploy(image.name, "--name", "one")
    assert set(mesh.filters()) == {"one-test"}
    both = ("--namespaces", f"{mesh.namespace},{mesh.namespace}-b")
    assert f"no Deployment one in the namespace {mesh.namespace}-b" in refused(mesh, image.name, "--name", "one", *both)
    mesh.api.create(meshes.deployment("one", f"{mesh.namespace}-b"))
    mesh.deploy(image.name, *both)
    assert set(mesh.filters()) == {"one-test", "two-test"}
    there = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}-b/envoyfilters"
    assert [each["metadata"]["name"] for each in mesh.api.list(there)] == ["one-test"]
    assert len(mesh.cache_data()["filters"].split("\n")) == 2


def test_a_module_that_the_mesh_cannot_run(mesh: Mesh, image: meshes.Pushed) -> None:
    """Criteria 12 and 13: refused in the original's words, deployed with --ignore-version-check; the module is asked,
    so that Istio 1.30 passes, which the original's frozen list refused."""
    mesh.workload("web")
    mesh.istiod("1.5.3")
    told = refused(mesh, image.name)
    assert f"image {image.name} not supported by istio version 1.5.3" in told
    told = mesh.deploy(image.name, "--ignore-version-check").stderr
    assert "ignoreVersionCheck is set, skipping ABI version check" in told
    for version in ("1.30.3", "latest", "master", "1.11.7-distroless"):
        mesh.istiod(version)
        mesh.deploy(image.name)


def test_istiod_by_another_name(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: without a readable istiod the version was "" and the command crashed] A revision's istiod is found; none
    at all is told, and taken for a current Istio; a Deployment that is none is refused."""
    mesh.workload("web")
    mesh.api.delete(f"/apis/apps/v1/namespaces/{mesh.istio}/deployments/istiod")
    assert "found no istiod, taking Istio for a current one" in mesh.deploy(image.name).stderr
    mesh.istiod("1.5.3", "istiod-1-5-3")
    assert "not supported by istio version 1.5.3" in refused(mesh, image.name)
    mesh.api.create(meshes.deployment("web", mesh.istio))
    told = refused(mesh, image.name, "--istiod-name", "web")
    assert "did not find container named discovery on pilot deployment" in told


def test_the_shape_for_an_old_istio(mesh: Mesh, image: meshes.Pushed) -> None:
    """Istio 1.7 gets the names and the form that it takes; patch contexts are the original's (criterion 11), and `any`
    is the absence of the key."""
    mesh.workload("web")
    mesh.istiod("1.7.3")
    mesh.deploy(image.name, "--patch-context", "OutBound", "--ignore-version-check")
    (patch,) = mesh.filters()["web-test"]["spec"]["configPatches"]
    assert patch["match"]["context"] == "SIDECAR_OUTBOUND"
    assert patch["match"]["listener"]["filterChain"]["filter"]["name"] == "envoy.http_connection_manager"
    mesh.deploy(image.name, "--patch-context", "any", "--ignore-version-check")
    (patch,) = mesh.filters()["web-test"]["spec"]["configPatches"]
    assert "context" not in patch["match"]


def test_missing_rights_are_named_before_anything_is_written(mesh: Mesh, image: meshes.Pushed) -> None:
    """Who may read all and write nothing is told each right that is missing, at once; with those rights it works."""
    mesh.workload("web")
    user = f"u-{mesh.namespace}"
    kubeconfig = mesh.plane.kubeconfig_for(user)
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    mesh.api.create({"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": rules})
    binding = {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user},
               "subjects": [{"kind": "User", "name": user, "apiGroup": group}],
               "roleRef": {"kind": "ClusterRole", "name": user, "apiGroup": group}}  # fmt: skip
    mesh.api.create(binding)
    wait_granted(mesh.api, user, mesh.namespace, rules)
    mark = mesh.plane.mark()
    words = ("deploy", "istio", image.name, "--id=test", *mesh.flags, "--as", "envoyfilter")
    told = mesh.run(*words, ok=False, kubeconfig=kubeconfig).stderr
    for right in ("patch deployments.apps", "create envoyfilters.networking.istio.io", "patch envoyfilters"):
        assert right in told
    assert "nothing was written" in told
    assert mesh.writes(mark) == []
    nobody = mesh.run(*words, ok=False, kubeconfig=mesh.plane.kubeconfig_for(f"n-{mesh.namespace}")).stderr
    assert "has no right to list deployments.apps" in nobody


def test_a_mesh_without_its_definitions(mesh: Mesh, image: meshes.Pushed, serve: Any) -> None:
    """Where no kind is served the missing CRD is named; where only EnvoyFilter is, --as auto takes it and says why."""
    mesh.workload("web")
    serve("istio/1.10.6")
    assert "the API server serves no WasmPlugin" in refused(mesh, image.name, "--as", "wasmplugin")
    flags = [each for each in mesh.flags if "cache" not in each]
    told = mesh.run("deploy", "istio", image.name, "--id=test", *flags, "--dry-run")
    assert "EnvoyFilter" in told.stderr
    crds.remove(mesh.api, "istio.io")
    mesh.plane.served.pop("istio")
    told = refused(mesh, image.name, "--as", "auto")
    assert "the CRD envoyfilters.networking.istio.io is missing" in told


def test_a_namespace_that_is_ending(mesh: Mesh, image: meshes.Pushed) -> None:
    """A namespace that is being deleted takes nothing new: told before anything is written."""
    mesh.workload("web")
    mesh.api.delete(f"/api/v1/namespaces/{mesh.namespace}")
    assert f"the namespace {mesh.namespace} is being deleted" in refused(mesh, image.name)


def test_a_workload_and_a_filter_that_are_ending(mesh: Mesh, image: meshes.Pushed) -> None:
    """A workload that waits for a finalizer is left out, with a warning; a filter that does is told by name."""
    held = meshes.deployment("ending", mesh.namespace)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    mesh.api.create(held)
    mesh.workload("web")
    mesh.api.delete(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/ending")
    told = mesh.deploy(image.name)
    assert "workload is being deleted" in told.stderr
    assert set(mesh.filters()) == {"web-test"}
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters/web-test"
    mesh.api.patch(path, {"metadata": {"finalizers": ["example.com/hold"]}})
    mesh.api.delete(path)
    told = mesh.deploy(image.name, "--config=x", ok=False)
    assert f"EnvoyFilter {mesh.namespace}/web-test is being deleted" in told.stderr
    mesh.api.patch(path, {"metadata": {"finalizers": None}})
    mesh.api.patch(f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/ending", {"metadata": {"finalizers": None}})


def test_others_change_the_workload_meanwhile(
    mesh: Mesh, image: meshes.Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workload that is changed between reading and writing is read again: the other's annotation is merged, not
    overwritten."""
    mesh.workload("web")
    path = f"/apis/apps/v1/namespaces/{mesh.namespace}/deployments/web"
    own = '[{"name":"late","emptyDir":{}}]'
    real = apply.Applying.__call__

    def late(self: apply.Applying, step: apply.Step) -> apply.Done:
        mesh.api.patch(path, {"spec": {"template": {"metadata": {"annotations": {USER_VOLUME: own}}}}})
        return real(self, step)

    monkeypatch.setattr(apply.Applying, "__call__", late)
    mesh.deploy(image.name)
    first, *_ = json.loads(mesh.annotations("web")[USER_VOLUME])
    assert first["name"] == "late"
    mesh.undeploy()
    assert mesh.annotations("web") == {USER_VOLUME: own}


def test_six_deployments_at_once(mesh: Mesh, image: meshes.Pushed) -> None:
    """Filters of commands that run at the same moment on one workload all end up there, in the cache's
    ConfigMap too."""
    mesh.workload("web")
    mesh.deploy(image.name, id="f0")

    def one(number: int) -> int:
        words = ["deploy", "istio", image.name, f"--id=f{number}", *mesh.flags, "--as", "envoyfilter"]
        environment = {**os.environ, "KUBECONFIG": str(mesh.plane.kubeconfig)}
        return subprocess.run([sys.executable, "-m", "wasme", *words], env=environment, capture_output=True).returncode

    with ThreadPoolExecutor(5) as pool:
        assert set(pool.map(one, range(1, 6))) == {0}
    assert set(mesh.filters()) == {f"web-f{number}" for number in range(6)}
    assert len(mesh.cache_data()["filters"].split("\n")) == 6


def _is_refused(mesh: Mesh, name: str) -> bool:
    """Whether the server would take no EnvoyFilter of that name; it follows a new policy after a moment."""
    obj = {**meshes.original(mesh, "x"), "metadata": {"name": name, "namespace": mesh.namespace}}
    path = f"/apis/networking.istio.io/v1alpha3/namespaces/{mesh.namespace}/envoyfilters?dryRun=All"
    try:
        mesh.api.call("POST", path, obj)
    except ApiRefused:
        return True
    return False


def test_three_hundred_workloads_some_of_which_fail(mesh: Mesh, image: meshes.Pushed) -> None:
    """All that can be done is done; the exit code is 1, and the message names each that failed, with its reason: one
    whose annotation is no JSON, two whose filters an admission policy refuses. At most 4 requests for a workload."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: mesh.workload(f"w{number:03}"), range(300)))
    bad = meshes.deployment("broken", mesh.namespace, annotations={USER_VOLUME: "no json"})
    mesh.api.create(bad)
    name = f"deny-{mesh.namespace}"
    match = {"resourceRules": [{"apiGroups": ["networking.istio.io"], "apiVersions": ["*"], "operations": ["CREATE"],
                                "resources": ["envoyfilters"]}]}  # fmt: skip
    rule = "!(object.metadata.name in ['w007-test', 'w123-test'])"
    group = "admissionregistration.k8s.io/v1"
    policy = {"matchConstraints": match, "validations": [{"expression": rule, "message": "not there"}]}
    meta = {"apiVersion": group, "metadata": {"name": name}}
    mesh.api.create({**meta, "kind": "ValidatingAdmissionPolicy", "spec": policy})
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": mesh.namespace}}}
    bound = {"policyName": name, "validationActions": ["Deny"], "matchResources": selector}
    mesh.api.create({**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound})
    wait_until(lambda: _is_refused(mesh, "w007-test"), 20, "the policy does not hold")
    mark = mesh.plane.mark()
    told = mesh.deploy(image.name, ok=False)
    assert told.exit_code == 1
    assert "3 of 301 failed" in told.stderr
    for part in ("w007", "w123", "not there", "broken", "cannot be read"):
        assert part in told.stderr
    assert len(mesh.filters()) == 298
    asked = [event for event in mesh.plane.audit(mark) if mesh.namespace in event["requestURI"]]
    assert len(asked) <= 4 * 301
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        mesh.api.delete(f"/apis/{group}/{kind}/{name}")
    mesh.undeploy()
    assert mesh.filters() == {}


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_a_clients_dry_run_is_fit_to_commit(mesh: Mesh, image: meshes.Pushed, output: str) -> None:
    """It prints exactly the objects that would be applied, by digest and without a server's fields, writes nothing and
    installs nothing; applying them by hand makes what deploying makes."""
    mesh.workload("web")
    mark = mesh.plane.mark()
    text = mesh.deploy(image.name, "--dry-run", "--output", output).stdout
    assert mesh.writes(mark) == []
    objects = json.loads(text)["items"] if output == "json" else list(yaml.safe_load_all(text))
    assert [each["kind"] for each in objects] == ["Deployment", "EnvoyFilter"]
    for word in ("resourceVersion", "uid", "managedFields", "creationTimestamp", "status", "generation"):
        assert word not in text
    assert image.module.removeprefix("sha256:") in text
    for each in objects:
        mesh.api.apply(each, manager="gitops")
    committed = (mesh.template("web"), mesh.filters()["web-test"]["spec"])
    mesh.deploy(image.name)
    assert (mesh.template("web"), mesh.filters()["web-test"]["spec"]) == committed


def test_a_servers_dry_run_asks_and_stores_nothing(
    mesh: Mesh, image: meshes.Pushed, docker_registry: DockerRegistry
) -> None:
    """Every write has dryRun=All; what the server refuses is told: here the schema, by a name that is too long."""
    mesh.workload("web")
    mark = mesh.plane.mark()
    mesh.deploy(image.name, "--dry-run=server")
    written = [
        event["requestURI"]
        for event in mesh.plane.audit(mark)
        if event["verb"] == "patch" and mesh.namespace in event["requestURI"]
    ]
    assert len(written) == 2
    assert all("dryRun=All" in each for each in written)
    assert mesh.filters() == {}
    assert mesh.annotations("web") == {}
    assert mesh.cache_data() == {}
    words = ("--as", "wasmplugin", "--env", f"{'x' * 300}=1")
    told = mesh.deploy(meshes.push(docker_registry, layout="compat").name, "--dry-run=server", *words, ok=False)
    assert "vmConfig.env[0].name" in told.stderr


def test_a_gateway_with_the_default_context_is_refused(mesh: Mesh, image: meshes.Pushed) -> None:
    """[issue: it silently did nothing] An ingress gateway with the patch context inbound is told; with gateway it
    works. Among applications it is left out."""
    mesh.workload("ingress", annotations={"inject.istio.io/templates": "gateway"})
    assert "matches nothing" in refused(mesh, image.name)
    mesh.deploy(image.name, "--patch-context=gateway")
    assert "GATEWAY" in json.dumps(mesh.filters())
    mesh.workload("web")
    told = mesh.deploy(image.name, id="second")
    assert "leaving a gateway out" in told.stderr
    assert set(mesh.filters()) == {"ingress-test", "web-second"}


def test_an_id_that_cannot_be_is_refused_before_anything_is_asked(mesh: Mesh, image: meshes.Pushed) -> None:
    """[BUG: the cache was installed first] No id, or one that names no object, is told without any request."""
    mark = mesh.plane.mark()
    for words, said in (((), "--id cannot be empty"), (("--id=Not.OK",), "no name of a Kubernetes object")):
        told = mesh.run("deploy", "istio", image.name, *words, *mesh.flags, ok=False)
        assert said in told.stderr
    assert [each for each in mesh.plane.audit(mark) if mesh.namespace in each["requestURI"]] == []


def test_a_namespace_that_forbids_the_nodes_folder(
    mesh: Mesh, image: meshes.Pushed, docker_registry: DockerRegistry
) -> None:
    """Pod Security baseline admits no pod with the node cache's folder, so the workload would lose its pods: refused,
    with the ways out; one of them works."""
    mesh.workload("web")
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    mesh.api.patch(f"/api/v1/namespaces/{mesh.namespace}", {"metadata": {"labels": labels}})
    told = refused(mesh, image.name)
    assert "enforces the Pod Security Standard baseline" in told
    compat = meshes.push(docker_registry, layout="compat")
    mesh.deploy(compat.name, "--cache-mode=none")
    assert mesh.annotations("web") == {}


def test_ambient_pods_have_no_sidecar(mesh: Mesh, docker_registry: DockerRegistry) -> None:
    """A filter for sidecars in a namespace of ambient mode is told to do nothing there, and what would."""
    mesh.workload("web")
    labels = {"istio.io/dataplane-mode": "ambient"}
    mesh.api.patch(f"/api/v1/namespaces/{mesh.namespace}", {"metadata": {"labels": labels}})
    told = mesh.deploy(meshes.push(docker_registry, layout="compat").name, "--as", "wasmplugin")
    assert "--target puts a filter on a waypoint" in told.stderr


def test_undeploying_without_rights_takes_nothing(mesh: Mesh, image: meshes.Pushed) -> None:
    """Who may read and not write is told each right, before the first object goes."""
    mesh.workload("web")
    mesh.deploy(image.name)
    user = f"r-{mesh.namespace}"
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}]
    meta = {"apiVersion": f"{group}/v1", "metadata": {"name": user}}
    mesh.api.create({**meta, "kind": "ClusterRole", "rules": rules})
    who = [{"kind": "User", "name": user, "apiGroup": group}]
    to = {"kind": "ClusterRole", "name": user, "apiGroup": group}
    mesh.api.create({**meta, "kind": "ClusterRoleBinding", "subjects": who, "roleRef": to})
    wait_granted(mesh.api, user, mesh.namespace, rules)
    words = ("undeploy", "istio", "--id=test", *mesh.flags)
    told = mesh.run(*words, ok=False, kubeconfig=mesh.plane.kubeconfig_for(user)).stderr
    assert "delete envoyfilters.networking.istio.io" in told
    assert "patch deployments.apps" in told
    assert set(mesh.filters()) == {"web-test"}
    assert USER_VOLUME in mesh.annotations("web")


def test_pods_that_stay_are_told(mesh: Mesh, image: meshes.Pushed) -> None:
    """Where a changed template makes no pods anew, the user is told what he has to do."""
    obj = meshes.deployment("db", mesh.namespace, kind="StatefulSet")
    obj["spec"]["updateStrategy"] = {"type": "OnDelete"}
    mesh.api.create(obj)
    assert "when they are deleted" in mesh.deploy(image.name, "-t", "statefulset").stderr
    paused = meshes.deployment("web", mesh.namespace)
    paused["spec"]["paused"] = True
    mesh.api.create(paused)
    assert "when its rollout is resumed" in mesh.deploy(image.name).stderr


def test_an_image_that_was_not_pushed_yet(mesh: Mesh, docker_registry: DockerRegistry) -> None:
    """An image of the local store that no registry has: what to do is said."""
    mesh.workload("web")
    name = f"{docker_registry.host}/mesh/never-pushed:v1"
    open_store(None).add(Reference.parse(name), filter_image())
    told = refused(mesh, name)
    assert f"wasme push {name}" in told
