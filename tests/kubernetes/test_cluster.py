"""The client on a real API server: what it refuses in words, what it leaves alone, what it survives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane
from wasme.deploy.cluster import Cluster, Schema, connect, parallel
from wasme.deploy.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENVOY_FILTER,
    EVENT,
    NAMESPACE,
    NODE,
    POD,
    TRAFFIC_EXTENSION,
    WASM_PLUGIN,
    Kind,
)
from wasme.errors import ClusterForbidden, Conflict, DeployFailed, NotServed, ObjectRefused


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


def _config_map(namespace: str, name: str = "x", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"a": "1"},
    }


def _plugin(namespace: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": "auth", "namespace": namespace}
    return {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": meta,
        "spec": {"url": "oci://registry.example/a:1", **spec},
    }


def _version(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["resourceVersion"])


def test_reading(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """Objects come whole, what is not there is None, and the version is the server's."""
    assert cluster.server_version() == control_plane.version
    assert cluster.namespace == "default"
    assert cluster.get(CONFIG_MAP, "x", namespace) is None
    assert cluster.get(CONFIG_MAP, "x", "no-such-namespace") is None
    cluster.apply(_config_map(namespace))
    found = cluster.get(CONFIG_MAP, "x", namespace)
    assert found is not None
    assert found["data"] == {"a": "1"}
    assert [each["metadata"]["name"] for each in cluster.list(CONFIG_MAP, namespace, fields="metadata.name=x")] == ["x"]
    assert cluster.list(CONFIG_MAP, namespace, labels="no=such") == []
    assert namespace in {each["metadata"]["name"] for each in cluster.list(NAMESPACE)}
    listed = cluster.list(CONFIG_MAP, namespace)[0]
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "ConfigMap")


def test_applying_again_changes_nothing(cluster: Cluster, namespace: str, api: Api) -> None:
    """An unchanged apply leaves the resourceVersion; `settle` does not even send it; foreign fields stay."""
    first = cluster.apply(_config_map(namespace))
    assert _version(cluster.apply(_config_map(namespace))) == _version(first)
    path = f"/api/v1/namespaces/{namespace}/configmaps/x"
    api.patch(path, {"data": {"foreign": "yes"}, "metadata": {"labels": {"theirs": "1"}}})
    after = cluster.apply(_config_map(namespace, a="2"))
    assert after["data"] == {"a": "2", "foreign": "yes"}
    assert after["metadata"]["labels"] == {"theirs": "1"}
    assert cluster.apply(_config_map(namespace, b="3"))["data"] == {"b": "3", "foreign": "yes"}, "what we drop goes"


def test_settling_writes_only_what_differs(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """`settle` of what is there sends no write at all (from the audit log), and writes when anything differs."""
    obj = _config_map(namespace)
    assert cluster.settle(obj)[1]
    mark = control_plane.mark()
    assert not cluster.settle(obj)[1]
    assert {event["verb"] for event in control_plane.audit(mark)} == {"get"}
    assert cluster.settle(_config_map(namespace, a="2"))[1]
    cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": "3"}})
    assert cluster.settle(_config_map(namespace, a="2"))[1], "somebody changed our field"


def test_cel_refusals_are_told(cluster: Cluster, namespace: str, serve: Callable[..., None]) -> None:
    """What only a CEL rule of a real CRD forbids is refused with the rule's own text, also dry."""
    serve("istio/1.30.3")
    both = {"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Gateway", "name": "g"}]}
    for dry_run in (False, True):
        with pytest.raises(ObjectRefused) as refused:
            cluster.apply(_plugin(namespace, **both), dry_run=dry_run)
        assert refused.value.message.startswith(f"apply WasmPlugin {namespace}/auth: spec: Invalid value: ")
        assert "only one of targetRefs or selector can be set" in refused.value.message
    with pytest.raises(ObjectRefused, match=r"spec\.phase: Unsupported value: \"NOPE\""):
        cluster.apply(_plugin(namespace, phase="NOPE"))
    with pytest.raises(ObjectRefused, match=r"\.spec\.nonsense: field not declared in schema"):
        cluster.apply(_plugin(namespace, nonsense=1))


def test_a_dry_run_stores_nothing(cluster: Cluster, namespace: str) -> None:
    """Server-side dry runs answer with the whole object and leave nothing behind."""
    assert cluster.apply(_config_map(namespace), dry_run=True)["metadata"]["uid"]
    assert cluster.create(_config_map(namespace), dry_run=True)["metadata"]["uid"]
    assert cluster.get(CONFIG_MAP, "x", namespace) is None
    made = cluster.apply(_config_map(namespace))
    assert cluster.delete(CONFIG_MAP, "x", namespace, dry_run=True)
    assert cluster.replace({**made, "data": {}}, dry_run=True).get("data", {}) == {}
    assert cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": "9"}}, dry_run=True)["data"] == {"a": "9"}
    found = cluster.get(CONFIG_MAP, "x", namespace)
    assert found is not None
    assert found["data"] == {"a": "1"}


