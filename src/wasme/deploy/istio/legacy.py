"""EnvoyFilters that the original wasme made: known by their shape, for they carry no mark.

Each is called ``<workload>-<id>`` and has one patch: Envoy's Wasm filter, named and run by the id, with a file of the
node cache. Those that an older Istio needed are written otherwise (``config`` in place of ``typedConfig``), and all of
them match filters by names that Istio has not understood since 1.19, where they do nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from wasme.deploy.istio.annotations import CACHE_DIRECTORY
from wasme.deploy.istio.envoyfilter import FILTER_NAME, KIND, MANAGER, ROUTER
from wasme.deploy.istio.target import MANAGED_BY

_FILE = re.compile(rf"{re.escape(CACHE_DIRECTORY)}/([0-9a-f]{{64}})")
_OLD_CONTEXTS = {None: "any", "SIDECAR_INBOUND": "inbound", "SIDECAR_OUTBOUND": "outbound", "GATEWAY": "gateway"}


class Original(NamedTuple):
    """One EnvoyFilter of the original's.

    Attributes:
        workload: the name of the workload it was made for; its kind is nowhere told.
        namespace: of both.
        id: the filter's.
        digest: of the module, ``sha256:…``.
        root_id: the filter's in the module, or "".
        config: what the filter gets, or "".
        context: the patch context.
        typed: whether it is written for Istio 1.7 and later.
        labels: of the pods that it selects.
    """

    workload: str
    namespace: str
    id: str
    digest: str
    root_id: str
    config: str
    context: str
    typed: bool
    labels: Mapping[str, str]


def recognise(obj: Mapping[str, Any]) -> Original | None:
    """What an EnvoyFilter of the original's says; None for any other object."""
    metadata = _mapping(obj.get("metadata"))
    labels = _mapping(metadata.get("labels"))
    if obj.get("kind") != KIND or MANAGED_BY in labels:
        return None
    spec = _mapping(obj.get("spec"))
    patches = spec.get("configPatches")
    if not isinstance(patches, list) or len(patches) != 1:
        return None
    patch = _mapping(patches[0])
    match, value = _mapping(patch.get("match")), _mapping(_mapping(patch.get("patch")).get("value"))
    found = _mapping(_mapping(_mapping(match.get("listener")).get("filterChain")).get("filter"))
    if (
        patch.get("applyTo") != "HTTP_FILTER"
        or value.get("name") != FILTER_NAME
        or found.get("name") != MANAGER[0]
        or _mapping(found.get("subFilter")).get("name") != ROUTER[0]
    ):
        return None
    typed = "typedConfig" in value
    outer = _mapping(_mapping(value.get("typedConfig")).get("value")) if typed else _mapping(value.get("config"))
    return _read(metadata, spec, _mapping(outer.get("config")), match.get("context"), typed=typed)


def _read(
    metadata: Mapping[str, Any], spec: Mapping[str, Any], plugin: Mapping[str, Any], context: Any, *, typed: bool
) -> Original | None:
    vm = _mapping(plugin.get("vmConfig"))
    path = _mapping(_mapping(vm.get("code")).get("local")).get("filename")
    filter_id, name = plugin.get("name"), metadata.get("name")
    file = _FILE.fullmatch(path) if isinstance(path, str) else None
    if file is None or not isinstance(filter_id, str) or not isinstance(name, str) or vm.get("vmId") != filter_id:
        return None
    workload = name.removesuffix(f"-{filter_id}")
    if not filter_id or not workload or workload == name or context not in _OLD_CONTEXTS:
        return None
    config = plugin.get("configuration")
    text = _mapping(config).get("value") if typed else config
    return Original(
        workload=workload,
        namespace=str(metadata.get("namespace", "")),
        id=filter_id,
        digest=f"sha256:{file[1]}",
        root_id=str(plugin.get("rootId") or ""),
        config=text if isinstance(text, str) else "",
        context=_OLD_CONTEXTS[context],
        typed=typed,
        labels=_mapping(_mapping(spec.get("workloadSelector")).get("labels")),
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
