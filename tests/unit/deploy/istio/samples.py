"""What the tests of rendering share: one filter, one image, one workload, and schemas of given fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wasme.deploy.istio.target import Attachment, IstioTarget, TargetRef
from wasme.deploy.resolved import ResolvedImage
from wasme.deploy.spec import FilterSpec, PluginSettings
from wasme.image import media_types as types
from wasme.image.descriptor import Descriptor
from wasme.image.manifest import Manifest
from wasme.image.pullers import Pulled
from wasme.image.reference import Reference
from wasme.wasm.proxies import Needs

MODULE = "sha256:" + "ab" * 32
MANIFEST = "sha256:" + "cd" * 32
SPEC = FilterSpec(id="test", image="hub.example.com/team/auth:v1", root_id="add_header", config="world")
LABELS = {"app": "productpage", "version": "v1"}
WORKLOAD = Attachment.to_workload("test", "Deployment", "productpage-v1", "bookinfo", LABELS)
TARGETS = (TargetRef("Gateway", "waypoint", "gateway.networking.k8s.io"),)
ON_TARGETS = Attachment.to_targets("test", "bookinfo", TARGETS)

_BLOB = Descriptor(media_type="", digest="sha256:" + "00" * 32, size=2)


def image(layout: str = "oci", abi: str = "0.2.1", oldest: int | None = 16) -> ResolvedImage:
    """An image of ``webassemblyhub.io``-like name, led to a registry with a prefix."""
    if layout == "compat":
        layers = [Descriptor(media_type=types.OCI_TAR_GZIP, digest=MODULE, size=9)]
        parsed = Manifest(config=Descriptor(media_type=types.OCI_CONFIG, digest=_BLOB.digest, size=2), layers=layers)
    elif layout == "wasm":
        layers = [Descriptor(media_type=types.WASM, digest=MODULE, size=9)]
        parsed = Manifest(config=Descriptor(media_type=types.WASM_CONFIG, digest=_BLOB.digest, size=2), layers=layers)
    else:
        config = Descriptor(media_type=types.RUNTIME_CONFIG, digest=_BLOB.digest, size=2)
        layers = [config, Descriptor(media_type=types.MODULE_LAYER, digest=MODULE, size=9)]
        parsed = Manifest(config=config, layers=layers)
    return ResolvedImage(
        typed=SPEC.image,
        reference=Reference.parse(SPEC.image),
        manifest=Descriptor(media_type=types.OCI_MANIFEST, digest=MANIFEST, size=400),
        module=Descriptor(media_type=types.MODULE_LAYER, digest=MODULE, size=9),
        layout=layout,
        root_ids=("add_header",),
        abi_versions=("v0.2.1",),
        needs=Needs(abi, oldest, f"ABI {abi}"),
        address="registry.example.com:5000/mirror/team/auth",
        index="",
        pulled=Pulled(parsed, types.OCI_MANIFEST, 9, packed=layout == "compat"),
    )


def spec(config: str = SPEC.config, **settings: Any) -> FilterSpec:
    """``SPEC`` with these settings."""
    return replace(SPEC, config=config, settings=PluginSettings(**settings))


def target(**values: Any) -> IstioTarget:
    """A target with these settings."""
    return IstioTarget(**values)


class Fields:
    """A schema that has just these fields, as a CRD of some version would."""

    def __init__(self, *paths: str, **enums: tuple[str, ...]) -> None:
        self._paths = set(paths)
        self._enums = enums

    def has(self, path: str) -> bool:
        return path in self._paths

    def enum(self, path: str) -> tuple[str, ...]:
        return self._enums.get(path.rpartition(".")[2], ())
