"""Who can pull which layout: the matrix that was tried with Istio's and Envoy Gateway's own code and with each tool."""

from __future__ import annotations

import pytest

from wasme.image import media_types as types
from wasme.image.descriptor import Descriptor
from wasme.image.manifest import Manifest
from wasme.image.pullers import LARGEST, Pulled, pullers

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
TO_OCI_CONFIG = "application/vnd.wasm.config.v1+json"
README = "text/markdown"


def blob(media_type: str, number: int = 0) -> Descriptor:
    return Descriptor(media_type=media_type, digest=f"sha256:{number:064x}", size=10)


def image(config: str, *layers: str, same: bool = False) -> Manifest:
    """A manifest of these types; ``same``: all layers are one blob."""
    described = [blob(layer, 1 if same else number + 1) for number, layer in enumerate(layers)]
    return Manifest(config=blob(config), layers=described)


SOLO = image(types.RUNTIME_CONFIG, types.RUNTIME_CONFIG, types.MODULE_LAYER)
COMPAT = image(types.OCI_CONFIG, types.OCI_TAR_GZIP)
CNCF = image(types.WASM_CONFIG, types.WASM)


@pytest.mark.parametrize(
    ("pulled", "mesh", "original", "wkg", "docker"),
    [
        (Pulled(SOLO, types.OCI_MANIFEST, 10, packed=False), True, True, False, False),
        (Pulled(COMPAT, types.OCI_MANIFEST, 10, packed=True), True, False, False, True),
        (
            Pulled(image(DOCKER_CONFIG, types.DOCKER_TAR_GZIP), types.DOCKER_MANIFEST, 10, packed=True),
            True, False, False, True,
        ),
        (Pulled(CNCF, types.OCI_MANIFEST, 10, packed=False), False, False, True, False),
        # One blob as two layers: the first of the types is what they see.
        (
            Pulled(
                image(types.RUNTIME_CONFIG, types.WASM, types.MODULE_LAYER, same=True), types.OCI_MANIFEST, 10, False
            ),
            False, True, False, False,
        ),
        (
            Pulled(
                image(types.RUNTIME_CONFIG, types.MODULE_LAYER, types.WASM, same=True), types.OCI_MANIFEST, 10, False
            ),
            True, True, False, False,
        ),
        # A third layer, unless the last is packed.
        (
            Pulled(
                image(types.RUNTIME_CONFIG, types.RUNTIME_CONFIG, types.MODULE_LAYER, README),
                types.OCI_MANIFEST, 10, False,
            ),
            False, True, False, False,
        ),
        (
            Pulled(image(types.OCI_CONFIG, README, types.OCI_TAR_GZIP), types.OCI_MANIFEST, 10, True),
            True, False, False, False,
        ),
        # wasm-to-oci; a docker layer in an OCI manifest; a docker manifest with the bare layer.
        (
            Pulled(image(TO_OCI_CONFIG, types.WASM_TO_OCI_LAYER), types.OCI_MANIFEST, 10, packed=False),
            False, False, False, False,
        ),
        (
            Pulled(image(types.OCI_CONFIG, types.DOCKER_TAR_GZIP), types.OCI_MANIFEST, 10, True),
            False, False, False, True,
        ),
        (Pulled(SOLO, types.DOCKER_MANIFEST, 10, packed=False), False, True, False, False),
        # Behind an index: for linux/amd64 or for nobody in particular.
        (Pulled(SOLO, types.OCI_MANIFEST, 10, False, True, ("linux", "amd64")), True, False, False, False),
        (Pulled(SOLO, types.OCI_MANIFEST, 10, False, True), True, False, False, False),
        (Pulled(SOLO, types.OCI_MANIFEST, 10, False, True, ("wasip1", "wasm")), False, False, False, False),
        (Pulled(CNCF, types.OCI_MANIFEST, 10, False, True, ("wasip1", "wasm")), False, False, False, False),
        # Too large for a mesh.
        (Pulled(SOLO, types.OCI_MANIFEST, LARGEST + 1, packed=False), False, True, False, False),
        (Pulled(image(types.OCI_CONFIG), types.OCI_MANIFEST, 10, packed=False), False, False, False, False),
    ],
)  # fmt: skip
def test_matrix(pulled: Pulled, mesh: bool, original: bool, wkg: bool, docker: bool) -> None:
    """Each program takes what its own code takes, and says why or why not in one line."""
    told = {each.name: each for each in pullers(pulled)}
    assert told["Istio WasmPlugin (1.12 and later)"].can == mesh
    assert told["Envoy Gateway (1.1 and later)"].can == mesh
    assert told["the original wasme (to 0.0.33)"].can == original
    assert told["Gloo Edge (1.3 and later)"].can == original
    assert told["wkg"].can == wkg
    assert told["docker, podman"].can == docker
    assert told["wasme"].can
    assert told["oras, crane, skopeo"].can
    assert not told["kgateway"].can
    assert all(each.why and "\n" not in each.why for each in told.values())