def test_conflicts(cluster: Cluster, namespace: str, api: Api) -> None:
    """Owned fields, old versions, names that are taken, objects that were replaced: each a Conflict that says which."""
    api.apply(_config_map(namespace), manager="helm")
    with pytest.raises(Conflict, match=r"\.data\.a belongs to helm"):
        cluster.apply(_config_map(namespace, a="2"), force=False)
    assert cluster.apply(_config_map(namespace, a="2"))["data"] == {"a": "2"}
    old = cluster.get(CONFIG_MAP, "x", namespace)
    assert old is not None
    cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"b": "1"}})
    with pytest.raises(Conflict, match="somebody else changed it meanwhile"):
        cluster.replace(old)
    stale = {"metadata": {"resourceVersion": _version(old)}, "data": {"c": "1"}}
    with pytest.raises(Conflict):
        cluster.patch(CONFIG_MAP, "x", namespace, stale)
    with pytest.raises(Conflict, match="it exists already"):
        cluster.create(_config_map(namespace))
    with pytest.raises(Conflict, match="made anew by somebody else"):
        cluster.delete(CONFIG_MAP, "x", namespace, uid="0-0")
    with pytest.raises(Conflict, match="somebody deleted it meanwhile"):
        cluster.replace({**old, "metadata": {**old["metadata"], "name": "y"}})
    with pytest.raises(Conflict):
        cluster.delete(CONFIG_MAP, "x", namespace, resource_version=_version(old))
    assert cluster.delete(CONFIG_MAP, "x", namespace, uid=old["metadata"]["uid"])
    assert not cluster.delete(CONFIG_MAP, "x", namespace)


def test_updates_by_many_are_not_lost(cluster: Cluster, namespace: str) -> None:
    """Read, change, replace, and again on Conflict: no line of 48 writers is lost."""
    cluster.apply(_config_map(namespace, lines=""))

    def add(line: str) -> None:
        while True:
            now = cluster.get(CONFIG_MAP, "x", namespace)
            assert now is not None
            now["data"]["lines"] += f"{line}\n"
            try:
                cluster.replace(now)
            except Conflict:
                continue
            return

    lines = [f"line-{each}" for each in range(48)]
    parallel(add, lines, 8).require()
    found = cluster.get(CONFIG_MAP, "x", namespace)
    assert found is not None
    assert sorted(found["data"]["lines"].split()) == sorted(lines)


def test_patches(cluster: Cluster, namespace: str) -> None:
    """Merge patches and JSON patches; one that cannot be carried out is refused."""
    cluster.apply(_config_map(namespace))
    assert cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": None, "b": "2"}})["data"] == {"b": "2"}
    test = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/data/c", "value": "3"}]
    assert cluster.patch(CONFIG_MAP, "x", namespace, test)["data"] == {"b": "2", "c": "3"}
    with pytest.raises(ObjectRefused):
        cluster.patch(CONFIG_MAP, "x", namespace, [{"op": "test", "path": "/data/b", "value": "9"}])
    with pytest.raises(ObjectRefused, match='configmaps "gone" not found'):
        cluster.patch(CONFIG_MAP, "gone", namespace, {"data": {}})


def test_missing_rights_are_named(control_plane: ControlPlane, namespace: str, api: Api) -> None:
    """A user without rights learns verb, resource and namespace of each; with the right it works."""
    kubeconfig = control_plane.kubeconfig_for(f"eve-{namespace}", namespace=namespace)
    with connect(kubeconfig) as eve:
        assert eve.namespace == namespace
        with pytest.raises(ClusterForbidden) as refused:
            eve.apply(_config_map(namespace))
        assert refused.value.message == (
            f"apply ConfigMap {namespace}/x: eve-{namespace} has no right to patch configmaps "
            f"in the namespace {namespace}"
        )
        assert refused.value.hint is not None
        assert f"kubectl -n {namespace} create role wasme --verb=patch --resource=configmaps" in refused.value.hint
        with pytest.raises(ClusterForbidden, match="has no right to list nodes in the whole cluster"):
            eve.list(NODE)
        with pytest.raises(ClusterForbidden, match=r"to list deployments\.apps in the whole cluster"):
            eve.list(DEPLOYMENT)
        meta = {"name": "eve", "namespace": namespace}
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta}
        api.create({**role, "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}]})
        api.create(
            {
                **role,
                "kind": "RoleBinding",
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "eve"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"eve-{namespace}"}],
            }
        )
        _until(lambda: not _refused(lambda: eve.get(CONFIG_MAP, "x", namespace)))
        # An apply that makes the object needs create as well as patch.
        with pytest.raises(ClusterForbidden, match="has no right to create configmaps in the namespace"):
            eve.apply(_config_map(namespace))


