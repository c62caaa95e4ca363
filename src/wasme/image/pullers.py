"""Who can pull an image: each program's own rules about manifests and layers, applied to one manifest.

The rules of Istio's agent and of Envoy Gateway are one piece of code (``imagefetcher.go``), tried with every layout
against a real registry: a docker manifest's last layer must be docker's packed one; an OCI manifest's last layer the
OCI packed one, else there must be exactly two layers, one of them the original's bare module. Neither takes the single
``application/wasm`` layer, which is all that wkg takes: no one manifest satisfies both. Gloo Edge pulls with the
original's own code.
"""

from __future__ import annotations

from typing import NamedTuple

from wasme.image import media_types
from wasme.image.manifest import Manifest

LARGEST = 256 << 20
"""Bytes of a module that Istio's agent and Envoy Gateway take, unless they are told otherwise."""


class Puller(NamedTuple):
    """One program, and whether it can pull one image.

    Attributes:
        name: the program, with its oldest version that pulls images at all.
        can: whether it takes this one.
        why: what it does with it, or why not.
    """

    name: str
    can: bool
    why: str


class Pulled(NamedTuple):
    """An image as a puller meets it.

    Attributes:
        parsed: the manifest.
        media_type: the manifest's.
        size: bytes of the bare module.
        packed: whether its last layer was unpacked and holds ``plugin.wasm``.
        from_index: whether the name stands for an index.
        platform: (os, architecture) of the index's child that was chosen; two empty words where none is told.
    """

    parsed: Manifest
    media_type: str
    size: int
    packed: bool
    from_index: bool = False
    platform: tuple[str, str] = ("", "")


def pullers(image: Pulled) -> tuple[Puller, ...]:
    """Every program that pulls Wasm images, and what it does with this one."""
    mesh = _mesh(image)
    return (
        Puller("Istio WasmPlugin (1.12 and later)", *mesh),
        Puller("Envoy Gateway (1.1 and later)", *mesh),
        Puller("Gloo Edge (1.3 and later)", *_original(image)),
        Puller("wasme", True, "every layout"),
        Puller("the original wasme (to 0.0.33)", *_original(image)),
        Puller("wkg", *_wkg(image)),
        Puller("docker, podman", *_docker(image)),
        Puller("oras, crane, skopeo", True, "they copy any image"),
        Puller("kgateway", False, "it pulls no Wasm"),
    )


def istio_agent(image: Pulled) -> Puller:
    """Istio's agent alone, which pulls for WasmPlugin, TrafficExtension and an EnvoyFilter that asks it to."""
    return Puller("Istio's agent (1.12 and later)", *_mesh(image))


def _mesh(image: Pulled) -> tuple[bool, str]:
    if image.from_index and image.platform not in {("linux", "amd64"), ("", "")}:
        return False, "its index has no entry for linux/amd64, which they ask for"
    if image.size > LARGEST:
        return False, f"its module has {image.size >> 20} MiB, and they take {LARGEST >> 20}"
    layers = image.parsed.layers
    last = layers[-1].media_type if layers else ""
    docker = image.media_type == media_types.DOCKER_MANIFEST
    if last == (media_types.DOCKER_TAR_GZIP if docker else media_types.OCI_TAR_GZIP) and image.packed:
        return True, "they unpack plugin.wasm from its last layer"
    if docker:
        return False, f"in a docker manifest they want a last layer {media_types.DOCKER_TAR_GZIP}"
    if len(layers) != 2:
        return False, f"they want exactly two layers, or a packed last one; it has {len(layers)}"
    bare = [layer for layer in layers if layer.media_type == media_types.MODULE_LAYER]
    if not bare:
        return False, f"neither of its two layers is {media_types.MODULE_LAYER}"
    if layers[0].digest == layers[1].digest and layers[0].media_type != media_types.MODULE_LAYER:
        return False, "its two layers are one blob, of which they see the first type only"
    return True, "they take its bare module layer"


def _original(image: Pulled) -> tuple[bool, str]:
    if image.from_index:
        return False, "it follows no index"
    types = {each.media_type for each in (image.parsed.config, *image.parsed.layers)}
    if media_types.MODULE_LAYER not in types:
        return False, "it looks for a bare module layer, and finds none"
    if media_types.RUNTIME_CONFIG not in types:
        return False, "it looks for a runtime config, and finds none"
    return True, "it takes the bare module layer and the runtime config"


def _wkg(image: Pulled) -> tuple[bool, str]:
    if image.from_index:
        return False, "it follows no index"
    layers = [layer.media_type for layer in image.parsed.layers]
    if image.parsed.config.media_type != media_types.WASM_CONFIG or layers != [media_types.WASM]:
        return False, "it wants one layer application/wasm: `wasme push --layout wasm`"
    return True, "it is CNCF's layout"


def _docker(image: Pulled) -> tuple[bool, str]:
    packed = bool(image.parsed.layers) and all(
        layer.media_type in media_types.TAR_LAYERS for layer in image.parsed.layers
    )
    return packed, "its layers are packed files" if packed else "its layers are no packed files"
