"""$WASME_TEST_KUBECONFIG: the tests in a cluster of somebody else's, which stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubernetes.cluster import crds, external
from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until
from tests.kubernetes.cluster.external import ExternalPlane
from wasme.deploy.cluster import Cluster, connect
from wasme.deploy.cluster.kinds import CONFIG_MAP, NAMESPACE
from wasme.errors import ClusterForbidden

_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gateways.gateway.solo.io"
Skipped = pytest.skip.Exception


@pytest.fixture(autouse=True)
def _own(control_plane: ControlPlane) -> None:
    if external.NAMED:
        pytest.skip("needs a server of the tests' own, to be the other's: $WASME_TEST_KUBECONFIG names another")


@pytest.fixture(params=["token", "certificate"])
def plane(request: pytest.FixtureRequest, control_plane: ControlPlane, tmp_path: Path) -> ExternalPlane:
    """The server of the session, as if it were somebody else's."""
    certified = request.param == "certificate"
    file = control_plane.kubeconfig_for("boss", "system:masters") if certified else control_plane.kubeconfig
    return ExternalPlane(file, tmp_path / "external")


def test_it_is_reached(plane: ExternalPlane, control_plane: ControlPlane, namespace: str) -> None:
    """Both the tests' client and a kubeconfig of its own lead to the server, with a token and with a certificate."""
    plane.start()
    assert plane.version == control_plane.version
    assert plane.api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace
    with connect(plane.kubeconfig) as cluster:
        assert namespace in {each["metadata"]["name"] for each in cluster.list(NAMESPACE)}
    plane.close()
    assert control_plane.version


def test_other_users_are_impersonated(plane: ExternalPlane, api: Api, namespace: str) -> None:
    """A user of `kubeconfig_for` has the name and groups that RBAC asks for, and no right of the administrator's."""
    group, meta = "rbac.authorization.k8s.io", {"name": "readers", "namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    api.create({"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules})
    role = {"apiGroup": group, "kind": "Role", "name": "readers"}
    subjects = [{"kind": "Group", "name": "readers", "apiGroup": group}]
    binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": role}
    api.create({**binding, "subjects": subjects})
    with connect(plane.kubeconfig_for("eve")) as eve, pytest.raises(ClusterForbidden, match="eve"):
        eve.list(CONFIG_MAP, namespace)
    with connect(plane.kubeconfig_for("ann", "readers", namespace=namespace)) as ann:
        assert ann.namespace == namespace
        wait_until(lambda: _may_list(ann, namespace), 30, "the group's right does not reach ann")
        with pytest.raises(ClusterForbidden):
            ann.list(NAMESPACE)


def _may_list(user: Cluster, namespace: str) -> bool:
    try:
        user.list(CONFIG_MAP, namespace)
    except ClusterForbidden:
        return False
    return True


def test_what_it_cannot_do_is_skipped(plane: ExternalPlane, control_plane: ControlPlane) -> None:
    """Nobody stops, pauses or looks into somebody else's server: such a test is skipped, with the reason."""
    deeds: list[Callable[[], object]] = [
        plane.require_own, plane.stop, plane.kill, plane.pause, plane.resume, plane.compact, plane.backup, plane.mark,
        plane.audit, plane.log, plane.controllers, lambda: plane.audit_log, lambda: plane._ca_key,
    ]  # fmt: skip
    for deed in deeds:
        with pytest.raises(Skipped, match=r"WASME_TEST_KUBECONFIG names another: no test can"):
            deed()
    assert control_plane.version, "it still runs"


def test_its_definitions_stay(plane: ExternalPlane, control_plane: ControlPlane, api: Api) -> None:
    """A CRD that no test has made is neither replaced nor deleted: the test that needs another is skipped."""
    crds.remove(api, "solo.io")
    control_plane.served.pop("gloo", None)
    (mine,) = (each for each in crds.definitions(crds.folder("gloo/v1.22.1"))
               if each["metadata"]["name"] == "gateways.gateway.solo.io")  # fmt: skip
    uid = api.create(mine)["metadata"]["uid"]
    try:
        for touch in (lambda: crds.serve(plane, "gloo/v1.22.1"), lambda: crds.remove(plane.api, "solo.io")):
            with pytest.raises(Skipped, match=r"the cluster has gateways\.gateway\.solo\.io of its own"):
                touch()
        assert api.get(_CRD)["metadata"]["uid"] == uid
    finally:
        api.patch(_CRD, {"metadata": {"labels": {crds.MADE: "true"}}})
    crds.serve(plane, "gloo/v1.22.1")
    crds.remove(plane.api, "solo.io")
    assert api.find(_CRD) is None, "those of tests go"


def test_its_caches_are_known(plane: ExternalPlane, api: Api, namespace: str, tmp_path: Path) -> None:
    """A DaemonSet that was there before the tests is told from those that they make."""
    template = {"metadata": {"labels": {"app": "cache"}}, "spec": {"containers": [{"name": "c", "image": "c:1"}]}}
    spec = {"selector": {"matchLabels": {"app": "cache"}}, "template": template}
    meta = {"name": "cache", "namespace": namespace}
    daemon = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta, "spec": spec}
    uid = api.create(daemon)["metadata"]["uid"]
    assert uid not in plane.caches
    assert uid in ExternalPlane(plane.kubeconfig, tmp_path / "later").caches


def test_a_kubeconfig_that_leads_nowhere(tmp_path: Path) -> None:
    """A file without a whole current context fails the tests; a server without a checked certificate skips them."""
    file = tmp_path / "kubeconfig"
    file.write_text("current-context: none\n")
    with pytest.raises(pytest.fail.Exception, match="no current context that is whole"):
        ExternalPlane(file, tmp_path / "a")
    file.write_text(
        "{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}],"
        " clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}"
    )
    with pytest.raises(Skipped, match="a certificate that is checked"):
        ExternalPlane(file, tmp_path / "b")