def _refused(work: Callable[[], object]) -> bool:
    try:
        work()
    except ClusterForbidden:
        return True
    return False


def _until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_credentials_that_are_not_taken(control_plane: ControlPlane, tmp_path: Path) -> None:
    """A wrong token is a 401 that names user and file, and does not show the token."""
    file = tmp_path / "kubeconfig"
    file.write_text(control_plane.kubeconfig.read_text().replace(control_plane.token, "geheim-0815"))
    with connect(file) as cluster, pytest.raises(ClusterForbidden) as refused:
        cluster.list(POD)
    assert "does not accept these credentials: the user user of " in refused.value.message
    assert "geheim" not in refused.value.message


def test_kinds_that_are_not_served(cluster: Cluster, namespace: str, serve: Callable[..., None]) -> None:
    """A missing CRD is named; discovery says what is there and what its schema can carry."""
    serve("istio/1.28.10")
    with pytest.raises(NotServed, match=r"the CRD trafficextensions\.extensions\.istio\.io is missing"):
        cluster.list(TRAFFIC_EXTENSION, namespace)
    obj = {**_plugin(namespace), "kind": "TrafficExtension"}
    with pytest.raises(NotServed, match=r"the CRD trafficextensions\.extensions\.istio\.io is missing"):
        cluster.apply(obj)
    served = cluster.served()
    assert served.has(WASM_PLUGIN)
    assert served.has(ENVOY_FILTER)
    assert served.has(DEPLOYMENT)
    assert served.has(POD)
    assert not served.has(TRAFFIC_EXTENSION)
    assert not served.has(Kind("no.such.group", "v1", "Thing", "things"))
    assert served.schema(TRAFFIC_EXTENSION) is None
    assert served.schema(POD) is None
    schema = served.schema(WASM_PLUGIN)
    assert schema is not None
    assert "FAIL_RELOAD" in schema.enum("spec.failStrategy")
    later = Kind("networking.istio.io", "v9", "EnvoyFilter", "envoyfilters")
    assert served.need(later) == ENVOY_FILTER, "the version that is served is taken"
    with pytest.raises(NotServed, match=r"trafficextensions\.extensions\.istio\.io is missing"):
        served.need(TRAFFIC_EXTENSION)


def test_a_user_of_one_namespace_knows_the_schema(control_plane: ControlPlane, serve: Callable[..., None]) -> None:
    """Who may not read CRDs learns the same from the server's description."""
    serve("istio/1.30.3")
    paths = ("spec.failStrategy", "spec.vmConfig.env.valueFrom", "spec.pluginConfig.any", "spec.none", "spec.url.none")
    user = control_plane.kubeconfig_for("norights")

    def learn() -> Schema | None:
        try:
            with connect(user) as cluster:
                return cluster.served().schema(WASM_PLUGIN)
        except ClusterForbidden:
            return None

    # The server writes its description some time after it serves a kind.
    _until(lambda: learn() is not None, 20)
    learnt = learn()
    with connect(control_plane.kubeconfig) as admin:
        known = admin.served().schema(WASM_PLUGIN)
    assert known is not None
    assert learnt is not None
    assert [learnt.has(path) for path in paths] == [known.has(path) for path in paths]
    assert learnt.enum("spec.phase") == known.enum("spec.phase") != ()


def test_a_namespace_that_is_not_there_or_goes(cluster: Cluster, api: Api, namespace: str) -> None:
    """Writing into no namespace, or into one that is being deleted, is refused with that reason."""
    with pytest.raises(ObjectRefused, match="there is no namespace no-such-namespace"):
        cluster.apply(_config_map("no-such-namespace"))
    api.delete(f"/api/v1/namespaces/{namespace}")
    with pytest.raises(ObjectRefused, match="because it is being terminated"):
        cluster.apply(_config_map(namespace))


@pytest.mark.parametrize("count", [1250])
def test_long_lists_come_in_pages(cluster: Cluster, namespace: str, control_plane: ControlPlane, count: int) -> None:
    """More than a thousand objects come in pages of 500, each once, and are made in seconds by 16 threads."""
    names = [f"x{each}" for each in range(count)]
    parallel(lambda name: cluster.apply(_config_map(namespace, name)), names).require()
    mark = control_plane.mark()
    found = cluster.list(CONFIG_MAP, namespace)
    assert sorted(each["metadata"]["name"] for each in found) == sorted(names)
    assert len(control_plane.audit(mark)) == 3


