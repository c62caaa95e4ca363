"""The names under which manifests, configurations and layers travel (facts of the specifications, in one place)."""

from __future__ import annotations

# Manifests and indexes.
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_SCHEMA1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})

# Layout "oci", the original's: the runtime config is the configuration and, once more, the first layer.
RUNTIME_CONFIG = "application/vnd.module.wasm.config.v1+json"
MODULE_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"

# Layout "compat": a container image whose last layer holds plugin.wasm.
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_TAR_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TAR_LAYERS = frozenset({OCI_TAR_GZIP, DOCKER_TAR_GZIP})

# Layout "wasm": CNCF's wasm artifact.
WASM_CONFIG = "application/vnd.wasm.config.v0+json"
WASM = "application/wasm"

# The layer of wasm-to-oci, which is read and never written.
WASM_TO_OCI_LAYER = "application/vnd.wasm.content.layer.v1+wasm"

# Annotations.
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"
ABI_VERSION = "module.wasm.runtime/abi_version"
RUNTIME_TYPE = "module.wasm.runtime/type"
VARIANT = "module.wasm.image/variant"
# Ours: layout "wasm" has no place for the runtime config, so it rides in an annotation and nothing is lost.
CARRIED_CONFIG = "module.wasm.runtime/config"
# Ours: the index from which a stored manifest was chosen.
CHOSEN_FROM = "module.wasm.image/index"
