"""FilterDeployments that were stored under the original's definition, after ours took its place.

The original's definition was v1beta1, without a schema: whatever was sent was stored. A v1 definition of the same is
one whose schema lets everything through; as v1beta1 itself it lies in clusters that were upgraded since, with
``preserveUnknownFields: true``. Both stand here, the latter written into etcd, as no server of today takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.operator.kubectl import Kubectl, KubectlFailed
from tests.kubernetes.operator.samples import ANYWHERE
from tests.kubernetes.operator.test_crd import ANY
from wasme.deploy.cluster import Cluster
from wasme.deploy.cluster.connect import connect
from wasme.deploy.cluster.kinds import FILTER_DEPLOYMENT
from wasme.errors import InputError, ObjectRefused
from wasme.operator.resources.conditions import status
from wasme.operator.resources.outcome import Outcome
from wasme.operator.resources.resource import read
from wasme.operator.resources.schema import NAME, crd

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
FINALIZER = "wasme.io/cleanup"
GOOD: dict[str, Any] = {
    "deployment": {"istio": {"kind": "Deployment", "labels": {"app": "productpage"}}},
    "filter": {"config": {"@type": f"{ANY}StringValue", "value": "world"}, "image": "webassemblyhub.io/hxpmark/x:v1"},
}
SPECS: dict[str, Any] = {
    "good": GOOD,
    "with-more": {**GOOD, "more": {"a": 1}, "filter": {**GOOD["filter"], "typo": True}},
    "with-nulls": {"filter": {"image": "x", "config": None, "rootID": None}, "deployment": {"istio": {"labels": None}}},
    "empty": None,
    "without-deployment": {"filter": {"image": "x"}, "deployment": None},
    "of-another-kind": {"filter": {"image": "x"}, "deployment": {"istio": {"kind": "Job"}}},
    "of-other-types": {"filter": {"image": 5, "id": "My_F"}, "deployment": {"istio": {"labels": {"a": 1}}}},
    "of-another-place": {"filter": {"image": "x"}, "deployment": {"nginx": {}}},
    "in-words": {"filter": "x", "deployment": ["y"]},
}
OLD_STATUS = {
    "observedGeneration": "1",
    "workloads": {"a": {"state": "Succeeded"}, "b": {"reason": "it comes"}},
    "reason": "x",
    "other": {"x": 1},
}


def original() -> dict[str, Any]:
    """The original's definition, as near as v1 comes to it."""
    names = {"kind": "FilterDeployment", "listKind": "FilterDeploymentList", "plural": "filterdeployments",
             "singular": "filterdeployment"}  # fmt: skip
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": anything}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "labels": {"app": "wasme", "app.kubernetes.io/name": "wasme"}},
        "spec": {"group": "wasme.io", "names": names, "scope": "Namespaced", "versions": [version]},
    }


def as_v1beta1(stored: dict[str, Any]) -> None:
    """What a server before 1.22 left in etcd of a definition without a schema; that is the form kept there still."""
    assert stored["apiVersion"] == "apiextensions.k8s.io/v1beta1"
    stored["spec"]["preserveUnknownFields"] = True
    del stored["spec"]["validation"]


class Old:
    """A namespace with an old object of each kind of trouble."""

    def __init__(self, api: Api, kubectl: Kubectl) -> None:
        self.api = api
        self.kubectl = kubectl
        self.namespace = new_namespace(api)
        kubectl("apply", "-n", self.namespace, "-f", "-", given=ANYWHERE)
        for name, spec in SPECS.items():
            obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "spec": spec}
            api.create({**obj, "metadata": {"name": name, "namespace": self.namespace}})
        for name in (*SPECS, "add-header"):
            api.put(f"{self.path(name)}/status", {**api.get(self.path(name)), "status": OLD_STATUS})

    def path(self, name: str) -> str:
        return f"/apis/wasme.io/v1/namespaces/{self.namespace}/filterdeployments/{name}"

    @property
    def objects(self) -> list[dict[str, Any]]:
        return self.api.list(self.path("").rstrip("/"))


