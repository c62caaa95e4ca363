"""What the schema of a CRD lets be said."""

from __future__ import annotations

import pytest

from tests.kubernetes.cluster import crds
from wasme.deploy.cluster.discovery import schema_of
from wasme.deploy.cluster.kinds import ENVOY_FILTER, GLOO_GATEWAY, TRAFFIC_EXTENSION, WASM_PLUGIN, Kind, kind_of
from wasme.errors import ClusterError


def _schema(release: str, kind: Kind):  # type: ignore[no-untyped-def]
    for definition in crds.definitions(crds.folder(release)):
        if definition["metadata"]["name"] == kind.resource:
            return schema_of(definition, kind.version)
    return None


def test_fields_come_with_versions() -> None:
    """The real CRDs of Istio say which fields a version has, through lists and maps."""
    new, old = _schema("istio/1.30.3", WASM_PLUGIN), _schema("istio/1.12.9", WASM_PLUGIN)
    assert new is not None
    assert old is not None
    for path in ("spec.vmConfig.env.valueFrom", "spec.failStrategy", "spec.targetRefs.name", "spec.match.ports.number"):
        assert new.has(path), path
        assert not old.has(path), path
    assert old.has("spec.selector.matchLabels.anything"), "a map takes any name"
    assert not new.has("spec.nonsense")
    assert not new.has("spec.url.deeper")
    assert "FAIL_RELOAD" in new.enum("spec.failStrategy")
    assert old.enum("spec.failStrategy") == ()
    assert set(new.enum("spec.phase")) >= {"AUTHN", "AUTHZ", "STATS"}
    assert _schema("istio/1.28.10", TRAFFIC_EXTENSION) is None
    assert _schema("istio/1.30.3", TRAFFIC_EXTENSION) is not None


def test_open_objects_keep_everything() -> None:
    """Where unknown fields are preserved a path is there, but the schema does not name it."""
    filters = _schema("istio/1.30.3", ENVOY_FILTER)
    assert filters is not None
    assert filters.has("spec.configPatches.patch.value.typed_config.anything")
    assert not filters.declares("spec.configPatches.patch.value.typed_config")
    assert filters.declares("spec.targetRefs.kind")
    assert "EXTENSION_CONFIG" in filters.enum("spec.configPatches.applyTo")
    plugin = _schema("istio/1.30.3", WASM_PLUGIN)
    assert plugin is not None
    assert plugin.has("spec.pluginConfig.rules.anything")


def test_a_crd_without_a_schema_takes_everything() -> None:
    """CRDs of before structural schemas, and Gloo's, keep what they do not name."""
    bare = {"spec": {"versions": [{"name": "v1", "served": True}]}}
    schema = schema_of(bare, "v1")
    assert schema is not None
    assert schema.has("spec.anything.at.all")
    assert schema_of(bare, "v2") is None
    assert schema_of({"spec": {"versions": [{"name": "v1", "served": False}]}}, "v1") is None
    gloo = _schema("gloo/v1.22.1", GLOO_GATEWAY)
    assert gloo is not None
    assert gloo.has("spec.httpGateway.options.wasm.filters.failOpen")


def test_kinds_of_objects() -> None:
    """An object's own version counts; a kind that nobody knows is told."""
    assert kind_of({"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter"}) == ENVOY_FILTER
    assert kind_of({"apiVersion": "extensions.istio.io/v1", "kind": "WasmPlugin"}).path("n", "x") == (
        "/apis/extensions.istio.io/v1/namespaces/n/wasmplugins/x"
    )
    for obj in ({}, {"apiVersion": "v1"}, {"kind": "Pod"}, {"apiVersion": "foo/v1", "kind": "Bar"}):
        with pytest.raises(ClusterError, match="is not known"):
            kind_of(obj)
