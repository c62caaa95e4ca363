"""EnvoyFilter: one filter on one workload, in the words of every Istio from 1.5 on.

Istio's names and Envoy's fields have changed under it:

* before 1.7 the configuration stands untyped in ``config``, and is a plain string;
* before 1.8 Istio's listeners have filters by their old names, and since 1.19 the new ones alone match. Both are
  understood between, so the new ones are right from 1.8 on;
* a proxy that does not know a field drops it without a word, so fields are used only where its Envoy has them.

Where Istio's version cannot be told it is taken for a current one.
"""

from __future__ import annotations

from typing import Any

from wasme.deploy.istio.plugin import require_pullable
from wasme.deploy.istio.plugin_config import plugin_config
from wasme.deploy.istio.target import Attachment, IstioTarget, Schema, metadata
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec
from wasme.errors import InputError, UnsupportedImage

API_VERSION = "networking.istio.io/v1alpha3"
KIND = "EnvoyFilter"

CACHE_DIRECTORY = "/var/local/lib/wasme-cache"
VOLUME_DIRECTORY = "/var/local/lib/wasme"

WASM_TYPE = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
STRUCT_TYPE = "type.googleapis.com/udpa.type.v1.TypedStruct"
FILTER_NAME = "envoy.filters.http.wasm"

MANAGER = ("envoy.http_connection_manager", "envoy.filters.network.http_connection_manager")
ROUTER = ("envoy.router", "envoy.filters.http.router")
_CONTEXTS = {"inbound": "SIDECAR_INBOUND", "outbound": "SIDECAR_OUTBOUND", "gateway": "GATEWAY"}  # any: no key
_TYPED = 7  # Istio 1.N, as all that follow
_CANONICAL = 8
_PULLING = 12  # Istio's agent pulls oci:// images
_IMAGE_VOLUMES = 24  # its injector is built with Kubernetes 1.31's types, which know them; older ones drop the image
_CURRENT = 10_000
_LEAST = -(2**31)


def module_path(spec: FilterSpec, image: ResolvedImage, target: IstioTarget) -> str:
    """The module's file as the proxy sees it; "" where Istio's agent brings it.

    Raises:
        UnsupportedImage: it is to be a volume, and is no container image.
    """
    if target.placement == "daemonset":
        return f"{CACHE_DIRECTORY}/{image.module.hex}"
    if target.placement == "image-volume":
        if image.layout != "compat":
            raise UnsupportedImage(
                f"{image.reference} cannot be a volume: its layout is {image.layout}, and the kubelet unpacks layers",
                hint="push it with `wasme push --layout compat`; then its volume holds plugin.wasm",
            )
        return f"{VOLUME_DIRECTORY}/{spec.id}/plugin.wasm"
    return ""


def render(
    attachment: Attachment,
    spec: FilterSpec,
    image: ResolvedImage,
    target: IstioTarget,
    minor: int | None = None,
    schema: Schema | None = None,
    proxy: int | None = None,
) -> dict[str, Any]:
    """The EnvoyFilter object.

    Args:
        attachment: its name and what it selects.
        spec: the filter.
        image: the filter's image.
        target: where in the proxies it goes, and where they find the module.
        minor: the N of the control plane's Istio 1.N; None if it cannot be told.
        schema: what the served EnvoyFilter can carry; None does not look.

        proxy: the N of the oldest proxy's Istio 1.N, if it is older than the control plane.

    Raises:
        UsageError: the patch context is none.
        InputError: the mesh cannot carry a setting.
        UnsupportedImage: whoever must pull or unpack the image cannot.
    """
    version = _CURRENT if minor is None else minor
    oldest = version if proxy is None else min(proxy, version)
    obstacle = unfit(target, schema)
    if obstacle:
        raise InputError(
            f"an EnvoyFilter cannot carry {obstacle}", hint="--as wasmplugin or trafficextension may; --as auto chooses"
        )
    body: dict[str, Any] = {}
    if attachment.target_refs:
        body["targetRefs"] = [each.rendered() for each in attachment.target_refs]
    else:
        body["workloadSelector"] = {"labels": dict(attachment.labels)}
    if target.priority:
        body["priority"] = -target.priority  # what is inserted later stands nearer to the router
    body["configPatches"] = _patches(attachment, spec, image, target, version, oldest)
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata(attachment, spec, image.module.digest, image.manifest.digest),
        "spec": body,
    }


