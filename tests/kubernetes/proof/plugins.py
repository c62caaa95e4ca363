"""Objects that name an image and leave the fetching to the mesh, as the HTTP filters that it makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import images
from patches import field

_TYPES = "type.googleapis.com"
WASM = f"{_TYPES}/envoy.extensions.filters.http.wasm.v3.Wasm"
_TYPED_STRUCT = (f"{_TYPES}/udpa.type.v1.TypedStruct", f"{_TYPES}/xds.type.v3.TypedStruct")
_STRATEGIES = {"FAIL_OPEN": "FAIL_OPEN", "FAIL_CLOSE": "FAIL_CLOSED", "FAIL_RELOAD": "FAIL_RELOAD"}
Login = Callable[[str], "tuple[str, str] | None"]
"""A pull secret's name -> user and password."""


class Modules:
    """Where modules that a mesh has fetched lie."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def fetch(self, url: str, sha256: str = "", login: tuple[str, str] | None = None) -> str:
        """The file of a module."""
        content = images.module(url, sha256, login)
        file = self._folder / f"{len(list(self._folder.iterdir()))}.wasm"
        file.write_bytes(content)
        return str(file)


def converted(extension: dict[str, Any], modules: Modules) -> dict[str, Any]:
    """What istio-agent gives Envoy for an extension: a remote module is a file then, or a filter that denies."""
    config = field(extension, "typed_config")
    inner = config["value"] if config["@type"] in _TYPED_STRUCT else config
    plugin = inner["config"]
    code = field(field(plugin, "vm_config"), "code")
    if "remote" not in code:
        return extension
    remote = code["remote"]
    try:
        file = modules.fetch(field(remote, "http_uri")["uri"], remote.get("sha256", ""))
    except images.Unusable as problem:
        is_open = field(plugin, "failure_policy") == "FAIL_OPEN" or bool(field(plugin, "fail_open"))
        return {"name": extension["name"], "typed_config": _instead(str(problem), allow=is_open)}
    code.pop("remote")
    code["local"] = {"filename": file}
    return extension


def _instead(why: str, *, allow: bool) -> dict[str, Any]:
    """The RBAC filter in a module's place; ``why`` goes where a reader of the config dump finds it."""
    prefix = "wasm-default-allow" if allow else "wasm-default-deny"
    filter_type = f"{_TYPES}/envoy.extensions.filters.http.rbac.v3.RBAC"
    return {"@type": filter_type, "rules_stat_prefix": f"{prefix}: {why}", **({} if allow else {"rules": {}})}


def of_istio(obj: dict[str, Any], modules: Modules, login: Login) -> dict[str, Any]:
    """WasmPlugin, or TrafficExtension with a module: the HTTP filter of it."""
    spec, meta = obj["spec"], obj["metadata"]
    wasm = spec["wasm"] if obj["kind"] == "TrafficExtension" else spec
    name = f"{meta['namespace']}.{meta['name']}"
    plugin: dict[str, Any] = {"name": name, "root_id": wasm.get("pluginName", "")}
    if wasm.get("pluginConfig"):
        plugin["configuration"] = _text(json.dumps(wasm["pluginConfig"], separators=(",", ":")))
    plugin["failure_policy"] = _STRATEGIES[wasm.get("failStrategy", "FAIL_CLOSE")]
    secret = wasm.get("imagePullSecret", "")
    try:
        file = modules.fetch(wasm["url"], wasm.get("sha256", ""), login(secret) if secret else None)
    except images.Unusable as problem:
        is_open = plugin["failure_policy"] == "FAIL_OPEN"
        return {"name": name, "typed_config": _instead(str(problem), allow=is_open)}
    plugin["vm_config"] = _machine(file)
    environment: dict[str, Any] = {}
    for each in wasm.get("vmConfig", {}).get("env", []):
        if each.get("valueFrom") == "HOST":
            environment.setdefault("host_env_keys", []).append(each["name"])
        else:
            environment.setdefault("key_values", {})[each["name"]] = each.get("value", "")
    if environment:
        plugin["vm_config"]["environment_variables"] = environment
    return {"name": name, "typed_config": {"@type": WASM, "config": plugin}}


def of_gloo(entry: dict[str, Any], modules: Modules) -> dict[str, Any]:
    """One entry of ``spec.httpGateway.options.wasm.filters`` of Gloo's Gateway."""
    file = entry["filePath"] if "filePath" in entry else modules.fetch(entry["image"])
    plugin: dict[str, Any] = {"name": entry["name"], "root_id": entry.get("rootId", ""), "vm_config": _machine(file)}
    if "config" in entry:
        plugin["configuration"] = entry["config"]
    if entry.get("failOpen"):
        plugin["failure_policy"] = "FAIL_OPEN"
    return {"name": "envoy.filters.http.wasm", "typed_config": {"@type": WASM, "config": plugin}}


def of_envoy_gateway(entry: dict[str, Any], modules: Modules) -> dict[str, Any]:
    """One entry of ``spec.wasm`` of an EnvoyExtensionPolicy."""
    code = entry["code"]
    source = code["image"] if code["type"] == "Image" else code["http"]
    file = modules.fetch(source["url"], source.get("sha256") or "")
    plugin: dict[str, Any] = {
        "name": entry.get("name", ""),
        "root_id": entry.get("rootID", ""),
        "configuration": _text(json.dumps(entry["config"], separators=(",", ":")) if "config" in entry else ""),
        "fail_open": entry.get("failOpen", False),
        "vm_config": _machine(file),
    }
    if "env" in entry:
        plugin["vm_config"]["environment_variables"] = {"host_env_keys": entry["env"]["hostKeys"]}
    return {"name": f"envoy.filters.http.wasm/{entry.get('name')}", "typed_config": {"@type": WASM, "config": plugin}}


def _machine(file: str) -> dict[str, Any]:
    return {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": file}}}


def _text(value: str) -> dict[str, str]:
    return {"@type": f"{_TYPES}/google.protobuf.StringValue", "value": value}