@pytest.fixture(scope="module", params=["v1, applied over", "v1beta1, applied over", "v1beta1, replaced"])
def old(
    request: pytest.FixtureRequest, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Old]:
    """Old objects, and our definition in the place of theirs; each test here takes objects of its own."""
    control_plane.require_own()
    api = control_plane.api
    remove(api)
    api.create(original())
    wait_until(lambda: api.find("/apis/wasme.io/v1/filterdeployments"), 30, "it is not served")
    made = Old(api, Kubectl(control_plane, tmp_path_factory.mktemp("kubectl")).when_found("filterdeployments"))
    if "v1beta1" in request.param:
        control_plane.rewrite(f"apiextensions.k8s.io/customresourcedefinitions/{NAME}", as_v1beta1)
        wait_until(lambda: "schema" not in api.get(f"{CRDS}/{NAME}")["spec"]["versions"][0], 10, "not as v1beta1")
    if "replaced" in request.param:
        wait_until(lambda: replaced(api), 30, "others write its status all the time")
    else:
        api.apply(crd(), manager="wasme")
    wait_until(lambda: strict(api, made.namespace), 30, "the new schema is not in force")
    yield made
    remove(api)


def replaced(api: Api) -> bool:
    """Put ours in the place of what is there, if the server has written no status of that meanwhile."""
    now = api.get(f"{CRDS}/{NAME}")["metadata"]["resourceVersion"]
    ours = crd()
    try:
        api.put(f"{CRDS}/{NAME}", {**ours, "metadata": {**ours["metadata"], "resourceVersion": now}})
    except ApiRefused as refused:
        if refused.status != 409:
            raise
        return False
    return True


def remove(api: Api) -> None:
    """No definition of FilterDeployment, and no object."""
    if api.find(f"{CRDS}/{NAME}") is None:
        return
    for each in api.list("/apis/wasme.io/v1/filterdeployments"):
        if each["metadata"].get("finalizers"):
            meta = each["metadata"]
            path = f"/apis/wasme.io/v1/namespaces/{meta['namespace']}/filterdeployments/{meta['name']}"
            api.patch(path, {"metadata": {"finalizers": None}})
    api.delete(f"{CRDS}/{NAME}")
    wait_until(lambda: api.find(f"{CRDS}/{NAME}") is None, 30, "it does not go")
    wait_until(lambda: api.find("/apis/wasme.io/v1/filterdeployments") is None, 30, "it is served still")


def strict(api: Api, namespace: str) -> bool:
    """Whether a wrong object is refused by now."""
    path = f"/apis/wasme.io/v1/namespaces/{namespace}/filterdeployments?dryRun=All"
    obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment", "metadata": {"name": "x"}, "spec": {}}
    try:
        api.call("POST", path, obj)
    except ApiRefused as refused:
        return refused.status == 422
    return False


def test_old_objects_stay_workable(old: Old, control_plane: ControlPlane) -> None:
    """Each is listed and read or explained, gets our finalizer and our status in that order, is labelled by its owner,
    and goes: also those that the new rules would refuse as new ones, as the server holds nobody to a rule about what
    he does not change.

    The definition itself is sound: structural, with nothing let through (a v1beta1 one would go on preserving).
    """
    definition = old.api.get(f"{CRDS}/{NAME}")
    assert not definition["spec"].get("preserveUnknownFields")

    def conditions() -> set[str]:
        return {each["type"] for each in old.api.get(f"{CRDS}/{NAME}")["status"]["conditions"]}

    # The server looks at a definition after it has taken it.
    wait_until(lambda: "NonStructuralSchema" not in conditions(), 10, "the definition is not structural")
    with connect(control_plane.kubeconfig) as cluster:
        for obj in cluster.list(FILTER_DEPLOYMENT, old.namespace):
            if obj["metadata"]["name"] not in ("in-words", "add-header"):
                walk_through(cluster, obj)
    assert [each["metadata"]["name"] for each in old.objects] == ["add-header", "in-words"]