def unfit(target: IstioTarget, schema: Schema | None = None) -> str:
    """What of a target an EnvoyFilter cannot carry, as the end of "it cannot carry …"; "" if it carries all."""
    if schema is not None and target.target_refs and not schema.has("spec.targetRefs"):
        return "target references before Istio 1.22"
    if schema is not None and target.priority and not schema.has("spec.priority"):
        return "a priority before Istio 1.12"
    if target.priority == _LEAST:
        return f"the priority {_LEAST}, since its own is the opposite and has 32 bits"
    if target.phase:
        return f"the phase {target.phase}: it comes after all of Istio's own filters"
    if target.ports:
        return "ports"
    if target.pull_policy:
        return "a pull policy: its images are pulled by digest"
    return ""


def _patches(
    attachment: Attachment, spec: FilterSpec, image: ResolvedImage, target: IstioTarget, version: int, oldest: int
) -> list[dict[str, Any]]:
    canonical = version >= _CANONICAL
    match: dict[str, Any] = {}
    if target.context in _CONTEXTS:
        match["context"] = _CONTEXTS[target.context]
    match["listener"] = {
        "filterChain": {"filter": {"name": MANAGER[canonical], "subFilter": {"name": ROUTER[canonical]}}}
    }
    path = module_path(spec, image, target)
    if path:
        if target.placement == "image-volume" and version < _IMAGE_VOLUMES:
            raise InputError(
                f"the injector of Istio 1.{version} knows no image volumes",
                hint=f"1.{_IMAGE_VOLUMES} and later do; use --cache-mode daemonset",
            )
        value = _value(plugin_config(spec, {"local": {"filename": path}}, version, oldest), version)
        return [_patch("HTTP_FILTER", match, "INSERT_BEFORE", value)]
    return _discovered(
        f"wasme.io/{attachment.namespace}/{attachment.name}", spec, image, target, match, version, oldest
    )


def _discovered(
    name: str,
    spec: FilterSpec,
    image: ResolvedImage,
    target: IstioTarget,
    match: dict[str, Any],
    version: int,
    oldest: int,
) -> list[dict[str, Any]]:
    """Two patches: the filter's configuration as a resource of its own, and a filter that asks for it.

    Istio's agent fetches the module on the way, as for a WasmPlugin. Until the resource is there the listener waits,
    a minute at most; then the filter lets through or refuses what comes, as its fail policy says, until it is there.
    """
    if oldest < _PULLING:
        raise InputError(
            f"the proxies of Istio 1.{oldest} pull no images", hint=f"1.{_PULLING} and later do; use the node cache"
        )
    if target.pull_secret:
        raise InputError(
            "an EnvoyFilter cannot hand a pull secret or credentials to Istio's agent",
            hint="use --cache-mode daemonset, or --as wasmplugin",
        )
    require_pullable(image)
    code = {
        "remote": {
            "httpUri": {"uri": f"oci://{image.pinned}", "cluster": "_", "timeout": "30s"},
            "sha256": image.manifest.hex,
        }
    }
    added = {"name": name, "typedConfig": _typed(plugin_config(spec, code, version, oldest))}
    context = {"context": match["context"]} if "context" in match else {}
    # RBAC without rules lets everything through, with empty ones nothing.
    rules: dict[str, Any] = {} if spec.settings.fail_policy == "open" else {"rules": {}}
    asking = {
        "name": name,
        "configDiscovery": {
            "configSource": {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "60s"},
            "defaultConfig": {"@type": RBAC_TYPE, **rules},
            "typeUrls": [WASM_TYPE, RBAC_TYPE],
        },
    }
    return [
        _patch("EXTENSION_CONFIG", context, "ADD", added),
        _patch("HTTP_FILTER", match, "INSERT_BEFORE", asking),
    ]


def _patch(where: str, match: dict[str, Any], operation: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"applyTo": where, **({"match": match} if match else {}), "patch": {"operation": operation, "value": value}}


def _value(plugin: dict[str, Any], version: int) -> dict[str, Any]:
    if version < _TYPED:
        return {"name": FILTER_NAME, "config": {"config": plugin}}
    return {"name": FILTER_NAME, "typedConfig": _typed(plugin)}


def _typed(plugin: dict[str, Any]) -> dict[str, Any]:
    return {"@type": STRUCT_TYPE, "typeUrl": WASM_TYPE, "value": {"config": plugin}}
