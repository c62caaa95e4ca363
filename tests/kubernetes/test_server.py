"""The server that all these tests stand on is a real one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.kubernetes.cluster import external, programs
from tests.kubernetes.cluster.api import Api, ApiRefused
from tests.kubernetes.cluster.control_plane import ControlPlane, wait_until

_RULE = {"rule": "self.spec.low <= self.spec.high", "message": "low must not be above high"}
_DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "ranges.test.wasme.io"},
    "spec": {
        "group": "test.wasme.io",
        "scope": "Namespaced",
        "names": {"plural": "ranges", "singular": "range", "kind": "Range", "listKind": "RangeList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-validations": [_RULE],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
                                "required": ["low", "high"],
                            }
                        },
                    }
                },
            }
        ],
    },
}


def _range(namespace: str, low: int, high: int) -> dict[str, object]:
    meta = {"name": "one", "namespace": namespace}
    return {"apiVersion": "test.wasme.io/v1", "kind": "Range", "metadata": meta, "spec": {"low": low, "high": high}}


def test_cel_is_carried_out(api: Api, namespace: str) -> None:
    """It refuses an object that only a CEL rule forbids, which no imitation of a server does, and takes its like."""
    api.apply(_DEFINITION)
    wait_until(lambda: api.find("/apis/test.wasme.io/v1/ranges"), 30, "the new kind is not served")
    with pytest.raises(ApiRefused, match="low must not be above high"):
        api.create(_range(namespace, 5, 1))
    assert api.create(_range(namespace, 1, 5))["metadata"]["uid"]


def test_version_is_the_pinned_one(control_plane: ControlPlane) -> None:
    """The binary that was built is the version that the wrapper module pins."""
    if external.NAMED:
        pytest.skip("needs the server that `make kubernetes` builds: $WASME_TEST_KUBECONFIG names another")
    if programs._ASSETS:
        pytest.skip("needs the server that `make kubernetes` builds: $KUBEBUILDER_ASSETS names another")
    pinned = (programs.Path(__file__).parent / "cluster" / "server" / "go.mod").read_text()
    assert f"require k8s.io/kubernetes {control_plane.version}" in pinned.replace("require (\n\t", "require ")


def test_mesh_definitions_are_real(api: Api, serve: Callable[..., None], namespace: str) -> None:
    """Istio's own rules are in force: a WasmPlugin with both a selector and targetRefs is refused by CEL."""
    serve("istio/1.30.3")
    plugin = {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": {"name": "both", "namespace": namespace},
        "spec": {
            "url": "oci://localhost/filter:v1",
            "selector": {"matchLabels": {"app": "productpage"}},
            "targetRefs": [{"kind": "Service", "name": "productpage"}],
        },
    }
    with pytest.raises(ApiRefused, match="only one of targetRefs or selector"):
        api.create(plugin)


def test_kill_and_restart_keep_the_data(control_plane: ControlPlane, api: Api, namespace: str) -> None:
    """What was stored before the server was killed is there after it."""
    control_plane.kill()
    control_plane.start()
    assert api.get(f"/api/v1/namespaces/{namespace}")["metadata"]["name"] == namespace
