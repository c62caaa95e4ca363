"""What ``wasme operator uninstall`` leaves alone: nothing is deleted before all is known that speaks against it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from tests.kubernetes.cluster.accounts import wait_allowed
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.conftest import new_namespace
from tests.kubernetes.operator.installed import (
    GLOBAL,
    deployment,
    filter_deployment,
    mutations,
    wait_served,
)

CHART = Path(__file__).parents[3] / "charts" / "wasme"
pytestmark = pytest.mark.usefixtures("cleared")
Run = Callable[..., Result]


@pytest.fixture
def own(api: Api, kube_run: Run) -> str:
    """A namespace with an operator, though none of its pods runs, and a FilterDeployment in another one."""
    made = new_namespace(api, "op")
    kube_run("operator", "install", "-n", made, "--wait=0")
    return made


@pytest.fixture
def path(api: Api, own: str) -> str:
    """Of a FilterDeployment that an operator has seen."""
    obj = filter_deployment(new_namespace(api))
    obj["metadata"]["finalizers"] = ["wasme.io/cleanup"]
    wait_served(api)
    api.create(obj)
    return f"/apis/wasme.io/v1/namespaces/{obj['metadata']['namespace']}/filterdeployments/auth"


@pytest.mark.parametrize("more", [(), ("--dry-run",)], ids=["for real", "dry run"])
@pytest.mark.parametrize("filters", ["delete", "keep"])
def test_another_namespace_has_the_operator(
    api: Api, own: str, path: str, kube_run: Run, control_plane: ControlPlane, filters: str, more: tuple[str, ...]
) -> None:
    """With a wrong -n nothing is written: no FilterDeployment goes, no lease comes, the operator keeps its rights."""
    wrong = new_namespace(api, "wrong")
    mark = control_plane.mark()
    told = kube_run("operator", "uninstall", "-n", wrong, f"--filters={filters}", "--wait=1s", *more, ok=False)
    assert f"Deployment {own}/wasme-operator is an operator already" in told.stderr
    assert f"--namespace={own}" in told.stderr
    assert mutations(control_plane, mark) == []
    assert "deletionTimestamp" not in api.get(path)["metadata"]
    assert all(api.find(each) for each in GLOBAL)


def test_a_wrong_namespace_keeps_the_rights_without_filters_too(api: Api, own: str, kube_run: Run) -> None:
    """The ClusterRoles have one name in a cluster: those of another namespace's operator stay."""
    kube_run("operator", "uninstall", "-n", new_namespace(api, "wrong"), ok=False)
    assert all(api.find(each) for each in GLOBAL)


def test_filters_stay_where_nothing_of_an_operator_is(
    api: Api, own: str, path: str, kube_run: Run, control_plane: ControlPlane
) -> None:
    """Where no namespace has an operator any more, -n must at least be where it was."""
    api.delete(deployment(own))
    wrong = new_namespace(api, "wrong")
    mark = control_plane.mark()
    told = kube_run("operator", "uninstall", "-n", wrong, "--filters=delete", "--wait=1s", ok=False)
    assert f"nothing of an operator is in {wrong}" in told.stderr
    assert "wasme operator install" in told.stderr
    assert mutations(control_plane, mark) == []
    told = kube_run("operator", "uninstall", "-n", own, "--filters=delete", "--wait=60s")
    assert "the operator is uninstalled" in told.stdout
    assert api.find(path) is None


def test_rights_that_are_bound_elsewhere_stay(api: Api, own: str, kube_run: Run) -> None:
    """A ClusterRoleBinding to another namespace's account is no part of this namespace's operator."""
    api.delete(deployment(own))
    told = kube_run("operator", "uninstall", "-n", new_namespace(api, "wrong"))
    assert "there is no operator" in told.stdout
    assert all(api.find(each) for each in GLOBAL)


def test_who_may_not_look_for_operators_deletes_nothing(
    api: Api, own: str, path: str, kube_run: Run, control_plane: ControlPlane
) -> None:
    """Another namespace's operator cannot be ruled out without the right to list Deployments: nothing is done then."""
    rules = [{"apiGroups": ["wasme.io"], "resources": ["*"], "verbs": ["*"]}]
    meta = {"name": f"deleter-{own}"}
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": meta}
    api.create({**rbac, "kind": "ClusterRole", "rules": rules})
    role = {"kind": "ClusterRole", "name": meta["name"], "apiGroup": "rbac.authorization.k8s.io"}
    subjects = [{"kind": "User", "name": meta["name"], "apiGroup": "rbac.authorization.k8s.io"}]
    api.create({**rbac, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": subjects})
    wait_allowed(api, meta["name"], "delete", "filterdeployments", group="wasme.io")
    kubeconfig = control_plane.kubeconfig_for(meta["name"])
    words = ("operator", "uninstall", "-n", own, "--filters=delete", "--wait=1s")
    told = kube_run(*words, ok=False, kubeconfig=kubeconfig)
    assert "deployments.apps" in told.stderr
    assert "deletionTimestamp" not in api.get(path)["metadata"]


def test_helms_filters_stay(
    api: Api, path: str, run_helm: Callable[..., str], kube_run: Run, control_plane: ControlPlane, own: str
) -> None:
    """What Helm installed is refused before a FilterDeployment is deleted, not afterwards."""
    run_helm("install", "wasme", CHART, "--namespace", own, "--take-ownership")
    mark = control_plane.mark()
    told = kube_run("operator", "uninstall", "-n", own, "--filters=delete", "--wait=1s", ok=False)
    assert "belongs to Helm's release wasme" in told.stderr
    assert "helm uninstall wasme" in told.stderr
    assert mutations(control_plane, mark) == []
    assert "deletionTimestamp" not in api.get(path)["metadata"]
