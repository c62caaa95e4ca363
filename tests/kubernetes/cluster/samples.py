"""Small objects that the tests of the client apply."""

from __future__ import annotations

from typing import Any


def config_map(namespace: str, name: str = "x", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data or {"a": "1"},
    }


def wasm_plugin(namespace: str, **spec: Any) -> dict[str, Any]:
    meta = {"name": "auth", "namespace": namespace}
    return {
        "apiVersion": "extensions.istio.io/v1alpha1",
        "kind": "WasmPlugin",
        "metadata": meta,
        "spec": {"url": "oci://registry.example/a:1", **spec},
    }