def test_generated_names(cluster: Cluster, namespace: str) -> None:
    """Events are created under names that the server makes up."""
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "wasme-", "namespace": namespace},
        "involvedObject": {"kind": "Node", "name": "n1", "namespace": namespace},
        "reason": "Test",
    }
    names = {cluster.create(event)["metadata"]["name"] for _ in range(2)}
    assert len(names) == 2
    assert {each["metadata"]["name"] for each in cluster.list(EVENT, namespace)} == names


def test_watching(cluster: Cluster, namespace: str) -> None:
    """A watch tells what is there, then each change as it happens, and ends in time."""
    cluster.apply(_config_map(namespace, "before"))

    def changes() -> None:
        time.sleep(0.3)
        cluster.apply(_config_map(namespace))
        cluster.apply(_config_map(namespace, a="2"))
        cluster.delete(CONFIG_MAP, "x", namespace)

    thread = threading.Thread(target=changes)
    thread.start()
    began = time.monotonic()
    seen = []
    for change, obj in cluster.watch(CONFIG_MAP, namespace, seconds=10):
        seen.append((change, obj["metadata"]["name"], obj.get("data", {}).get("a")))
        if change == "DELETED":
            break
    thread.join()
    assert seen == [("ADDED", "before", "1"), ("ADDED", "x", "1"), ("MODIFIED", "x", "2"), ("DELETED", "x", "2")]
    assert time.monotonic() - began < 5
    since = cluster.listing(CONFIG_MAP, namespace).resource_version
    began = time.monotonic()
    assert list(cluster.watch(CONFIG_MAP, namespace, since=since, seconds=1)) == []
    assert 0.9 < time.monotonic() - began < 2.5


def test_a_watch_from_a_forgotten_place(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """A place that the server has forgotten (410) makes the watch list anew."""
    cluster.apply(_config_map(namespace))
    mark = control_plane.mark()
    for change, obj in cluster.watch(CONFIG_MAP, namespace, since="1", seconds=10):
        assert (change, obj["metadata"]["name"]) == ("ADDED", "x")
        break
    else:
        pytest.fail("nothing came")
    assert {event["verb"] for event in control_plane.audit(mark)} == {"watch", "list"}


def test_the_server_restarts_in_the_middle(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """Through a kill and a new start of the server, parallel applies and a watch go on: nothing fails or is lost."""
    names = [f"x{each}" for each in range(400)]
    applied = 0
    lock = threading.Lock()

    def apply(name: str) -> None:
        nonlocal applied
        cluster.apply(_config_map(namespace, name))
        with lock:
            applied += 1

    def trouble() -> None:
        _until(lambda: applied >= 50, 20)
        control_plane.kill()
        time.sleep(0.5)
        control_plane.start()

    seen: set[str] = set()

    def follow() -> None:
        for change, obj in cluster.watch(CONFIG_MAP, namespace, seconds=60):
            if change == "ADDED":
                seen.add(obj["metadata"]["name"])
            if len(seen) == len(names):
                return

    threads = [threading.Thread(target=each) for each in (trouble, follow)]
    for thread in threads:
        thread.start()
    parallel(apply, names).require()
    for thread in threads:
        thread.join()
    assert seen == set(names)
    assert {each["metadata"]["name"] for each in cluster.list(CONFIG_MAP, namespace)} == set(names)


def test_a_server_that_stands_still(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """A server that answers nothing for some seconds costs those seconds, and no error."""
    cluster._wire.attempt = 1.0
    cluster.apply(_config_map(namespace))
    control_plane.pause()
    resumer = threading.Timer(2.5, control_plane.resume)
    resumer.start()
    try:
        assert cluster.apply(_config_map(namespace, a="2"))["data"] == {"a": "2"}
    finally:
        resumer.join()


def test_failures_of_many_are_told_together(cluster: Cluster, namespace: str, api: Api) -> None:
    """Of many objects those that cannot be applied are told, the others are there."""
    objects = [_config_map(namespace, f"x{each}") for each in range(20)]
    objects[3]["metadata"]["name"] = "Not_A_Name"
    objects[7]["metadata"]["namespace"] = "no-such-namespace"
    with pytest.raises(DeployFailed) as failed:
        parallel(cluster.apply, objects).require(lambda obj: obj["metadata"]["name"], doing="deploying auth")
    assert failed.value.message.startswith("deploying auth: 2 of 20 failed: Not_A_Name: apply ConfigMap ")
    assert "x7: apply ConfigMap no-such-namespace/…: there is no namespace no-such-namespace" in failed.value.message
    assert len(cluster.list(CONFIG_MAP, namespace)) == 18
    with pytest.raises(ApiRefused):
        api.get(f"/api/v1/namespaces/{namespace}/configmaps/x7")
