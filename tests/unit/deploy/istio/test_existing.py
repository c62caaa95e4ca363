"""What is there of a filter: found by mark, by manager or by shape, and who needs the node's files."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from wasme.deploy.cluster.kinds import DEPLOYMENT, ENVOY_FILTER, STATEFUL_SET
from wasme.deploy.istio.existing import Existing, carrier, carriers, selector_of, uses_cache

FILE = "/var/local/lib/wasme-cache/" + "ab" * 32


def envoy_filter(name: str, selector: dict[str, str], *, file: str = FILE, **metadata: Any) -> dict[str, Any]:
    value = {"typedConfig": {"value": {"config": {"vmConfig": {"code": {"local": {"filename": file}}}}}}}
    spec: dict[str, Any] = {"configPatches": [{"patch": {"value": value}}]}
    if selector:
        spec["workloadSelector"] = {"labels": selector}
    return {
        "apiVersion": ENVOY_FILTER.api_version,
        "kind": "EnvoyFilter",
        "metadata": {"name": name, "namespace": "n", "uid": name, **metadata},
        "spec": spec,
    }


def ours(workload: str, kind: str = "Deployment", filter_id: str = "test") -> dict[str, Any]:
    return envoy_filter(
        f"{workload}-{filter_id}",
        {"app": workload},
        labels={"app.kubernetes.io/managed-by": "wasme", "wasme.io/filter": filter_id},
        annotations={"wasme.io/workload": f"{kind}/{workload}", "wasme.io/id": filter_id},
    )


def test_ours_is_known_by_its_labels_and_for_its_workload_only() -> None:
    """Of two workloads of one name but different kinds each finds its own."""
    other = ours("web", "StatefulSet")
    other["metadata"]["name"] = "elsewhere"
    existing = Existing([ours("web"), other])
    assert [each.name for each in existing.of_workload("test", DEPLOYMENT, "n", "web")] == ["web-test"]
    assert [each.name for each in existing.of_workload("test", STATEFUL_SET, "n", "web")] == ["elsewhere"]
    assert existing.of_workload("other", DEPLOYMENT, "n", "web") == []
    assert existing.of_workload("test", DEPLOYMENT, "m", "web") == []


def test_whose_labels_somebody_took_is_known_by_its_manager() -> None:
    """An object that we applied stays ours without its labels; one that only has the name does not."""
    bare = ours("web")
    del bare["metadata"]["labels"]
    assert carrier(bare, "test") is None
    applied = copy.deepcopy(bare)
    applied["metadata"]["managedFields"] = [{"manager": "wasme", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]
    found = carrier(applied, "test")
    assert found is not None
    assert found.workload == "Deployment/web"
    assert carrier(applied, "other") is None


def applied(obj: dict[str, Any]) -> dict[str, Any]:
    obj["metadata"]["managedFields"] = [{"manager": "wasme", "operation": "Apply", "fieldsV1": {"f:spec": {}}}]
    return obj


@pytest.mark.parametrize("lost", [(), ("labels",), ("annotations",)])
def test_an_id_that_ends_another_ones_is_another_filter(lost: tuple[str, ...]) -> None:
    """`my-auth` is no `auth`, with all its marks or with one of both; both lookups, and status, say the same."""
    mine = applied(ours("web", filter_id="my-auth"))
    for each in lost:
        del mine["metadata"][each]
    assert carrier(mine, "auth") is None
    found = carrier(mine, "my-auth")
    assert found is not None
    assert found.workload_name == "web"
    assert [name for name, _ in carriers([mine])] == ["my-auth"]
    assert not list(carriers([mine], "auth"))


def test_without_any_mark_the_name_decides_and_the_plugin_must_agree() -> None:
    """Where labels and annotations are gone, an object that we applied is known by its name; an EnvoyFilter that runs a
    plugin of another id is not taken for one whose id only ends alike."""
    bare = applied(ours("web", filter_id="my-auth"))
    del bare["metadata"]["labels"], bare["metadata"]["annotations"]
    plugin = bare["spec"]["configPatches"][0]["patch"]["value"]["typedConfig"]["value"]["config"]
    plugin["name"] = "my-auth"
    assert carrier(bare, "auth") is None
    found = carrier(bare, "my-auth")
    assert found is not None
    assert found.workload == "/web"


@pytest.mark.parametrize(
    ("labels", "users"),
    [
        ({"app": "web", "version": "v1"}, ["both", "everything"]),
        ({"app": "web"}, ["everything"]),
        ({"app": "api", "version": "v1"}, ["everything", "other"]),
        ({}, ["everything"]),
    ],
)
def test_who_needs_the_nodes_files(labels: dict[str, str], users: list[str]) -> None:
    """Anybody's EnvoyFilter with a file of the cache, if it selects the pods, all of its labels taken; one without a
    selector selects all; those that go, and files of elsewhere, do not count."""
    existing = Existing(
        [
            envoy_filter("both", {"app": "web", "version": "v1"}),
            envoy_filter("other", {"app": "api"}),
            envoy_filter("everything", {}),
            envoy_filter("elsewhere", {}, file="/etc/filter.wasm"),
            envoy_filter("going", {}),
        ]
    )
    assert sorted(existing.cache_users("n", labels, without={"going"})) == users
    assert existing.cache_users("m", labels) == []


def test_selectors_of_all_kinds() -> None:
    """An EnvoyFilter and the others select in different words; with targets there is none."""
    assert selector_of(ours("web")) == {"app": "web"}
    assert selector_of({"spec": {"selector": {"matchLabels": {"a": "b"}}}}) == {"a": "b"}
    assert selector_of({"spec": {"targetRefs": []}}) == {}
    assert uses_cache(ours("web"))
    assert not uses_cache({"kind": "WasmPlugin", "spec": {"url": FILE}})
