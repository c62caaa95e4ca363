"""What a mesh would make of stored objects: the configuration of a real Envoy.

    listener.py --pod Deployment/NAME --namespace NS [--host HOST_PATH=DIR]… [--context inbound] … < stored.yaml

Standard input holds objects as the API server stores them (``kubectl get … -o yaml``). On standard output comes the
bootstrap of an Envoy with one listener, made as Istio (EnvoyFilter, WasmPlugin, TrafficExtension), Gloo (Gateway) or
Envoy Gateway (EnvoyExtensionPolicy) make theirs. Exit code 3: the kubelet would not start the pod. Imports nothing of
wasme.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

import patches
import plugins
import pod
import yaml

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HTTP = f"{_EXTENSIONS}.filters.http"
_PHASES = ("AUTHN", "AUTHZ", "STATS", "")


def main() -> int:
    """Read, play the mesh, print."""
    parser = argparse.ArgumentParser(description="What a mesh would make of stored objects")
    parser.add_argument("--pod", default="", help="Kind/name of the workload whose pod the proxy is in")
    parser.add_argument("--namespace", default="default", help="namespace of the proxy")
    parser.add_argument("--host", action="append", default=[], help="HOST_PATH=DIR: a folder of the node's disk")
    parser.add_argument("--context", default="inbound", choices=sorted(patches.CONTEXTS))
    parser.add_argument("--istio", type=int, default=30, help="Istio's minor version")
    parser.add_argument("--scratch", required=True, type=Path, help="an empty folder")
    parser.add_argument("--upstream", type=int, required=True, help="port of the application")
    parser.add_argument("--cluster", action="append", default=[], help="NAME=PORT: another cluster")
    arguments = parser.parse_args()
    documents = [each for each in yaml.safe_load_all(sys.stdin) if each]
    stored = [obj for document in documents for obj in document.get("items", [document])]
    try:
        json.dump(bootstrap(stored, arguments), sys.stdout, indent=1)
    except pod.NotStarted as refusal:
        print(refusal, file=sys.stderr)
        return 3
    return 0


def bootstrap(stored: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    """An Envoy with one listener on a free port."""
    scratch: Path = arguments.scratch
    modules = plugins.Modules(scratch / "modules")
    here = _pod(stored, arguments, scratch)
    labels, namespace = (here.labels, here.namespace) if here else ({}, arguments.namespace)

    def of(kind: str) -> list[dict[str, Any]]:
        return [each for each in stored if each["kind"] == kind]

    def selected(kind: str) -> list[dict[str, Any]]:
        return [
            each for each in of(kind) if patches.selects(each["spec"], each["metadata"]["namespace"], labels, namespace)
        ]

    listener = patches.Listener(arguments.context, arguments.istio, _own_filters(arguments.istio))
    _insert_plugins(listener, selected("WasmPlugin") + selected("TrafficExtension"), stored, modules)
    listener.apply(selected("EnvoyFilter"))
    _insert_before_router(listener, [
        plugins.of_gloo(entry, modules)
        for each in of("Gateway")
        for entry in each["spec"].get("httpGateway", {}).get("options", {}).get("wasm", {}).get("filters", [])
    ] + [
        plugins.of_envoy_gateway(entry, modules)
        for each in of("EnvoyExtensionPolicy")
        for entry in each["spec"].get("wasm", [])
    ])  # fmt: skip
    for each in listener.filters:
        _discover(each, listener, modules, scratch)
    if here:
        _mount(listener.filters, here)
        for extension in listener.extensions.values():
            _mount(extension, here)
    for name, extension in listener.extensions.items():
        resource = {"@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", **extension}
        answer = {"version_info": "1", "resources": [resource]}
        (scratch / f"{name.replace('/', '_')}.json").write_text(json.dumps(answer))
    return _static(listener.filters, arguments)


def _pod(stored: list[dict[str, Any]], arguments: argparse.Namespace, scratch: Path) -> pod.Pod | None:
    if not arguments.pod:
        return None
    kind, _, name = arguments.pod.partition("/")
    workload = next(
        each
        for each in stored
        if (each["kind"], each["metadata"]["name"], each["metadata"]["namespace"]) == (kind, name, arguments.namespace)
    )
    disk = {path: Path(folder) for path, _, folder in (each.partition("=") for each in arguments.host)}
    return pod.Pod(workload, disk, scratch)


def _own_filters(minor: int) -> list[dict[str, Any]]:
    """Some filters that a mesh has anyway, under that version's names; the first stands for authorisation."""
    names = {
        "rbac": "rbac.v3.RBAC",
        "cors": "cors.v3.Cors",
        "fault": "fault.v3.HTTPFault",
        "router": "router.v3.Router",
    }
    prefix = "envoy." if minor <= 5 else "envoy.filters.http."
    return [{"name": prefix + name, "typed_config": {"@type": f"{_HTTP}.{kind}"}} for name, kind in names.items()]


