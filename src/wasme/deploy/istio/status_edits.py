"""What others did to an object that carries a filter: fields of it that are somebody else's now, and a module that is
not the one it was deployed with. Pure.

A write that changes a field of ours takes it from us in ``metadata.managedFields``, whoever it was. An object that was
never applied by wasme itself (``--dry-run`` into a file, and ``kubectl apply``) has no field of ours: who wrote it may
change it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wasme.deploy.cluster.ownership import owned_fields
from wasme.deploy.istio import envoyfilter, plugin
from wasme.deploy.istio.target import DIGEST, MANAGER, MANIFEST

_ALWAYS = {
    envoyfilter.KIND: (("configPatches",), ("workloadSelector", "targetRefs")),
    plugin.WASM_PLUGIN.kind: (("url",), ("sha256",), ("selector", "targetRefs")),
    plugin.TRAFFIC_EXTENSION.kind: (("wasm",), ("selector", "targetRefs")),
}
"""What stands in every ``spec`` of ours: of each group one."""
_CONFIGURATION = frozenset({"configuration", "pluginConfig"})
_SHOWN = 3  # fields that are told of one manager


def edits(obj: Mapping[str, Any]) -> Iterator[str]:
    """What somebody has edited in an object's ``spec``, and what to do; labels and annotations are everybody's.

    Args:
        obj: the object as the server gives it, managedFields included.
    """
    mine = owned_fields(obj, MANAGER)
    if mine is None:
        return
    groups = _ALWAYS.get(str(obj.get("kind", "")), ())
    spec = obj.get("spec") or {}
    missing = [" or ".join(f"spec.{key}" for key in group) for group in groups if not any(key in spec for key in group)]
    if missing:
        yield f"somebody took away {', '.join(missing)}: deploy again"
    always = {key for group in groups for key in group}
    for manager, fields in _taken(obj, mine.get("f:spec") or {}).items():
        more = f" and {len(fields) - _SHOWN} more" if len(fields) > _SHOWN else ""
        told = f"edited by {manager} ({', '.join(fields[:_SHOWN])}{more}): deploy again"
        extra = not all(field.split(".")[1] in always for field in fields)
        # Beside the fields that we name, a deployment leaves what others put there.
        yield told + ("; what stays then was put there beside, undeploy first to be rid of it" if extra else "")


def module_edits(obj: Mapping[str, Any]) -> Iterator[str]:
    """Where an object loads another module than its annotations say.

    Args:
        obj: the object; one without our annotations is the original's, of which nothing can be told.
    """
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    module, manifest = str(annotations.get(DIGEST, "")), str(annotations.get(MANIFEST, ""))
    for key, value in _pairs(obj.get("spec")):
        if key == "filename" and not value.startswith(f"{envoyfilter.VOLUME_DIRECTORY}/"):
            prefix = f"{envoyfilter.CACHE_DIRECTORY}/"
            there = f"sha256:{value.removeprefix(prefix)}" if value.startswith(prefix) else value
            wanted = module
        elif key in ("url", "uri"):
            there, wanted = value.rpartition("@")[2], manifest  # one without a digest is told whole
        elif key == "sha256":
            there, wanted = f"sha256:{value}", manifest
        else:
            continue
        if wanted and there != wanted:
            told = f"it loads {_short(there)}, and was deployed with {_short(wanted)}"
            yield f"digest differs: {told}: somebody edited it"
            return


def _taken(obj: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, list[str]]:
    """The fields in ``spec`` that others own and we do not, by manager."""
    found: dict[str, list[str]] = {}
    for entry in obj["metadata"].get("managedFields") or ():
        manager = str(entry.get("manager", "") or "somebody")
        if manager == MANAGER or entry.get("subresource"):
            continue
        fields = list(_beyond((entry.get("fieldsV1") or {}).get("f:spec") or {}, mine, "spec"))
        known = found.setdefault(manager, [])
        known += [each for each in dict.fromkeys(fields) if each not in known]
    return {manager: fields for manager, fields in found.items() if fields}


def _beyond(theirs: Mapping[str, Any], mine: Mapping[str, Any], path: str) -> Iterator[str]:
    """Leaves of one tree of fields that another one has not; an element of a list is told as the list."""
    for name, below in theirs.items():
        if name == ".":
            continue
        here = f"{path}.{name[2:]}" if name.startswith("f:") else path
        children = {key: value for key, value in below.items() if key != "."}
        if name in mine and not any(key != "." for key in mine[name]) and "." not in mine[name]:
            continue  # ours as one value, whatever is in it
        if children:
            yield from _beyond(children, mine.get(name) or {}, here)
        elif name not in mine:
            yield here


def _short(text: str) -> str:
    return text[:19] if text.startswith("sha256:") else text[:100]


def _pairs(value: Any) -> Iterator[tuple[str, str]]:
    """All strings in a tree that have a key, but for what the filter itself is told."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, str):
                yield key, each
            elif key not in _CONFIGURATION:
                yield from _pairs(each)
    elif isinstance(value, list):
        for each in value:
            yield from _pairs(each)
