"""The client on a real API server: what it reads, writes, leaves alone, and how refusals are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster.api import Api
from tests.kubernetes.cluster.control_plane import ControlPlane
from tests.kubernetes.cluster.samples import config_map, wasm_plugin
from wasme.deploy.cluster import Cluster, connect, parallel
from wasme.deploy.cluster.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENVOY_FILTER,
    EVENT,
    NAMESPACE,
    POD,
    TRAFFIC_EXTENSION,
    WASM_PLUGIN,
    Kind,
)
from wasme.errors import Conflict, NotServed, ObjectRefused


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[Cluster]:
    with connect(control_plane.kubeconfig) as opened:
        yield opened


def _version(obj: dict[str, Any]) -> str:
    return str(obj["metadata"]["resourceVersion"])


def test_reading(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """Objects come whole, what is not there is None, and the version is the server's."""
    assert cluster.server_version() == control_plane.version
    assert cluster.namespace == "default"
    assert cluster.get(CONFIG_MAP, "x", namespace) is None
    assert cluster.get(CONFIG_MAP, "x", "no-such-namespace") is None
    cluster.apply(config_map(namespace))
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
    first = cluster.apply(config_map(namespace))
    assert _version(cluster.apply(config_map(namespace))) == _version(first)
    path = f"/api/v1/namespaces/{namespace}/configmaps/x"
    api.patch(path, {"data": {"foreign": "yes"}, "metadata": {"labels": {"theirs": "1"}}})
    after = cluster.apply(config_map(namespace, a="2"))
    assert after["data"] == {"a": "2", "foreign": "yes"}
    assert after["metadata"]["labels"] == {"theirs": "1"}
    assert cluster.apply(config_map(namespace, b="3"))["data"] == {"b": "3", "foreign": "yes"}, "what we drop goes"


def test_settling_writes_only_what_differs(cluster: Cluster, namespace: str, control_plane: ControlPlane) -> None:
    """`settle` of what is there sends no write at all (from the audit log), and writes when anything differs."""
    obj = config_map(namespace)
    assert cluster.settle(obj)[1]
    mark = control_plane.mark()
    assert not cluster.settle(obj)[1]
    assert {event["verb"] for event in control_plane.audit(mark)} == {"get"}
    assert cluster.settle(config_map(namespace, a="2"))[1]
    cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": "3"}})
    assert cluster.settle(config_map(namespace, a="2"))[1], "somebody changed our field"


def test_cel_refusals_are_told(cluster: Cluster, namespace: str, serve: Callable[..., None]) -> None:
    """What only a CEL rule of a real CRD forbids is refused with the rule's own text, also dry."""
    serve("istio/1.30.3")
    both = {"selector": {"matchLabels": {"a": "b"}}, "targetRefs": [{"kind": "Gateway", "name": "g"}]}
    for dry_run in (False, True):
        with pytest.raises(ObjectRefused) as refused:
            cluster.apply(wasm_plugin(namespace, **both), dry_run=dry_run)
        assert refused.value.message.startswith(f"apply WasmPlugin {namespace}/auth: spec: Invalid value: ")
        assert "only one of targetRefs or selector can be set" in refused.value.message
    with pytest.raises(ObjectRefused, match=r"spec\.phase: Unsupported value: \"NOPE\""):
        cluster.apply(wasm_plugin(namespace, phase="NOPE"))
    with pytest.raises(ObjectRefused, match=r"\.spec\.nonsense: field not declared in schema"):
        cluster.apply(wasm_plugin(namespace, nonsense=1))


def test_a_dry_run_stores_nothing(cluster: Cluster, namespace: str) -> None:
    """Server-side dry runs answer with the whole object and leave nothing behind."""
    assert cluster.apply(config_map(namespace), dry_run=True)["metadata"]["uid"]
    assert cluster.create(config_map(namespace), dry_run=True)["metadata"]["uid"]
    assert cluster.get(CONFIG_MAP, "x", namespace) is None
    made = cluster.apply(config_map(namespace))
    assert cluster.delete(CONFIG_MAP, "x", namespace, dry_run=True)
    assert cluster.replace({**made, "data": {}}, dry_run=True).get("data", {}) == {}
    assert cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": "9"}}, dry_run=True)["data"] == {"a": "9"}
    found = cluster.get(CONFIG_MAP, "x", namespace)
    assert found is not None
    assert found["data"] == {"a": "1"}


def test_conflicts(cluster: Cluster, namespace: str, api: Api) -> None:
    """Owned fields, old versions, names that are taken, objects that were replaced: each a Conflict that says which."""
    api.apply(config_map(namespace), manager="helm")
    with pytest.raises(Conflict, match=r"\.data\.a belongs to helm"):
        cluster.apply(config_map(namespace, a="2"), force=False)
    assert cluster.apply(config_map(namespace, a="2"))["data"] == {"a": "2"}
    old = cluster.get(CONFIG_MAP, "x", namespace)
    assert old is not None
    cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"b": "1"}})
    with pytest.raises(Conflict, match="somebody else changed it meanwhile"):
        cluster.replace(old)
    stale = {"metadata": {"resourceVersion": _version(old)}, "data": {"c": "1"}}
    with pytest.raises(Conflict):
        cluster.patch(CONFIG_MAP, "x", namespace, stale)
    with pytest.raises(Conflict, match="it exists already"):
        cluster.create(config_map(namespace))
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
    cluster.apply(config_map(namespace, lines=""))

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
    cluster.apply(config_map(namespace))
    assert cluster.patch(CONFIG_MAP, "x", namespace, {"data": {"a": None, "b": "2"}})["data"] == {"b": "2"}
    test = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "add", "path": "/data/c", "value": "3"}]
    assert cluster.patch(CONFIG_MAP, "x", namespace, test)["data"] == {"b": "2", "c": "3"}
    with pytest.raises(ObjectRefused):
        cluster.patch(CONFIG_MAP, "x", namespace, [{"op": "test", "path": "/data/b", "value": "9"}])
    with pytest.raises(ObjectRefused, match='configmaps "gone" not found'):
        cluster.patch(CONFIG_MAP, "gone", namespace, {"data": {}})


def test_kinds_that_are_not_served(cluster: Cluster, namespace: str, serve: Callable[..., None]) -> None:
    """A missing CRD is named; discovery says what is there and what its schema can carry."""
    serve("istio/1.28.10")
    with pytest.raises(NotServed, match=r"the CRD trafficextensions\.extensions\.istio\.io is missing"):
        cluster.list(TRAFFIC_EXTENSION, namespace)
    obj = {**wasm_plugin(namespace), "kind": "TrafficExtension"}
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


def test_a_namespace_that_is_not_there_or_goes(cluster: Cluster, api: Api, namespace: str) -> None:
    """Writing into no namespace, or into one that is being deleted, is refused with that reason."""
    with pytest.raises(ObjectRefused, match="there is no namespace no-such-namespace"):
        cluster.apply(config_map("no-such-namespace"))
    api.delete(f"/api/v1/namespaces/{namespace}")
    with pytest.raises(ObjectRefused, match="because it is being terminated"):
        cluster.apply(config_map(namespace))


@pytest.mark.parametrize("count", [1250])
def test_long_lists_come_in_pages(cluster: Cluster, namespace: str, control_plane: ControlPlane, count: int) -> None:
    """More than a thousand objects come in pages of 500, each once, and are made in seconds by 16 threads."""
    names = [f"x{each}" for each in range(count)]
    parallel(lambda name: cluster.apply(config_map(namespace, name)), names).require()
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
