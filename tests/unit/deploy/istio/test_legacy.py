"""Filters that the original deployed are known by their shape, and nobody else's are taken for one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.deploy.istio.samples import LABELS, SPEC, WORKLOAD, image, target
from wasme.deploy.istio.envoyfilter import MANAGER, ROUTER, render
from wasme.deploy.istio.legacy import recognise


def original(minor: int = 7, context: str = "inbound") -> dict[str, Any]:
    """An EnvoyFilter as the original wrote it: no marks, names of old."""
    made = render(WORKLOAD, SPEC, image(), target(patch_context=context), minor)
    made["metadata"] = {"name": "productpage-v1-test", "namespace": "bookinfo", "resourceVersion": "7"}
    return made


@pytest.mark.parametrize(("minor", "typed"), [(5, False), (6, False), (7, True)])
@pytest.mark.parametrize("context", ["any", "inbound", "outbound", "gateway"])
def test_both_shapes(minor: int, typed: bool, context: str) -> None:
    """Both shapes tell workload, id, module, root id, configuration and context."""
    found = recognise(original(minor, context))
    assert found is not None
    assert found._asdict() == {
        "workload": "productpage-v1",
        "namespace": "bookinfo",
        "id": "test",
        "digest": "sha256:" + "ab" * 32,
        "root_id": "add_header",
        "config": "world",
        "context": context,
        "typed": typed,
        "labels": LABELS,
    }


def _set(obj: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    changed = copy.deepcopy(obj)
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return changed


PATCH = ("spec", "configPatches", 0)
PLUGIN = (*PATCH, "patch", "value", "typedConfig", "value", "config")


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("kind",), "WasmPlugin"),
        (("metadata", "labels"), {"app.kubernetes.io/managed-by": "wasme"}),
        (("metadata", "labels"), {"app.kubernetes.io/managed-by": "Helm"}),
        (("metadata", "name"), "productpage-v1-other"),
        (("metadata", "name"), "test"),
        (("metadata", "name"), "-test"),
        (("spec",), None),
        (("spec", "configPatches"), []),
        (("spec", "configPatches"), [{}, {}]),
        (("spec", "configPatches"), "text"),
        ((*PATCH, "applyTo"), "CLUSTER"),
        ((*PATCH, "patch"), None),
        ((*PATCH, "match", "context"), "WAYPOINT"),
        ((*PATCH, "match", "listener", "filterChain", "filter", "name"), MANAGER[1]),
        ((*PATCH, "match", "listener", "filterChain", "filter", "subFilter", "name"), ROUTER[1]),
        ((*PATCH, "patch", "value", "name"), "envoy.lua"),
        ((*PLUGIN, "name"), "other"),
        ((*PLUGIN, "name"), 5),
        ((*PLUGIN, "vmConfig", "vmId"), "other"),
        ((*PLUGIN, "vmConfig", "code", "local", "filename"), "/etc/filter.wasm"),
        ((*PLUGIN, "vmConfig", "code", "local", "filename"), f"/var/local/lib/wasme-cache/{'0' * 63}"),
        ((*PLUGIN, "vmConfig", "code"), {"remote": {}}),
    ],
)
def test_others(path: tuple[Any, ...], to: Any) -> None:
    """An object that differs in anything the original always wrote is somebody else's, or ours of today."""
    assert recognise(original()) is not None
    assert recognise(_set(original(), *path, to=to)) is None


def test_a_filter_without_root_id_or_configuration() -> None:
    """What the original left out reads as empty."""
    made = original()
    plugin: Any = made
    for key in PLUGIN:
        plugin = plugin[key]
    del plugin["configuration"], plugin["rootId"]
    found = recognise(made)
    assert found is not None
    assert (found.root_id, found.config) == ("", "")


@pytest.mark.parametrize("obj", [{}, {"kind": "EnvoyFilter"}, {"kind": "EnvoyFilter", "metadata": None}])
def test_no_object_at_all(obj: dict[str, Any]) -> None:
    """Nothing that an API server could give makes it fail."""
    assert recognise(obj) is None