def test_what_is_no_object_at_all_harms_itself_alone(old: Old, control_plane: ControlPlane) -> None:
    """A text where spec.filter should be: the server can evaluate no rule on it, so it takes neither finalizer nor
    status, and says so in one line. It is listed with the others, explained, and can be deleted or mended.
    """
    with connect(control_plane.kubeconfig) as cluster:
        obj = cluster.get(FILTER_DEPLOYMENT, "in-words", old.namespace)
        assert obj
        with pytest.raises(InputError, match=r"spec\.filter: must be an object, not text"):
            read(obj)
        outcome = Outcome(refused=InputError("spec.filter: must be an object, not text"))
        for write in (
            lambda: cluster.replace_status({**obj, "status": status(obj["status"], obj, outcome)}),
            lambda: cluster.patch(
                FILTER_DEPLOYMENT, "in-words", old.namespace, {"metadata": {"finalizers": ["a.b/c"]}}
            ),
        ):
            with pytest.raises(ObjectRefused, match=r"must provide spec\.filter"):
                write()
        mended = cluster.patch(FILTER_DEPLOYMENT, "in-words", old.namespace, {"spec": GOOD})
        assert read(mended).filter.config == "world"
        assert cluster.replace_status({**mended, "status": status(mended["status"], mended, Outcome())})


def walk_through(cluster: Cluster, obj: dict[str, Any]) -> None:
    """All that the operator does with an object, and its owner besides."""
    name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
    assert obj["status"]["observedGeneration"] == "1"
    outcome = Outcome(suspended=True)
    try:
        wanted = read(obj)
    except InputError as error:
        assert name not in ("good", "with-more", "with-nulls")
        outcome = Outcome(refused=error)
    else:
        assert wanted.filter.id == f"{name}.{namespace}"
    held = cluster.patch(FILTER_DEPLOYMENT, name, namespace, {"metadata": {"finalizers": [FINALIZER]}})
    told = status(held["status"], held, outcome)
    stored = cluster.replace_status({**held, "status": told})
    assert stored["status"] == told
    assert told["observedGeneration"] == 1
    assert told["workloads"]["b"] == {"state": "Pending", "reason": "it comes"}
    assert status(stored["status"], stored, outcome) == told
    labelled = cluster.patch(FILTER_DEPLOYMENT, name, namespace, {"metadata": {"labels": {"team": "edge"}}})
    assert labelled["metadata"]["generation"] == obj["metadata"]["generation"]
    assert cluster.delete(FILTER_DEPLOYMENT, name, namespace)
    cluster.patch(FILTER_DEPLOYMENT, name, namespace, {"metadata": {"finalizers": []}})


def test_the_users_file_is_applied_again(old: Old) -> None:
    """kubectl apply of what was applied before changes nothing; with another value it changes just that; and a file
    that was never valid is refused when it is applied anew, in words.
    """
    before = old.api.get(old.path("add-header"))
    assert "unchanged" in old.kubectl("apply", "-n", old.namespace, "-f", "-", given=ANYWHERE)
    assert old.api.get(old.path("add-header")) == before
    changed = ANYWHERE.replace("value: world", "value: moon")
    assert "configured" in old.kubectl("apply", "-n", old.namespace, "-f", "-", given=changed)
    after = old.api.get(old.path("add-header"))
    assert after["spec"]["filter"]["config"]["value"] == "moon"
    assert after["metadata"]["generation"] == before["metadata"]["generation"] + 1
    obj = {"apiVersion": "wasme.io/v1", "kind": "FilterDeployment",
           "metadata": {"name": "without-deployment", "namespace": old.namespace},
           "spec": {"filter": {"image": "z"}}}  # fmt: skip
    with pytest.raises(KubectlFailed, match=re.escape("must provide spec.deployment")):
        old.kubectl("apply", "-f", "-", given=obj)