def _insert_plugins(
    listener: patches.Listener, chosen: list[dict[str, Any]], stored: list[dict[str, Any]], modules: plugins.Modules
) -> None:
    """WasmPlugins by phase, then by falling priority, then by age: before authorisation, or after it."""

    def login(secret: str) -> tuple[str, str] | None:
        found = next(each for each in stored if each["kind"] == "Secret" and each["metadata"]["name"] == secret)
        configuration = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))
        (entry,) = configuration["auths"].values()
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
        return user, password

    def rank(obj: dict[str, Any]) -> tuple[Any, ...]:
        meta, spec = obj["metadata"], obj["spec"]
        return -spec.get("priority", 0), meta.get("creationTimestamp", ""), meta["name"]

    for phase in _PHASES:
        made = [
            plugins.of_istio(each, modules, login)
            for each in sorted(chosen, key=rank)
            if each["spec"].get("phase", "") == phase and _is_for(each["spec"], listener)
        ]
        at = next(
            index
            for index, each in enumerate(listener.filters)
            if each["name"].endswith("rbac" if phase in ("AUTHN", "AUTHZ") else "cors")
        )
        listener.filters[at:at] = made


def _is_for(spec: dict[str, Any], listener: patches.Listener) -> bool:
    """Whether one of the plugin's matches is for this side of the workload."""
    side = "SERVER" if listener.context == "SIDECAR_INBOUND" else "CLIENT"
    wanted = [each.get("mode", "CLIENT_AND_SERVER") for each in spec.get("match", [])]
    return not wanted or any(mode in (side, "CLIENT_AND_SERVER") for mode in wanted)


def _insert_before_router(listener: patches.Listener, filters: list[dict[str, Any]]) -> None:
    listener.filters[-1:-1] = filters


def _discover(entry: dict[str, Any], listener: patches.Listener, modules: plugins.Modules, scratch: Path) -> None:
    """Extension configuration comes from a file here, where the mesh's stream would bring it."""
    discovery = patches.field(entry, "config_discovery")
    if discovery is None:
        return
    if "ads" not in patches.field(discovery, "config_source"):
        raise patches.NotPlayed("a config_source that is not the mesh's own stream")
    name = entry["name"]
    file = scratch / f"{name.replace('/', '_')}.json"
    discovery.pop("configSource", None)
    discovery["config_source"] = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    if name in listener.extensions:
        listener.extensions[name] = plugins.converted(listener.extensions[name], modules)
    else:
        file.write_text(json.dumps({"version_info": "1", "resources": []}))


def _mount(config: Any, here: pod.Pod) -> None:
    """Paths in the container become paths of this machine."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "filename":
                config[key] = str(here.file(value))
            else:
                _mount(value, here)
    elif isinstance(config, list):
        for each in config:
            _mount(each, here)


def _static(filters: list[dict[str, Any]], arguments: argparse.Namespace) -> dict[str, Any]:
    everything = {"match": {"prefix": "/"}, "route": {"cluster": "application"}}
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [everything]}]},
        "http_filters": filters,
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    clusters = {"application": arguments.upstream}
    clusters.update({name: int(port) for name, _, port in (each.rpartition("=") for each in arguments.cluster)})
    return {
        "node": {"id": "proof", "cluster": "proof"},
        "admin": {"address": _loopback(0)},
        "static_resources": {
            "listeners": [{"name": arguments.context, "address": _loopback(0), "filter_chains": [chain]}],
            "clusters": [_cluster(name, port) for name, port in clusters.items()],
        },
    }


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _loopback(port)}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": load}


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


if __name__ == "__main__":
    sys.exit(main())
